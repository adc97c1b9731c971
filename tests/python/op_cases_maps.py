# SPDX-License-Identifier: Apache-2.0
"""Ops on maps x[B, C, *spatial] and what torch computes in float64; see op_cases_base.py."""
import torch
import torch.nn.functional as F

SPATIAL = {1: (13,), 2: (7, 9), 3: (5, 4, 6)}
CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
MAX = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
AVERAGE = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
ADAPTIVE_MAX = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}
ADAPTIVE_AVERAGE = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}


def conv(axes, inputs, outputs, kernel, groups=1, **options):
    shapes = [(2, inputs, *SPATIAL[axes]), ((outputs, inputs // groups, *kernel), -0.3, 0.3), (outputs,)]
    return (lambda o, x, w, b: o.conv(x, w, b, groups=groups, **options), lambda x, w, b: CONV[axes](x, w, b, groups=groups, **options), shapes)


def transposed(axes, inputs, outputs, kernel, groups=1, **options):
    shapes = [(2, inputs, *SPATIAL[axes]), (inputs, outputs // groups, *kernel), (outputs,)]
    return (lambda o, x, w, b: o.conv(x, w, b, groups=groups, transposed=True, **options),
            lambda x, w, b: TRANSPOSED[axes](x, w, b, groups=groups, **options), shapes)


def padded(mode):
    def reference(x, w):
        return F.conv2d(F.pad(x, (2, 2, 1, 1), mode="constant" if mode == "zeros" else mode), w)
    return (lambda o, x, w: o.conv(x, w, padding=[1, 2], padding_mode=mode), reference, [(2, 3, 5, 6), (4, 3, 3, 3)])


def pool(name, references, axes, ours, **options):
    return (lambda o, x: getattr(o, name)(x, **ours), lambda x: references[axes](x, **options), [(2, 3, *SPATIAL[axes])])


def norm(call, reference, *shapes):
    return (call, reference, [(3, 6, 5, 4), *shapes])


def resize(axes, mode, size, align_corners=None):
    ours = {"nearest-exact": "nearest_exact", "bilinear": "linear", "trilinear": "linear", "bicubic": "cubic"}.get(mode, mode)
    return (lambda o, x: o.resize(x, size, ours, bool(align_corners)),
            lambda x: F.interpolate(x, size, mode=mode, align_corners=align_corners), [(2, 3, *SPATIAL[axes])])


def sample(name, axes, mode, edges, align_corners):
    ours = {"bilinear": "linear", "bicubic": "cubic"}.get(mode, mode), {"border": "replicate", "reflection": "reflect"}.get(edges, edges)
    return (lambda o, x, g: getattr(o, name)(x, g, *ours, align_corners),
            lambda x, g: F.grid_sample(x, g, mode, edges, align_corners), [((2, 3, *SPATIAL[axes]), -0.3, 0.3), ((2, *SPATIAL[axes][::-1], axes), -1.6, 1.6)])


def samples(name):
    return [sample(name, axes, mode, edges, corners) for axes in (2, 3) for mode in ("nearest", "bilinear", "bicubic")
            for edges in ("zeros", "border", "reflection") for corners in (False, True) if axes == 2 or mode != "bicubic"]


def log_sum_exp(x):
    wide = F.pad(x, (1, 1, 1, 1), value=-torch.inf)
    return wide.unfold(2, 2, 2).unfold(3, 3, 2).flatten(4).logsumexp(-1)


CASES = {
    "conv": [
        conv(1, 4, 6, (3,), stride=2, padding=1), conv(1, 4, 4, (3,), groups=4, padding=2, dilation=2), conv(2, 3, 5, (3, 2)),
        conv(2, 4, 8, (3, 3), groups=2, stride=(2, 3), padding=(1, 0)), conv(2, 6, 6, (5, 3), groups=6, padding=(2, 1)),
        conv(2, 4, 8, (3, 3), groups=4, stride=2), conv(2, 2, 1, (3, 3), padding=1), conv(2, 5, 7, (1, 1)), conv(2, 5, 7, (1, 1), stride=2),
        conv(2, 40, 20, (3, 3), padding=1), conv(3, 3, 4, (2, 3, 2), padding=1, dilation=(1, 2, 1)), conv(3, 2, 2, (3, 3, 3), groups=2, padding=1, stride=2),
        transposed(1, 4, 6, (4,), stride=2, padding=1), transposed(2, 4, 6, (3, 3), groups=2, stride=2, padding=1, output_padding=1),
        transposed(2, 4, 4, (3, 2), groups=4, stride=(1, 3), dilation=(2, 1)), transposed(3, 3, 2, (2, 2, 2), stride=2),
        conv(2, 6, 8, (3, 3), padding=2, dilation=2, groups=2), conv(2, 3, 5, (4, 5), stride=4, padding=2), conv(1, 4, 5, (3,), stride=3, dilation=3),
        transposed(2, 4, 6, (4, 4), stride=2, padding=1), transposed(2, 5, 3, (3, 3), padding=1), transposed(1, 6, 4, (2,), groups=2, stride=3),
        padded("zeros"), padded("reflect"), padded("replicate"), padded("circular"),
        (lambda o, x, w: o.conv(x, w, dilation=2, causal=True), lambda x, w: F.conv1d(F.pad(x, (4, 0)), w, dilation=2), [(2, 3, 9), (4, 3, 3)]),
        (lambda o, x, w: o.conv(x, w, causal=True, padding_mode="replicate"),
         lambda x, w: F.conv1d(F.pad(x, (2, 0), mode="replicate"), w), [(2, 3, 9), (4, 3, 3)]),
    ],
    "max_pool": [pool("max_pool", MAX, axes, {"kernel": k, "stride": s, "padding": p, "dilation": d, "ceil": c},
                      kernel_size=k, stride=s, padding=p, dilation=d, ceil_mode=c)
                 for axes in (1, 2, 3) for k, s, p, d, c in [(2, 2, 0, 1, False), (3, 2, 1, 1, True), (2, 1, 1, 2, False)]],
    "average_pool": [pool("average_pool", AVERAGE, axes, {"kernel": k, "stride": s, "padding": p, "ceil": c, "count_padding": n},
                          kernel_size=k, stride=s, padding=p, ceil_mode=c, count_include_pad=n)
                     for axes in (1, 2, 3) for k, s, p, c, n in [(2, 2, 0, False, True), (3, 2, 1, True, True), (3, 2, 1, True, False)]],
    "lse_pool": [(lambda o, x: o.lse_pool(x, [2, 3], [2, 2], 1), log_sum_exp, [(2, 3, 6, 7)])],
    "adaptive_max_pool": [pool("adaptive_max_pool", ADAPTIVE_MAX, axes, {"size": n}, output_size=n)
                          for axes in (1, 2, 3) for n in (1, 3)],
    "adaptive_average_pool": [pool("adaptive_average_pool", ADAPTIVE_AVERAGE, axes, {"size": n}, output_size=n) for axes in (1, 2, 3) for n in (1, 3, 7)],
    "batch_norm": [
        norm(lambda o, x, m, v, w, b: o.batch_norm(x, m, v, w, b, 1e-3), lambda x, m, v, w, b: (x - m.view(-1, 1, 1)) / (v.view(-1, 1, 1) + 1e-3).sqrt() * w.view(-1, 1, 1) + b.view(-1, 1, 1),
             (6,), ((6,), 0.3, 2.0), (6,), (6,)),
        norm(lambda o, x, w, b: o.batch_norm(x, None, None, w, b), lambda x, w, b: F.batch_norm(x, None, None, w, b, True), (6,), (6,))],
    "batch_statistics": [norm(lambda o, x: o.batch_statistics(x), lambda x: (x.mean((0, 2, 3)), x.var((0, 2, 3))))],
    "group_norm": [norm(lambda o, x, w, b: o.group_norm(x, 3, w, b), lambda x, w, b: F.group_norm(x, 3, w, b), (6,), (6,))],
    "instance_norm": [norm(lambda o, x, w, b: o.instance_norm(x, w, b), lambda x, w, b: F.instance_norm(x, None, None, w, b), (6,), (6,)),
                      norm(lambda o, x: o.instance_norm(x), F.instance_norm)],
    "resize": [resize(1, "linear", (20,), False), resize(1, "linear", (5,), True), resize(2, "nearest", (10, 4)), resize(2, "nearest-exact", (10, 4)),
               resize(3, "nearest", (3, 8, 7)), resize(3, "trilinear", (3, 8, 7), False), resize(3, "trilinear", (7, 2, 1), True)]
              + [resize(2, mode, size, corners) for mode in ("bilinear", "bicubic") for size in ((14, 18), (4, 3), (20, 5)) for corners in (False, True)],
    "grid_sample": samples("grid_sample"), "grid_sample_plain": samples("grid_sample_plain"),
    "unfold": [(lambda o, x: o.unfold(x, [3, 2], [2, 1], [1, 0], [2, 1]), lambda x: F.unfold(x, (3, 2), (2, 1), (1, 0), (2, 1)), [(2, 3, 7, 5)])],
    "fold": [(lambda o, x: o.fold(x, [7, 5], [3, 2], [2, 1], [1, 0], [2, 1]), lambda x: F.fold(x, (7, 5), (3, 2), (2, 1), (1, 0), (2, 1)), [(2, 18, 12)])],
    "pixel_shuffle": [(lambda o, x: o.pixel_shuffle(x, 2), lambda x: F.pixel_shuffle(x, 2), [(2, 8, 3, 5)])],
    "pixel_unshuffle": [(lambda o, x: o.pixel_unshuffle(x, 2), lambda x: F.pixel_unshuffle(x, 2), [(2, 3, 6, 4)])],
    "windows": [(lambda o, x: o.windows(x, [3, 2]), lambda x: x.view(2, 2, 3, 2, 2, 5).transpose(2, 3).reshape(8, 6, 5), [(2, 6, 4, 5)])],
    "unwindows": [(lambda o, x: o.unwindows(x, [3, 2], [6, 4]), lambda x: x.view(2, 2, 2, 3, 2, 5).transpose(2, 3).reshape(2, 6, 4, 5), [(8, 6, 5)])],
    "extend": [(lambda o, x, m=mode: o.extend(x, 2, 2, 1, m), lambda x, m=mode: F.pad(x, (2, 1), mode=m), [(2, 3, 5)]) for mode in ("reflect", "replicate", "circular")]
              + [(lambda o, x, m=mode: o.extend(x, [3, 2], [2, 1], [9, 3] if m == "replicate" else 3, m),
                  lambda x, m=mode: F.pad(x, (2, 9 if m == "replicate" else 3, 1, 3), mode=m), [(2, 3, 5, 11)]) for mode in ("reflect", "replicate", "circular")],
}
