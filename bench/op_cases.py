# SPDX-License-Identifier: Apache-2.0
"""Calls of heed's ops beside eager torch's on the same numbers, for bench/ops.py: (class, name, heed's call, torch's call)."""
import functools
import math

import torch
import torch.nn.functional as F

import heed

o = heed.ops
r = torch.randn


def ints(n, *shape):
    return torch.randint(0, n, shape)


def products():
    for rows, wide, out in (1, 768, 768), (8, 64, 64), (16, 768, 3072), (128, 768, 768), (512, 768, 3072), (1024, 576, 1536):
        x, w, b = r(rows, wide), r(out, wide), r(out)
        yield f"linear {rows}x{wide}->{out}", lambda: o.linear(x, w, b), lambda: F.linear(x, w, b)
    for lead, m, k, n in ((), 32, 32, 32), ((), 512, 512, 512), ((), 500, 333, 777), ((24,), 64, 64, 64), ((96,), 49, 32, 49), ((64,), 17, 33, 65), ((8,), 512, 64, 512):
        a, b = r(*lead, m, k), r(*lead, k, n)
        yield f"matmul {'x'.join(map(str, lead + (m, k, n)))}", lambda: o.matmul(a, b), lambda: a @ b
    q, k = r(2, 12, 256, 64), r(2, 12, 256, 64)
    yield "matmul q k^T 2x12x256x64", lambda: o.matmul(q, k.transpose(-1, -2)), lambda: q @ k.transpose(-1, -2)
    e, f = r(4, 128, 8, 64), r(4, 128, 8, 64)
    yield "einsum bnhd,bmhd->bhnm", lambda: o.einsum("bnhd,bmhd->bhnm", [e, f]), lambda: torch.einsum("bnhd,bmhd->bhnm", e, f)


def convolutions():
    def conv(shape, out, kernel, stride=1, padding=0, dilation=1, groups=1, transposed=False):
        axes = len(shape) - 2
        kernel = (kernel,) * axes
        x, b = r(*shape), r(out)
        w = r(shape[1], out // groups, *kernel) if transposed else r(out, shape[1] // groups, *kernel)
        name = f"conv{axes}d{' transposed' if transposed else ''} {'x'.join(map(str, shape))}->{out} k{kernel[0]} s{stride}"
        name += f" d{dilation}" * (dilation > 1) + f" g{groups}" * (groups > 1)
        their = getattr(F, f"conv{'_transpose' * transposed}{axes}d")
        yield (name, lambda: o.conv(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups, transposed=transposed),
               lambda: their(x, w, b, stride=stride, padding=padding, dilation=dilation, groups=groups))

    yield from conv((1, 4, 8, 8), 8, 3, 1, 1)
    yield from conv((1, 3, 224, 224), 64, 7, 2, 3)
    yield from conv((1, 3, 224, 224), 96, 16, 16)
    yield from conv((4, 64, 56, 56), 64, 3, 1, 1)
    yield from conv((4, 64, 56, 56), 128, 1)
    yield from conv((4, 256, 14, 14), 256, 3, 1, 1)
    yield from conv((2, 128, 28, 28), 128, 3, 2, 1)
    yield from conv((2, 64, 28, 28), 64, 3, 1, 2, 2)
    yield from conv((2, 128, 28, 28), 128, 3, 1, 1, 1, 8)
    yield from conv((4, 96, 56, 56), 96, 3, 1, 1, 1, 96)
    yield from conv((4, 96, 56, 56), 96, 3, 2, 1, 1, 96)
    yield from conv((4, 96, 56, 56), 96, 7, 1, 3, 1, 96)
    yield from conv((4, 192, 14, 14), 192, 5, 1, 2, 1, 192)
    yield from conv((1, 64, 56, 56), 64, 7, 1, 9, 3, 64)
    yield from conv((4, 64, 1024), 128, 3, 1, 1)
    yield from conv((4, 256, 512), 256, 4, 1, 3, 1, 256)
    yield from conv((8, 1, 256), 1, 5, 1, 2)
    yield from conv((1, 16, 16, 28, 28), 32, 3, 1, 1)
    yield from conv((2, 128, 28, 28), 64, 4, 2, 1, transposed=True)
    yield from conv((2, 128, 14, 14), 128, 2, 2, transposed=True)
    yield from conv((2, 64, 512), 32, 4, 2, 1, transposed=True)


def norms():
    for rows, wide in (8, 128), (512, 64), (2048, 192), (512, 768), (512, 2048), (64, 8192):
        x, w, b = r(rows, wide), r(wide), r(wide)
        yield f"layer_norm {rows}x{wide}", lambda: o.layer_norm(x, w, b), lambda: F.layer_norm(x, (wide,), w, b)
        yield f"rms_norm {rows}x{wide}", lambda: o.rms_norm(x, w), lambda: F.rms_norm(x, (wide,), w, 1e-6)
    for shape in (1, 16, 8, 8), (4, 64, 56, 56), (4, 512, 14, 14), (32, 128, 7, 7):
        x, w, b, m, v = r(*shape), r(shape[1]), r(shape[1]), r(shape[1]), torch.rand(shape[1]) + 0.5
        text = "x".join(map(str, shape))
        yield f"batch_norm {text}", lambda: o.batch_norm(x, m, v, w, b), lambda: F.batch_norm(x, m, v, w, b)
        yield (f"batch_norm training {text}", lambda: o.batch_norm(x, None, None, w, b),
               lambda: F.batch_norm(x, None, None, w, b, training=True))
        yield f"group_norm {text}", lambda: o.group_norm(x, 8, w, b), lambda: F.group_norm(x, 8, w, b)
        yield f"instance_norm {text}", lambda: o.instance_norm(x, w, b), lambda: F.instance_norm(x, weight=w, bias=b)


def activations():
    for shape in (1024,), (64, 768), (512, 2048):
        x = r(*shape)
        text = "x".join(map(str, shape))
        positive = x.abs() + 0.1
        for name in "exp", "tanh", "sigmoid", "erf", "relu", "abs", "square", "sin", "cos", "neg", "sign":
            yield f"{name} {text}", functools.partial(getattr(o, name), x), functools.partial(getattr(torch, name), x)
        for name in "log", "sqrt", "rsqrt", "log1p":
            yield f"{name} {text}", functools.partial(getattr(o, name), positive), functools.partial(getattr(torch, name), positive)
        for name in "silu", "gelu", "softplus", "leaky_relu", "elu":
            yield f"{name} {text}", functools.partial(getattr(o, name), x), functools.partial(getattr(F, name), x)
        yield f"gelu by tanh {text}", lambda: o.gelu(x, by_tanh=True), lambda: F.gelu(x, approximate="tanh")
        yield f"clamp {text}", lambda: o.clamp(x, -1.0, 1.0), lambda: x.clamp(-1.0, 1.0)
        yield f"pow 3 {text}", lambda: o.pow(positive, 3.0), lambda: positive.pow(3.0)
        yield f"pow 0.7 {text}", lambda: o.pow(positive, 0.7), lambda: positive.pow(0.7)
    for rows, wide in (8, 128), (4096, 64), (512, 2048), (3072, 197):
        x = r(rows, wide)
        yield f"softmax {rows}x{wide}", lambda: o.softmax(x, -1), lambda: x.softmax(-1)
        yield f"log_softmax {rows}x{wide}", lambda: o.log_softmax(x, -1), lambda: x.log_softmax(-1)
    x = r(8, 256, 512)
    yield "softmax 8x256x512 axis 1", lambda: o.softmax(x, 1), lambda: x.softmax(1)
    yield "log_softmax 8x256x512 axis 1", lambda: o.log_softmax(x, 1), lambda: x.log_softmax(1)
    y = r(64, 9, 196)
    yield "softmax 64x9x196 axis 1", lambda: o.softmax(y, 1), lambda: y.softmax(1)


def arithmetic():
    for shape in (1024,), (512, 2048):
        x, y = r(*shape), r(*shape)
        text = "x".join(map(str, shape))
        for name in "add", "sub", "mul", "div", "maximum", "minimum":
            yield f"{name} {text}", functools.partial(getattr(o, name), x, y), functools.partial(getattr(torch, name), x, y)
        mask = x > 0
        yield f"where {text}", lambda: o.where(mask, x, y), lambda: torch.where(mask, x, y)
        yield f"less {text}", lambda: o.less(x, y), lambda: x < y
        yield f"scale {text}", lambda: o.scale(x, 0.3), lambda: x * 0.3
    x, row, column = r(512, 2048), r(2048), r(512, 1)
    yield "mul by a row 512x2048", lambda: o.mul(x, row), lambda: x * row
    yield "mul by a column 512x2048", lambda: o.mul(x, column), lambda: x * column
    m, gate = r(4, 64, 56, 56), r(4, 64, 1, 1)
    yield "mul by a channel 4x64x56x56", lambda: o.mul(m, gate), lambda: m * gate
    turned = r(2048, 512).t()
    yield "add a transposed 512x2048", lambda: o.add(x, turned), lambda: x + turned
    a, b = r(32, 64), r(64)
    yield "add a row 32x64", lambda: o.add(a, b), lambda: a + b


def reductions():
    for shape in (32, 32), (512, 2048), (4096, 64), (64, 56, 56):
        x = r(*shape)
        text = "x".join(map(str, shape))
        for axis in range(len(shape)):
            yield f"sum {text} axis {axis}", lambda: o.sum(x, [axis]), lambda: x.sum(axis)
            yield f"max {text} axis {axis}", lambda: o.max(x, [axis]), lambda: x.amax(axis)
        yield f"min {text} last axis", lambda: o.min(x, [-1]), lambda: x.amin(-1)
        yield f"mean of all {text}", lambda: o.mean(x, list(range(len(shape)))), lambda: x.mean()
        yield f"argmax {text} last axis", lambda: o.argmax(x, -1), lambda: x.argmax(-1)
        yield f"argmax {text} axis 0", lambda: o.argmax(x, 0), lambda: x.argmax(0)
        yield f"logsumexp {text}", lambda: o.logsumexp(x, -1), lambda: x.logsumexp(-1)
        yield f"cumsum {text} last axis", lambda: o.cumsum(x, -1), lambda: x.cumsum(-1)
        yield f"cumsum {text} axis 0", lambda: o.cumsum(x, 0), lambda: x.cumsum(0)
    x = r(512, 2048)
    yield "norm 512x2048", lambda: o.norm(x, -1), lambda: x.norm(dim=-1)
    yield "l2_normalise 512x2048", lambda: o.l2_normalise(x, -1), lambda: F.normalize(x, dim=-1)
    y = r(4, 64, 56, 56)
    yield "sum 4x64x56x56 axes 0 2 3", lambda: o.sum(y, [0, 2, 3]), lambda: y.sum((0, 2, 3))
    yield "max 4x64x56x56 axes 2 3", lambda: o.max(y, [2, 3]), lambda: y.amax((2, 3))
    yield "max 4x64x56x56 axis 1", lambda: o.max(y, [1]), lambda: y.amax(1)


def pooling():
    for shape in (1, 4, 16, 16), (4, 64, 56, 56), (8, 256, 14, 14):
        x = r(*shape)
        text = "x".join(map(str, shape))
        yield f"max_pool 2 {text}", lambda: o.max_pool(x, 2), lambda: F.max_pool2d(x, 2)
        yield f"max_pool 3 s2 {text}", lambda: o.max_pool(x, 3, 2, 1), lambda: F.max_pool2d(x, 3, 2, 1)
        yield f"average_pool 2 {text}", lambda: o.average_pool(x, 2), lambda: F.avg_pool2d(x, 2)
        yield f"average_pool 3 s1 {text}", lambda: o.average_pool(x, 3, 1, 1), lambda: F.avg_pool2d(x, 3, 1, 1)
        yield f"global average {text}", lambda: o.adaptive_average_pool(x, 1), lambda: F.adaptive_avg_pool2d(x, 1)
        yield f"global max {text}", lambda: o.adaptive_max_pool(x, 1), lambda: F.adaptive_max_pool2d(x, 1)
        yield f"adaptive average 7 {text}", lambda: o.adaptive_average_pool(x, 7), lambda: F.adaptive_avg_pool2d(x, 7)
        yield f"adaptive max 7 {text}", lambda: o.adaptive_max_pool(x, 7), lambda: F.adaptive_max_pool2d(x, 7)
    x, y = r(8, 64, 1024), r(1, 16, 16, 28, 28)
    yield "max_pool1d 3 s2", lambda: o.max_pool(x, 3, 2, 1), lambda: F.max_pool1d(x, 3, 2, 1)
    yield "average_pool1d 2", lambda: o.average_pool(x, 2), lambda: F.avg_pool1d(x, 2)
    yield "max_pool3d 2", lambda: o.max_pool(y, 2), lambda: F.max_pool3d(y, 2)
    yield "average_pool3d 2", lambda: o.average_pool(y, 2), lambda: F.avg_pool3d(y, 2)


def resampling():
    for shape in (1, 4, 8, 8), (2, 64, 28, 28), (1, 3, 224, 224):
        x = r(*shape)
        n = shape[-1]
        for size in 2 * n, n * 3 // 4:
            text = f"{'x'.join(map(str, shape))} to {size}"
            yield f"nearest {text}", lambda: o.resize(x, size, "nearest"), lambda: F.interpolate(x, (size, size), mode="nearest")
            yield f"bilinear {text}", lambda: o.resize(x, size), lambda: F.interpolate(x, (size, size), mode="bilinear")
            yield f"bicubic {text}", lambda: o.resize(x, size, "cubic"), lambda: F.interpolate(x, (size, size), mode="bicubic")
        grid = torch.rand(shape[0], n, n, 2) * 2.2 - 1.1
        text = "x".join(map(str, shape))
        for mine, theirs in ("nearest", "nearest"), ("linear", "bilinear"), ("cubic", "bicubic"):
            yield (f"grid_sample {theirs} {text}", lambda: o.grid_sample(x, grid, mine), lambda: F.grid_sample(x, grid, theirs, align_corners=False))
        yield (f"grid_sample border {text}", lambda: o.grid_sample(x, grid, "linear", "replicate"),
               lambda: F.grid_sample(x, grid, "bilinear", "border", align_corners=False))
        yield (f"grid_sample reflection {text}", lambda: o.grid_sample(x, grid, "linear", "reflect"),
               lambda: F.grid_sample(x, grid, "bilinear", "reflection", align_corners=False))
    v = r(1, 8, 8, 14, 14)
    yield "trilinear 1x8x8x14x14 to 28", lambda: o.resize(v, [16, 28, 28]), lambda: F.interpolate(v, (16, 28, 28), mode="trilinear")
    x = r(4, 64, 512)
    yield "linear1d 4x64x512 to 1024", lambda: o.resize(x, 1024), lambda: F.interpolate(x, 1024, mode="linear")


def top():
    for rows, wide, k in (8, 128, 4), (512, 2048, 1), (512, 2048, 8), (512, 2048, 256), (4096, 64, 2), (4096, 64, 8), (1, 65536, 32):
        x = r(rows, wide)
        yield f"topk {k} of {rows}x{wide}", lambda: o.topk(x, k, 1)[0], lambda: x.topk(k, 1)[0]
    x = r(8, 256, 64)
    yield "topk 4 of 8x256x64 axis 1", lambda: o.topk(x, 4, 1)[0], lambda: x.topk(4, 1)[0]


def gathers():
    for rows, wide, n in (32, 32, 32), (512, 2048, 512), (4096, 64, 64):
        x, at, down = r(rows, wide), ints(wide, rows, n), ints(rows, rows, wide)
        yield f"gather {rows}x{wide} {n} of a row", lambda: o.gather(x, 1, at), lambda: x.gather(1, at)
        yield f"gather {rows}x{wide} axis 0", lambda: o.gather(x, 0, down), lambda: x.gather(0, down)
    table, rows = r(4096, 256), ints(4096, 4096)
    yield "index_select 4096 of 4096x256", lambda: o.index_select(table, 0, rows), lambda: table.index_select(0, rows)
    few = ints(4096, 16)
    yield "index_select 16 of 4096x256", lambda: o.index_select(table, 0, few), lambda: table.index_select(0, few)
    columns = ints(256, 128)
    yield "index_select 128 columns of 4096x256", lambda: o.index_select(table, 1, columns), lambda: table.index_select(1, columns)
    words, tokens = r(32000, 576), ints(32000, 4, 128)
    yield "embedding 4x128 of 32000x576", lambda: o.embedding(words, tokens), lambda: F.embedding(tokens, words)
    offsets = torch.arange(0, 4096, 16)
    for mode in "sum", "mean", "max":
        yield (f"embedding_bag {mode} 256 of 16", lambda: o.embedding_bag(table, rows, offsets, mode=mode),
               lambda: F.embedding_bag(rows, table, offsets, mode=mode))
    x, y = r(4, 64, 56, 56), r(4, 196, 768)
    yield "roll 4x64x56x56 last axis", lambda: o.roll(x, 3, 3), lambda: x.roll(3, 3)
    yield "roll 4x64x56x56 axis 2", lambda: o.roll(x, 2, 3), lambda: x.roll(3, 2)
    yield "flip 4x64x56x56 last axis", lambda: o.flip(x, [3]), lambda: x.flip(3)
    yield "flip 4x196x768 axis 1", lambda: o.flip(y, [1]), lambda: y.flip(1)
    for mode, name in ("reflect", "reflect"), ("replicate", "replicate"), ("circular", "circular"):
        yield f"{mode} padding of 2", lambda: o.extend(x, [2, 3], 2, 2, mode), lambda: F.pad(x, (2, 2, 2, 2), name)
    yield "zero padding of 2", lambda: o.pad(x, [2, 3], 2, 2), lambda: F.pad(x, (2, 2, 2, 2))
    yield "concat 2 of 4x196x768 axis 1", lambda: o.concat([y, y], 1), lambda: torch.cat([y, y], 1)
    yield "concat 2 of 4x196x768 last axis", lambda: o.concat([y, y], 2), lambda: torch.cat([y, y], 2)
    a, b = r(16, 32), r(16, 32)
    yield "concat 2 of 16x32", lambda: o.concat([a, b], 0), lambda: torch.cat([a, b], 0)
    yield "repeat 4x196x768 axis 1 by 3", lambda: o.repeat(y, 1, 3), lambda: y.repeat_interleave(3, 1)
    m = r(8, 56, 56, 96)
    yield ("windows of 7 8x56x56x96", lambda: o.windows(m, 7),
           lambda: m.view(8, 8, 7, 8, 7, 96).transpose(2, 3).reshape(-1, 49, 96))
    yield "unfold 3 4x64x56x56", lambda: o.unfold(x, 3, 1, 1), lambda: F.unfold(x, 3, 1, 1)
    columns3 = F.unfold(x, 3, 1, 1, 1)
    yield "fold 3 4x64x56x56", lambda: o.fold(columns3, [56, 56], 3, 1, 1), lambda: F.fold(columns3, (56, 56), 3, 1, 1)
    yield "pixel_shuffle 2 4x64x56x56", lambda: o.pixel_shuffle(x, 2), lambda: F.pixel_shuffle(x, 2)


def scatters():
    for rows, n, wide in (32, 32, 32), (512, 512, 2048), (4096, 64, 64):
        x, at, down = r(rows, n), ints(wide, rows, n), ints(rows, rows, n)
        yield (f"scatter_add {rows}x{n} into {wide}", lambda: o.scatter_add(x, 1, at, wide), lambda: torch.zeros(rows, wide).scatter_add_(1, at, x))
        yield (f"scatter_add {rows}x{n} axis 0", lambda: o.scatter_add(x, 0, down, rows), lambda: torch.zeros(rows, n).scatter_add_(0, down, x))
    table, rows, x = r(4096, 256), ints(4096, 4096), r(8, 64, 64)
    yield "index_add 4096x256", lambda: o.index_add(table, 0, rows, 4096), lambda: torch.zeros(4096, 256).index_add_(0, rows, table)
    at = ints(64, 64)
    yield "index_add 8x64x64 axis 1", lambda: o.index_add(x, 1, at, 64), lambda: torch.zeros(8, 64, 64).index_add_(1, at, x)
    classes = ints(1000, 512)
    yield "one_hot 512 of 1000", lambda: o.one_hot(classes, 1000), lambda: F.one_hot(classes, 1000).float()


def segments():
    for edges, count, tail in (64, 16, (16,)), (16384, 2048, (64,)), (65536, 8192, (8,)), (100000, 10000, ()), (4096, 512, (8, 32)):
        x, unsorted = r(edges, *tail), ints(count, edges)
        for order, at in ("", unsorted), ("sorted ", unsorted.sort()[0]):
            text = f"{order}{'x'.join(map(str, (edges,) + tail))} to {count}"
            wide = at.reshape(-1, *(1,) * len(tail)).expand_as(x)

            def sums():
                return torch.zeros(count, *tail).index_add_(0, at, x)

            def largest():
                return torch.full((count, *tail), -math.inf).scatter_reduce_(0, wide, x, "amax")

            def softmax():
                e = (x - largest().index_select(0, at)).exp()
                return e / torch.zeros(count, *tail).index_add_(0, at, e).index_select(0, at)

            yield f"segment_sum {text}", lambda: o.segment_sum(x, at, count), sums
            yield (f"segment_mean {text}", lambda: o.segment_mean(x, at, count),
                   lambda: torch.zeros(count, *tail).scatter_reduce_(0, wide, x, "mean", include_self=False))
            yield f"segment_max {text}", lambda: o.segment_max(x, at, count), largest
            yield f"segment_softmax {text}", lambda: o.segment_softmax(x, at, count), softmax


def spectra():
    for rows, n in (8, 64), (64, 1024), (512, 256), (256, 196), (64, 1000), (16, 1021), (8, 16384):
        x, z = r(rows, n), r(rows, n, 2)
        yield f"fft {rows}x{n}", lambda: o.fft(z, 1), lambda: torch.view_as_real(torch.fft.fft(torch.view_as_complex(z)))
        yield f"rfft {rows}x{n}", lambda: o.rfft(x, 1), lambda: torch.view_as_real(torch.fft.rfft(x))
        half = torch.view_as_real(torch.fft.rfft(x))
        yield f"irfft {rows}x{n}", lambda: o.irfft(half, 1, n), lambda: torch.fft.irfft(torch.view_as_complex(half), n)
    y = r(16, 256, 64)
    yield "rfft 16x256x64 axis 1", lambda: o.rfft(y, 1), lambda: torch.view_as_real(torch.fft.rfft(y, dim=1)).permute(0, 1, 2, 3)


def cosines():
    for rows, n in (64, 64), (512, 256), (64, 1000):
        x = r(rows, n)
        turn = 2 * torch.exp(-0.5j * math.pi * torch.arange(n) / n)

        def dct():  # by a transform of as many numbers (Makhoul, 1980)
            return (torch.fft.fft(torch.cat([x[:, ::2], x[:, 1::2].flip(1)], 1)) * turn).real

        yield f"dct {rows}x{n}", lambda: o.dct(x, 1, orthonormal=False), dct


def sorting():
    for rows, n in (8, 128), (512, 2048), (4096, 64), (1, 100000):
        x = r(rows, n)
        yield f"sort {rows}x{n}", lambda: o.sort(x, 1)[0], lambda: torch.sort(x, dim=1, stable=True)[0]
        yield f"argsort descending {rows}x{n}", lambda: o.argsort(x, 1, descending=True), lambda: torch.sort(x, dim=1, descending=True, stable=True)[1]
    x = r(64, 128, 32)
    yield "sort 64x128x32 axis 1", lambda: o.sort(x, 1)[0], lambda: torch.sort(x, dim=1, stable=True)[0]


def recurrences():
    for batch, n, wide, hidden in (1, 16, 32, 32), (8, 64, 128, 128), (16, 128, 256, 512), (1, 256, 256, 256):
        x = r(batch, n, wide)
        for name, mine in ("GRU", o.gru), ("LSTM", o.lstm):
            net = getattr(torch.nn, name)(wide, hidden, batch_first=True)
            w = [p.detach() for p in net.parameters()]
            text = f"{name} {batch}x{n}x{wide} to {hidden}"
            if name == "GRU":
                yield text, lambda: mine(x, None, *w), lambda: net(x)[0]
            else:
                yield text, lambda: mine(x, None, None, *w)[0], lambda: net(x)[0]


CLASSES = {"products": products, "convolutions": convolutions, "norms": norms, "activations": activations, "arithmetic": arithmetic,
           "reductions": reductions, "pooling": pooling, "resampling": resampling, "topk": top, "gather": gathers, "scatter": scatters,
           "segments": segments, "fft": spectra, "dct": cosines, "sort": sorting, "rnn": recurrences}
FLOORS = {"fft": 1 / 3, "dct": 1 / 3, "sort": 1 / 3, "rnn": 1 / 3}  # torch's time over heed's; elsewhere 1
