# SPDX-License-Identifier: Apache-2.0
"""halonet: every query against the window of its block, block by block, with relative terms looked up pair by pair."""
import torch
import torch.nn.functional as F

from maps import layer, run


def reference(p, x, w):
    x, h, b, halo = x["x"], p["num_heads"], p["block_size"], p["halo_size"]
    B, _, H, W = x.shape
    out_dim, D = p["dim_out"], p["dim_head"]
    averaged = p["stride"] == 2 and (p["avg_down"] or b % 2 == 1)
    step = 1 if averaged else p["stride"]
    n, win, scale = b // step, b + 2 * halo, D**-0.5
    q = F.conv2d(x, w["q.weight"], w.get("q.bias"), stride=step).view(B, h, D, H // step, W // step)
    kv = F.pad(F.conv2d(x, w["kv.weight"], w.get("kv.bias")), (halo,) * 4)
    kv = kv.view(B, h, D + out_dim // h, H + 2 * halo, W + 2 * halo)
    qi, ki = torch.arange(n), torch.arange(win)
    offset = ki[None] - qi[:, None] + win - 1
    rows = []
    for r in range(0, H // step, n):
        row = []
        for c in range(0, W // step, n):
            block = q[:, :, :, r:r + n, c:c + n]
            around = kv[:, :, :, r * step:r * step + win, c * step:c * step + win]
            k, v = around[:, :, :D], around[:, :, D:]
            s = torch.einsum("bhdyx,bhduv->bhyxuv", block, k)
            t = torch.einsum("bhdyx,yud->bhyxu", block, w["pos_embed.height_rel"][offset])[..., None]
            t = t + torch.einsum("bhdyx,xvd->bhyxv", block, w["pos_embed.width_rel"][offset])[..., None, :]
            s = scale * (s + t) if p["scale_pos_embed"] else scale * s + t
            a = s.flatten(4).softmax(-1).view(s.shape)
            row.append(torch.einsum("bhyxuv,bhduv->bhdyx", a, v))
        rows.append(torch.cat(row, -1))
    out = torch.cat(rows, -2).reshape(B, out_dim, H // step, W // step)
    return {"out": F.avg_pool2d(out, 2) if averaged else out}


def case(name, b, halo, H, W, stride=1, bias=False, **more):
    params = {"dim": 6, "dim_out": 8, "num_heads": 2, "dim_head": 3, "stride": stride, "block_size": b, "halo_size": halo, "qkv_bias": bias,
              "avg_down": False, "scale_pos_embed": False, **more}
    weights = layer("q", 6, 6, 1, 1, bias=bias) | layer("kv", 14, 6, 1, 1, bias=bias)
    tables = {f"pos_embed.{n}_rel": (2 * (b + 2 * halo) - 1, 3) for n in ("height", "width")}
    return name, params, {"x": (2, 6, H, W)}, weights | tables


run("halonet", reference, [
    case("stride", 4, 1, 8, 4, stride=2, bias=True), case("average", 4, 1, 4, 8, stride=2, avg_down=True), case("odd-block", 3, 1, 6, 6, stride=2),
    case("scaled", 2, 2, 4, 6, scale_pos_embed=True),
], "haloed blocks")
