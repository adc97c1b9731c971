# SPDX-License-Identifier: Apache-2.0
"""agent-attention: torch's pooling, resizing and convolution; a head at a time."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def reference(p, inputs, w):
    x, h, n, side, first = inputs["x"], p["num_heads"], p["agent_num"], p["window"], int(p["cls_token"])
    B, N, C = x.shape
    d, root = C // h, round(n**0.5)
    q, k, v = F.linear(x, w["qkv.weight"], w.get("qkv.bias")).chunk(3, -1)
    as_map = lambda t: t[:, first:].transpose(1, 2).reshape(B, C, side, side)
    agents = F.adaptive_avg_pool2d(as_map(q), (root, root)).flatten(2).transpose(1, 2)
    up = lambda m: F.interpolate(m, size=(side, side), mode="bilinear")
    b1 = (up(w["an_bias"])[None] + w["ah_bias"] + w["aw_bias"]).flatten(3)
    b2 = (up(w["na_bias"])[None].flatten(3).transpose(2, 3).reshape(1, h, side, side, n) + w["ha_bias"] + w["wa_bias"]).flatten(2, 3)
    if first:
        b1, b2 = torch.cat([w["ac_bias"], b1], 3), torch.cat([w["ca_bias"], b2], 2)
    outs = []
    for i in range(h):
        at = slice(i * d, i * d + d)
        a = agents[..., at]
        values = (a @ k[..., at].transpose(1, 2) / d**0.5 + b1[0, i]).softmax(-1) @ v[..., at]
        outs.append((q[..., at] @ a.transpose(1, 2) / d**0.5 + b2[0, i]).softmax(-1) @ values)
    out = torch.cat(outs, -1)
    near = F.conv2d(as_map(v), w["dwc.weight"], w["dwc.bias"], padding=1, groups=C).flatten(2).transpose(1, 2)
    return {"out": F.linear(out + F.pad(near, (0, 0, first, 0)), w["proj.weight"], w["proj.bias"])}


def case(name, seed, side, n, C=8, h=2, bias=True, cls=False):
    s = {"qkv.weight": (3 * C, C), "proj.weight": (C, C), "proj.bias": (C,), "dwc.weight": (C, 1, 3, 3), "dwc.bias": (C,), "an_bias": (h, n, 7, 7),
         "na_bias": (h, n, 7, 7), "ah_bias": (1, h, n, side, 1), "aw_bias": (1, h, n, 1, side), "ha_bias": (1, h, side, 1, n), "wa_bias": (1, h, 1, side, n)}
    s |= ({"qkv.bias": (3 * C,)} if bias else {}) | ({"ac_bias": (1, h, n, 1), "ca_bias": (1, h, 1, n)} if cls else {})
    p = {"dim": C, "num_heads": h, "qkv_bias": bias, "agent_num": n, "window": side, "cls_token": cls}
    return name, p, draw(seed, x=(2, side * side + cls, C)), draw(seed + 50, 0.5, **s)


run("agent-attention", reference, [case("class-token", 1, 5, 4, cls=True), case("no-bias", 2, 8, 9, bias=False), case("small-window", 3, 3, 4)], "a head at a time")
