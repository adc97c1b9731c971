# SPDX-License-Identifier: Apache-2.0
"""Ops and what torch computes in float64: elementwise, reductions, norms, products, selection.

CASES maps an op's name to calls (heed's, torch's, inputs). Both get the same inputs: a shape stands for random numbers, a tuple
(shape, low, high) for numbers in that range, a tensor for itself. heed's call gets heed.ops first. Gradients of all float inputs
are compared where torch gives them.
"""
import torch
import torch.nn.functional as F

positive = ((3, 5), 0.2, 3.0)
pair = [(2, 3, 5), (3, 1)]
index = torch.tensor([2, 0, 0, 1])
rows = torch.tensor([[1, 0, 2], [2, 2, 0]])


def _unary(name, reference=None, shape=(3, 5)):
    return [(lambda o, x: getattr(o, name)(x), reference or getattr(torch, name), [shape])]


def _binary(name, reference=None, inputs=pair):
    return [(lambda o, a, b: getattr(o, name)(a, b), reference or getattr(torch, name), inputs)]


def _rope(x, cos, sin, interleaved):
    half = cos.shape[-1]
    cos, sin = cos[None, :, None], sin[None, :, None]
    a, b = (x[..., 0:2 * half:2], x[..., 1:2 * half:2]) if interleaved else (x[..., :half], x[..., half:2 * half])
    a, b = a * cos - b * sin, a * sin + b * cos
    turned = torch.stack([a, b], -1).flatten(-2) if interleaved else torch.cat([a, b], -1)
    return torch.cat([turned, x[..., 2 * half:]], -1)


def _strided_add(x, shape, strides, offset):
    out = torch.zeros(shape, dtype=x.dtype).flatten()
    at = torch.full(x.shape, offset)
    for axis, stride in enumerate(strides):
        at += stride * torch.arange(x.shape[axis]).view([-1] + [1] * (x.ndim - axis - 1))
    return out.index_add(0, at.flatten(), x.flatten()).view(shape)


CASES = {
    "add": _binary("add"), "sub": _binary("sub"), "mul": _binary("mul"),
    "div": _binary("div", inputs=[(2, 3, 5), ((3, 1), 0.5, 2.0)]), "maximum": _binary("maximum"), "minimum": _binary("minimum"),
    "where": [(lambda o, m, a, b: o.where(m, a, b), torch.where, [torch.tensor([[True], [False], [True]]), (2, 3, 5), (5,)])],
    "scale": [(lambda o, x: o.scale(x, -1.5), lambda x: -1.5 * x, [(3, 5)])],
    "shift": [(lambda o, x: o.shift(x, 0.75), lambda x: x + 0.75, [(3, 5)])],
    "exp": _unary("exp"), "log": _unary("log", shape=positive), "sigmoid": _unary("sigmoid"), "tanh": _unary("tanh"), "relu": _unary("relu"),
    "gelu": _unary("gelu", F.gelu) + [(lambda o, x: o.gelu(x, by_tanh=True), lambda x: F.gelu(x, approximate="tanh"), [(3, 5)])],
    "silu": _unary("silu", F.silu), "softplus": _unary("softplus", F.softplus), "neg": _unary("neg"), "sqrt": _unary("sqrt", shape=positive),
    "rsqrt": _unary("rsqrt", shape=positive), "square": _unary("square"), "abs": _unary("abs"), "sign": _unary("sign"), "sin": _unary("sin"),
    "cos": _unary("cos"), "erf": _unary("erf"), "log1p": _unary("log1p", shape=positive),
    "pow": [(lambda o, x: o.pow(x, 1.7), lambda x: x**1.7, [positive]), (lambda o, x: o.pow(x, 3.0), lambda x: x**3, [(3, 5)])],
    "clamp": [(lambda o, x: o.clamp(x, -0.5, 0.8), lambda x: x.clamp(-0.5, 0.8), [(3, 5)])],
    "leaky_relu": [(lambda o, x: o.leaky_relu(x, 0.1), lambda x: F.leaky_relu(x, 0.1), [(3, 5)])],
    "elu": [(lambda o, x: o.elu(x, 0.7), lambda x: F.elu(x, 0.7), [(3, 5)])],
    "less": _binary("less"), "equal": _binary("equal", torch.eq, [torch.tensor([1.0, 2.0, 3.0]), torch.tensor([[2.0], [3.0]])]),
    "both": _binary("both", torch.logical_and, [index > 0, index < 2]), "either": _binary("either", torch.logical_or, [index > 1, index < 1]),
    "negate": _unary("negate", torch.logical_not, index > 0),

    "sum": [(lambda o, x: o.sum(x, [0, -1]), lambda x: x.sum((0, -1)), [(2, 3, 5)]), (lambda o, x: o.sum(x, 1, keepdim=True), lambda x: x.sum(1, True), [(2, 3, 5)])],
    "mean": [(lambda o, x: o.mean(x, [1]), lambda x: x.mean(1), [(2, 3, 5)])],
    "max": [(lambda o, x: o.max(x, [1, 2]), lambda x: x.amax((1, 2)), [(2, 3, 5)])],
    "min": [(lambda o, x: o.min(x, [0], True), lambda x: x.amin(0, True), [(2, 3, 5)])],
    "argmax": [(lambda o, x: o.argmax(x, 1), lambda x: x.argmax(1), [(2, 3, 5)])],
    "softmax": [(lambda o, x: o.softmax(x, 1), lambda x: x.softmax(1), [(2, 3, 5)])],
    "log_softmax": [(lambda o, x: o.log_softmax(x, -1), lambda x: x.log_softmax(-1), [(2, 3, 5)])],
    "logsumexp": [(lambda o, x: o.logsumexp(x, 0), lambda x: x.logsumexp(0), [(2, 3, 5)])],
    "cumsum": [(lambda o, x: o.cumsum(x, 1), lambda x: x.cumsum(1), [(2, 3, 5)])],
    "sum_to": [(lambda o, x: o.sum_to(x, [3, 1]), lambda x: x.sum((0, 2))[:, None], [(2, 3, 5)])],

    "layer_norm": [(lambda o, x, w, b: o.layer_norm(x, w, b), lambda x, w, b: F.layer_norm(x, (5,), w, b), [(2, 3, 5), (5,), (5,)]),
                   (lambda o, x: o.layer_norm(x, epsilon=0.1), lambda x: F.layer_norm(x, (5,), eps=0.1), [(2, 3, 5)])],
    "rms_norm": [(lambda o, x, w: o.rms_norm(x, w), lambda x, w: F.rms_norm(x, (5,), w, 1e-6), [(2, 3, 5), (5,)])],
    "rope": [(lambda o, x, c, s, i=i: o.rope(x, c, s, i), lambda x, c, s, i=i: _rope(x, c, s, i), [(2, 3, 2, 8), (3, 3), (3, 3)]) for i in (False, True)],

    "linear": [(lambda o, x, w, b: o.linear(x, w, b), F.linear, [(2, 3, 5), (4, 5), (4,)]), (lambda o, x, w: o.linear(x, w), F.linear, [(3, 5), (4, 5)])],
    "matmul": [(lambda o, a, b: o.matmul(a, b), torch.matmul, [(2, 3, 5), (5, 4)]), (lambda o, a, b: o.matmul(a, b), torch.matmul, [(4, 1, 2, 3), (2, 3, 5)])],

    "concat": [(lambda o, a, b: o.concat([a, b], 1), lambda a, b: torch.cat([a, b], 1), [(2, 3), (2, 1)])],
    "split": [(lambda o, x: o.split(x, -1, [2, 3]), lambda x: x.split([2, 3], -1), [(3, 5)])],
    "stack": [(lambda o, a, b: o.stack([a, b], 1), lambda a, b: torch.stack([a, b], 1), [(2, 3), (2, 3)])],
    "repeat": [(lambda o, x: o.repeat(x, 0, 2), lambda x: x.repeat_interleave(2, 0), [(3, 5)])],
    "gather": [(lambda o, x, i: o.gather(x, 1, i), lambda x, i: x.gather(1, i), [(2, 4), rows]),
               (lambda o, x: o.gather(x, 1, rows[0][None, :, None]), lambda x: x[:, rows[0]], [(2, 3, 5)])],
    "index_select": [(lambda o, x, i: o.index_select(x, 1, i), lambda x, i: x.index_select(1, i), [(2, 3), index])],
    "scatter_add": [(lambda o, x, i: o.scatter_add(x, 1, i, 4), lambda x, i: torch.zeros(2, 4, dtype=x.dtype).scatter_add(1, i, x), [(2, 3), rows])],
    "index_add": [(lambda o, x, i: o.index_add(x, 1, i, 3), lambda x, i: torch.zeros(2, 3, dtype=x.dtype).index_add(1, i, x), [(2, 4), index])],
    "strided": [(lambda o, x: o.strided(x, [3, 2], [2, 1], 1), lambda x: x.contiguous().flatten().as_strided([3, 2], [2, 1], 1), [(2, 5)])],
    "strided_add": [(lambda o, x: o.strided_add(x, [2, 5], [2, 1], 1), lambda x: _strided_add(x, [2, 5], [2, 1], 1), [(3, 2)])],
    "pad": [(lambda o, x: o.pad(x, 0, 1, 2, 0.5), lambda x: F.pad(x, (0, 0, 1, 2), value=0.5), [(3, 5)]),
            (lambda o, x: o.pad(x, [2, 0], [3, 1], 2, -1.5), lambda x: F.pad(x, (3, 2, 0, 0, 1, 2), value=-1.5), [(3, 2, 5)]),
            (lambda o, x: o.pad(x, [1, 2], 1, 0), lambda x: F.pad(x, (1, 0, 1, 0)), [(70, 40, 30)])],
    "embedding": [(lambda o, t, i: o.embedding(t, i), lambda t, i: F.embedding(i, t), [(3, 5), rows])],
    "topk": [(lambda o, x: o.topk(x, 2, 1), lambda x: x.topk(2, 1), [(2, 4, 3)]), (lambda o, x: o.topk(x, 2, -1, largest=False), lambda x: x.topk(2, -1, largest=False), [(2, 5)])],
    "argsort": [(lambda o, x: o.argsort(x, 0), lambda x: x.argsort(0), [(4, 3)]), (lambda o, x: o.argsort(x, 1, True), lambda x: x.argsort(1, True), [(2, 5)])],
    "one_hot": [(lambda o, i: o.one_hot(i, 3), lambda i: F.one_hot(i, 3).double(), [index])],
    "arange": [(lambda o: torch.from_numpy(o.arange(2, 9, 3)), lambda: torch.arange(2, 9, 3), [])],
    "full": [(lambda o: torch.from_numpy(o.full([2, 3], 0.5)), lambda: torch.full([2, 3], 0.5, dtype=torch.float64), [])],
}
