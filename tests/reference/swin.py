# SPDX-License-Identifier: Apache-2.0
"""swin: attention between pixels of one window of a rolled map, pair by pair over the whole map; patch merging."""
import torch
import torch.nn.functional as F

from maps import layer, run


def reference(p, x, w):
    x = x["x"]
    B, N, C = x.shape
    H, W = p["input_resolution"]

    def norm(y, name):
        return F.layer_norm(y, y.shape[-1:], w[name + ".weight"], w[name + ".bias"])

    def lin(y, name):
        return F.linear(y, w[name + ".weight"], w.get(name + ".bias"))
    if p.get("op") == "patch_merging":
        m = x.view(B, H, W, C)
        m = torch.cat([m[:, r::2, c::2] for r, c in ((0, 0), (1, 0), (0, 1), (1, 1))], -1)
        return {"out": lin(norm(m.reshape(B, -1, 4 * C), "norm"), "reduction")}
    h, M, shift = p["num_heads"], p["window_size"], p["shift_size"]
    if min(H, W) <= M:
        M, shift = min(H, W), 0
    q, k, v = lin(norm(x, "norm1"), "attn.qkv").view(B, N, 3, h, C // h).unbind(2)
    # Where a pixel stands on the rolled map, its window there, and whether it came around the end.
    at = torch.arange(N)
    row, col = (at // W - shift) % H, (at % W - shift) % W
    window = torch.stack([row // M, col // M], 1)
    wrapped = torch.stack([(row >= H - shift) & (shift > 0), (col >= W - shift) & (shift > 0)], 1)
    same = (window[:, None] == window[None]).all(-1)
    apart = (wrapped[:, None] != wrapped[None]).any(-1)
    dr, dc = row[:, None] - row[None], col[:, None] - col[None]
    index = ((dr + M - 1) * (2 * M - 1) + dc + M - 1).clamp(0, (2 * M - 1) ** 2 - 1)
    s = torch.einsum("bihd,bjhd->bhij", q, k) * (C // h) ** -0.5 + w["attn.relative_position_bias_table"][index].permute(2, 0, 1) - 100.0 * apart
    a = s.masked_fill(~same, -torch.inf).softmax(-1)
    attn = lin(torch.einsum("bhij,bjhd->bihd", a, v).reshape(B, N, C), "attn.proj")
    x = x + attn
    return {"out": x + lin(F.gelu(lin(norm(x, "norm2"), "mlp.fc1")), "mlp.fc2"), "attn": attn}


def case(name, H, W, M, shift, bias=True):
    params = {"dim": 8, "input_resolution": [H, W], "num_heads": 2, "window_size": M, "shift_size": shift, "mlp_ratio": 2, "qkv_bias": bias}
    side = 2 * min(M, H, W) - 1
    weights = {f"norm{i}.{n}": (8,) for i in (1, 2) for n in ("weight", "bias")} | {"attn.relative_position_bias_table": (side * side, 2)}
    weights |= layer("attn.qkv", 24, 8, bias=bias) | layer("attn.proj", 8, 8) | layer("mlp.fc1", 16, 8) | layer("mlp.fc2", 8, 16)
    return name, params, {"x": (2, H * W, 8)}, weights


run("swin", reference, [
    case("shifted", 6, 9, 3, 1), case("one-window", 4, 4, 7, 3, bias=False),
    ("patch-merging", {"op": "patch_merging", "input_resolution": [4, 6], "dim": 3}, {"x": (2, 24, 3)}, {"norm.weight": (12,), "norm.bias": (12,), "reduction.weight": (6, 12)}),
], "shifted windows")
