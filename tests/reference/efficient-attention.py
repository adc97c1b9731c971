# SPDX-License-Identifier: Apache-2.0
"""efficient-attention: weights between every query and key, softmax_D(q_i) . softmax_N(k)_j, times v_j."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def attend(q, k, v):
    weight = torch.einsum("bihd,bjhd->bhij", torch.softmax(q, 3), torch.softmax(k, 1))
    return torch.einsum("bhij,bjhe->bihe", weight, v)


def reference(params, inputs, w):
    if "in_channels" not in params:
        return {"out": attend(inputs["q"], inputs["k"], inputs["v"])}
    x, H = inputs["x"], params.get("head_count", 1)
    conv = lambda n, y: F.conv2d(y, w[n + ".weight"], w[n + ".bias"])
    heads = lambda y: y.flatten(2).transpose(1, 2).reshape(x.shape[0], -1, H, y.shape[1] // H)
    values = conv("values", x)
    o = attend(heads(conv("queries", x)), heads(conv("keys", x)), heads(values))
    return {"out": conv("reprojection", o.flatten(2).transpose(1, 2).reshape(values.shape)) + x}


def weights(seed, C, K, V):
    shapes = {}
    for n, o, i in (("keys", K, C), ("queries", K, C), ("values", V, C), ("reprojection", C, V)):
        shapes |= {n + ".weight": (o, i, 1, 1), n + ".bias": (o,)}
    return draw(seed, 0.5, **shapes)


run("efficient-attention", reference, [
    ("wide-values", {}, draw(1, q=(2, 9, 2, 4), k=(2, 9, 2, 4), v=(2, 9, 2, 7)), {}),
    ("module", {"in_channels": 10, "key_channels": 12, "head_count": 2, "value_channels": 18}, draw(2, x=(2, 10, 5, 4)), weights(12, 10, 12, 18)),
    ("module-defaults", {"in_channels": 6}, draw(3, x=(1, 6, 3, 7)), weights(13, 6, 6, 6)),
], "all pairs")
