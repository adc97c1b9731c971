# SPDX-License-Identifier: Apache-2.0
"""co-detr-msdeform: map by map through torch's grid_sample (align_corners=False, zeros outside)."""
import numpy as np
import torch
from torch.nn.functional import grid_sample

from autograd import rand, run


def msdeform(p, i, w):
    M, L, P = p["n_heads"], p["n_levels"], p["n_points"]
    query, ref, shapes = i["query"], i["reference_points"], i["input_spatial_shapes"].tolist()
    B, Lq, C = query.shape
    linear = lambda x, n: x @ w[n + ".weight"].T + w[n + ".bias"]
    value = linear(i["input_flatten"], "value_proj")
    if "input_padding_mask" in i:
        value = value * (~i["input_padding_mask"])[..., None]
    offsets = linear(query, "sampling_offsets").view(B, Lq, M, L, P, 2)
    weights = torch.softmax(linear(query, "attention_weights").view(B, Lq, M, L * P), -1).view(B, Lq, M, L, P)
    if ref.shape[-1] == 2:
        size = torch.tensor([[s[1], s[0]] for s in shapes]).double()
        loc = ref[:, :, None, :, None] + offsets / size[:, None]
    else:
        loc = ref[:, :, None, :, None, :2] + offsets / P * ref[:, :, None, :, None, 2:] * 0.5
    out, at = 0, 0
    for l, (h, wd) in enumerate(shapes):
        maps = value[:, at:at + h * wd].view(B, h, wd, M, C // M).permute(0, 3, 4, 1, 2).flatten(0, 1)
        grid = (2 * loc[:, :, :, l] - 1).permute(0, 2, 1, 3, 4).flatten(0, 1)
        read = grid_sample(maps, grid, align_corners=False).view(B, M, C // M, Lq, P)
        out = out + (read * weights[:, :, :, l].permute(0, 2, 1, 3)[:, :, None]).sum(-1)
        at += h * wd
    return {"out": linear(out.permute(0, 3, 1, 2).reshape(B, Lq, C), "output_proj"), "sampling_locations": loc, "attention_weights": weights}


def case(name, seed, C, M, P, shapes, boxes=False, padding=False, spread=0.5):
    L, S, B, Lq = len(shapes), sum(h * w for h, w in shapes), 2, 5
    r = np.random.default_rng(seed)
    inputs = {"query": rand([seed, 1], B, Lq, C), "input_flatten": rand([seed, 2], B, S, C), "input_spatial_shapes": np.array(shapes, np.int64),
              "reference_points": r.uniform(0, 1, (B, Lq, L, 4 if boxes else 2)).astype(np.float32)}
    if padding:
        inputs["input_padding_mask"] = r.uniform(0, 1, (B, S)) < 0.3
    weights = {}
    for n, (name_, rows) in enumerate([("sampling_offsets", 2 * M * L * P), ("attention_weights", M * L * P), ("value_proj", C), ("output_proj", C)]):
        weights |= {name_ + ".weight": rand([seed, 3, n], rows, C, std=spread), name_ + ".bias": rand([seed, 4, n], rows)}
    return name, {"d_model": C, "n_levels": L, "n_heads": M, "n_points": P, "reference_dim": 4 if boxes else 2}, inputs, weights


run("co-detr-msdeform", msdeform, [
    case("boxes", 1, 12, 3, 2, [(4, 5), (2, 3)], boxes=True),
    case("padding", 2, 16, 4, 3, [(3, 7), (2, 4), (1, 1)], padding=True),
    case("one-head", 3, 8, 1, 1, [(6, 4)]),
], "grid_sample")
