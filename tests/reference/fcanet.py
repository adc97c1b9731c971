# SPDX-License-Identifier: Apache-2.0
"""fcanet: channels squeezed by 2-D DCT bases of a 7x7 grid of frequencies; the basis as an outer product of two vectors."""
import math

import torch
import torch.nn.functional as F

from maps import run

LOW8 = [0, 0, 1, 1, 0, 2, 2, 1], [0, 1, 0, 1, 2, 0, 1, 2]
BOT4 = [6, 1, 3, 3], [6, 4, 4, 6]


def basis(f, n):
    wave = torch.cos(math.pi * f * (torch.arange(n, dtype=torch.float64) + 0.5) / n) / math.sqrt(n)
    return wave * math.sqrt(2) if f else wave


def reference(p, x, w):
    x, h, v = x["x"], p["dct_h"], p["dct_w"]
    us, vs = {"low8": LOW8, "bot4": BOT4}[p["freq_sel_method"]]
    y = F.adaptive_avg_pool2d(x, (h, v))
    parts = [torch.einsum("bchw,h,w->bc", part, basis(a * (h // 7), h), basis(b * (v // 7), v)) for part, a, b in zip(y.chunk(len(us), 1), us, vs)]
    s = torch.cat(parts, 1)
    gate = F.linear(F.linear(s, w["fc.0.weight"]).relu(), w["fc.2.weight"]).sigmoid()
    return {"out": x * gate[:, :, None, None], "spectrum": s, "gate": gate}


weights = {"fc.0.weight": (4, 16), "fc.2.weight": (16, 4)}
run("fcanet", reference, [
    ("low-pooled", {"channel": 16, "dct_h": 7, "dct_w": 7, "reduction": 4, "freq_sel_method": "low8"}, {"x": (2, 16, 9, 10)}, weights),
    ("bot-fourteen", {"channel": 16, "dct_h": 14, "dct_w": 7, "reduction": 4, "freq_sel_method": "bot4"}, {"x": (1, 16, 14, 7)}, weights),
], "frequency channel attention")
