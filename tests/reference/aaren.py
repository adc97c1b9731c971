# SPDX-License-Identifier: Apache-2.0
"""aaren: a softmax over every prefix."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def attend(q, k, v, scale):
    s = scale * torch.einsum("hd,bnhd->bnh", q, k)
    m = torch.stack([s[:, :t + 1].amax(1) for t in range(s.shape[1])], 1)
    u = torch.stack([torch.exp(s[:, :t + 1] - m[:, t, None]).sum(1) for t in range(s.shape[1])], 1)
    out = torch.stack([torch.einsum("bnh,bnhe->bhe", torch.softmax(s[:, :t + 1], 1), v[:, :t + 1]) for t in range(s.shape[1])], 1)
    return out, m, u


def reference(params, inputs, w):
    if "head_merge" not in params:
        out, m, u = attend(inputs["q"], inputs["k"], inputs["v"], params.get("scale", inputs["q"].shape[1] ** -0.5))
    else:
        kv = torch.einsum("bnc,chdi->bnhdi", inputs["x"], w["kv_kernel"])
        out, m, u = attend(w["q_kernel"], kv[..., 0], kv[..., 1], params.get("scale", 1.0))
        out = F.linear(out.mean(2), w["to_out.weight"], w["to_out.bias"])
    return {"out": out, "m": m, "u": u}


run("aaren", reference, [
    ("default-scale", {}, draw(1, 2.0, q=(2, 6), k=(2, 31, 2, 6), v=(2, 31, 2, 6)), {}),
    ("growing", {"heads": 1, "scale": 1.0}, draw(2, 2.0, q=(1, 4), k=(1, 90, 1, 4), v=(1, 90, 1, 4)), {}),
    ("module", {"head_merge": "mean", "heads": 3, "dim": 10, "dim_inner": 8, "dim_out": 12}, draw(3, x=(2, 13, 10)),
     draw(13, kv_kernel=(10, 3, 8, 2), q_kernel=(3, 8), **{"to_out.weight": (12, 8), "to_out.bias": (12,)})),
    ("module-scale", {"head_merge": "mean", "scale": 0.5}, draw(4, x=(1, 9, 5)),
     draw(14, kv_kernel=(5, 2, 4, 2), q_kernel=(2, 4), **{"to_out.weight": (7, 4), "to_out.bias": (7,)})),
], "prefixes")
