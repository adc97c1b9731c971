# SPDX-License-Identifier: Apache-2.0
"""botnet-mhsa: softmax over all places of D^-1/2 q_i . (k_j + r_ij), r by relative or absolute tables; here pair by pair."""
import torch
import torch.nn.functional as F

from maps import layer, run


def reference(p, x, w):
    x, h, D = x["x"], p["heads"], p["dim_head"]
    B, _, H, W = x.shape
    q, k, v = F.conv2d(x, w["to_qkv.weight"]).view(B, 3, h, D, H * W).unbind(1)
    at = torch.arange(H * W)
    if p["rel_pos_emb"]:
        r = w["pos_emb.rel_height"][at[None] // W - at[:, None] // W + H - 1] + w["pos_emb.rel_width"][at[None] % W - at[:, None] % W + W - 1]
    else:
        r = (w["pos_emb.height"][at // W] + w["pos_emb.width"][at % W])[None].expand(H * W, -1, -1)
    s = (torch.einsum("bhdi,bhdj->bhij", q, k) + torch.einsum("bhdi,ijd->bhij", q, r)) * D**-0.5
    a = s.softmax(-1)
    return {"out": torch.einsum("bhij,bhdj->bhdi", a, v).reshape(B, h * D, H, W), "weights": a}


def eager(p, x, w):
    """The usual module: all scores at once, relative ones by padding and reshaping."""
    x, h, D = x["x"], p["heads"], p["dim_head"]
    B, _, H, W = x.shape
    q, k, v = (t.view(B, h, D, H * W).transpose(2, 3) for t in F.conv2d(x, w["to_qkv.weight"]).chunk(3, 1))
    q = q * D**-0.5
    s = torch.einsum("bhid,bhjd->bhij", q, k)

    def along(y, table):  # y (B, h, rows, n, D), table (2n-1, D): (B, h, rows, n, n)
        n = y.shape[3]
        logits = torch.einsum("bhxyd,rd->bhxyr", y, table)
        flat = F.pad(F.pad(logits, (0, 1)).flatten(3), (0, n - 1))
        return flat.view(*y.shape[:3], n + 1, 2 * n - 1)[..., :n, n - 1:]
    if p["rel_pos_emb"]:
        rows = along(q.view(B, h, H, W, D), w["pos_emb.rel_width"])[:, :, :, :, None, :]
        columns = along(q.view(B, h, H, W, D).transpose(2, 3), w["pos_emb.rel_height"]).permute(0, 1, 3, 2, 4)[..., None]
        s = s + (rows + columns).reshape(B, h, H * W, H * W)
    else:
        s = s + torch.einsum("bhid,jd->bhij", q, (w["pos_emb.height"][:, None] + w["pos_emb.width"][None]).view(H * W, D))
    out = torch.einsum("bhij,bhjd->bhid", s.softmax(-1), v)
    return {"out": out.transpose(2, 3).reshape(B, h * D, H, W)}


def case(name, relative):
    tables = {"pos_emb.rel_height": (5, 4), "pos_emb.rel_width": (7, 4)} if relative else {"pos_emb.height": (3, 4), "pos_emb.width": (4, 4)}
    params = {"dim": 6, "fmap_size": [3, 4], "heads": 2, "dim_head": 4, "rel_pos_emb": relative}
    return name, params, {"x": (2, 6, 3, 4)}, layer("to_qkv", 24, 6, 1, 1, bias=False) | tables


run("botnet-mhsa", reference, [case("absolute", False), case("relative", True)], "self-attention over a map")
