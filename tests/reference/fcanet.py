# SPDX-License-Identifier: Apache-2.0
"""fcanet: channels squeezed by 2-D DCT bases of a 7x7 grid of frequencies; the basis as an outer product of two vectors."""
import functools
import math

import torch
import torch.nn.functional as F

from maps import run

# (u, v) of the 7x7 grid as two digits, the first of each ranking first.
RANKED = {
    "top": "00 01 60 05 02 10 12 40 50 16 30 04 06 03 35 22 46 63 33 53 55 21 61 52 54 32 31 41 23 20 65 13",
    "low": "00 01 10 11 02 20 21 12 22 03 30 40 04 13 31 05 14 23 32 41 50 06 15 24 33 42 51 60 16 25 34 43",
    "bot": "66 14 34 36 26 43 11 24 44 45 56 15 42 62 25 51 64 13 65 20 23 41 31 32 54 52 61 21 55 53 33 63",
}


def basis(f, n):
    wave = torch.cos(math.pi * f * (torch.arange(n, dtype=torch.float64) + 0.5) / n) / math.sqrt(n)
    return wave * math.sqrt(2) if f else wave


def frequencies(p):
    method = p["freq_sel_method"]
    chosen = RANKED[method[:3]].split()[:int(method[3:])]
    us, vs = ([int(c[n]) for c in chosen] for n in (0, 1))
    return p.get("mapper_x") or us, p.get("mapper_y") or vs


def reference(p, x, w):
    x, h, v = x["x"], p["dct_h"], p["dct_w"]
    us, vs = frequencies(p)
    y = F.adaptive_avg_pool2d(x, (h, v))
    parts = [torch.einsum("bchw,h,w->bc", part, basis(a * (h // 7), h), basis(b * (v // 7), v)) for part, a, b in zip(y.chunk(len(us), 1), us, vs)]
    s = torch.cat(parts, 1)
    gate = F.linear(F.linear(s, w["fc.0.weight"]).relu(), w["fc.2.weight"]).sigmoid()
    return {"out": x * gate[:, :, None, None], "spectrum": s, "gate": gate}


@functools.lru_cache(8)
def filters(us, vs, channels, h, w):
    """What the released module keeps as a buffer: (channels, h, w)."""
    planes = [torch.outer(basis(a * (h // 7), h), basis(b * (w // 7), w)) for a, b in zip(us, vs)]
    return torch.stack(planes).repeat_interleave(channels // len(planes), 0).float()


def eager(p, x, w):
    """The released module."""
    x, h, v = x["x"], p["dct_h"], p["dct_w"]
    y = x if x.shape[2:] == (h, v) else F.adaptive_avg_pool2d(x, (h, v))
    s = (y * filters(*map(tuple, frequencies(p)), x.shape[1], h, v).to(x.dtype)).sum((2, 3))
    y = F.linear(F.linear(s, w["fc.0.weight"]).relu(), w["fc.2.weight"]).sigmoid().view(*x.shape[:2], 1, 1)
    return {"out": x * y.expand_as(x)}


weights = {"fc.0.weight": (4, 16), "fc.2.weight": (16, 4)}
run("fcanet", reference, [
    ("low-pooled", {"channel": 16, "dct_h": 7, "dct_w": 7, "reduction": 4, "freq_sel_method": "low8"}, {"x": (2, 16, 9, 10)}, weights),
    ("bot-fourteen", {"channel": 16, "dct_h": 14, "dct_w": 7, "reduction": 4, "freq_sel_method": "bot4"}, {"x": (1, 16, 14, 7)}, weights),
] + [(method, {"channel": 32, "dct_h": 7, "dct_w": 7, "reduction": 8, "freq_sel_method": method}, {"x": (1, 32, 7, 7)},
      {"fc.0.weight": (4, 32), "fc.2.weight": (32, 4)}) for method in ("top32", "low32", "bot32", "top1", "bot2")] + [
    ("wide", {"channel": 16, "dct_h": 8, "dct_w": 21, "reduction": 4, "freq_sel_method": "top8"}, {"x": (2, 16, 8, 21)}, weights),
    ("narrow", {"channel": 12, "dct_h": 15, "dct_w": 5, "reduction": 5, "freq_sel_method": "low2"}, {"x": (2, 12, 6, 9)}, {"fc.0.weight": (2, 12), "fc.2.weight": (12, 2)}),
    ("mappers", {"channel": 12, "dct_h": 7, "dct_w": 14, "reduction": 4, "mapper_x": [0, 5, 1], "mapper_y": [3, 0, 6], "freq_sel_method": "top4"}, {"x": (1, 12, 7, 14)},
     {"fc.0.weight": (3, 12), "fc.2.weight": (12, 3)}),
], "frequency channel attention")
