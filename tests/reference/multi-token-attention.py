# SPDX-License-Identifier: Apache-2.0
"""multi-token-attention: kernels entry by entry over the plane."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def slid(z, kernel, pad):
    cq, ck = kernel.shape[2:]
    left = {"both": (ck - 1) // 2, "left": ck - 1, "right": 0}[pad]
    B, H, N, M = z.shape
    out = torch.zeros_like(z)
    for a in range(cq):
        for b in range(ck):
            i, j = a - (cq - 1), b - left
            moved = torch.zeros_like(z)
            r, c = slice(max(0, -i), min(N, N - i)), slice(max(0, -j), min(M, M - j))
            if r.start < r.stop and c.start < c.stop:
                moved[:, :, r, c] = z[:, :, r.start + i:r.stop + i, c.start + j:c.stop + j]
            out = out + kernel[:, 0, a, b][None, :, None, None] * moved
    return out


def reference(p, inputs, w):
    x, H = inputs["x"], p["n_heads"]
    B, N, C = x.shape
    G, D = p["n_kv_heads"], p["head_dim"]
    q, k, v = ((x @ w[n + ".weight"].T).view(B, N, -1, D) for n in ("wq", "wk", "wv"))
    if p.get("rope", "none") != "none":
        angle = torch.arange(N, dtype=x.dtype)[:, None] * 1e4 ** (-torch.arange(0, D, 2, dtype=x.dtype) / D)
        turn = lambda t: torch.view_as_real(torch.view_as_complex(t.reshape(*t.shape[:-1], -1, 2)) * torch.polar(torch.ones_like(angle), angle)[:, None]).flatten(-2)
        q, k = turn(q), turn(k)
    q, k, v = q.transpose(1, 2), k.repeat_interleave(H // G, 2).transpose(1, 2), v.repeat_interleave(H // G, 2).transpose(1, 2)
    z = q @ k.transpose(2, 3) / D**0.5
    seen = torch.ones(N, N).tril().bool() if p.get("causal", True) else torch.ones(N, N).bool()
    pad = p.get("pad_key", "both")
    if "mta_kernel" in w:
        z = slid(z * seen, w["mta_kernel"], pad)
    if "wpsm.weight" in w:
        z = torch.einsum("bhij,gh->bgij", z, w["wpsm.weight"])
    a = z.masked_fill(~seen, -torch.inf).softmax(-1)
    if "mta_kernel_after_sm" in w:
        a = slid(a, w["mta_kernel_after_sm"], pad) * seen
    if "head_kernel" in w:
        c = p["head_kernel_size"]
        a = torch.cat([sum(a[:, g * c + h, None] * w["head_kernel"][g, h][None, :, None, None] for h in range(c)) for g in range(H // c)], 1)
    o = (a @ v).transpose(1, 2)
    if p.get("group_norm"):
        o = o * torch.rsqrt(o.square().mean(-1, keepdim=True) + 1e-5) * w["subln.weight"]
        if p.get("layer_norm_rescale"):
            o = o * (1 - (0.8 - 0.6 * torch.exp(torch.tensor(-0.3 * p["layer_id"], dtype=x.dtype))))
    if p.get("add_gating"):
        o = o * torch.sigmoid(F.linear(o, w["gate.weight"], w["gate.bias"]))
    return {"out": o.flatten(2) @ w["wo.weight"].T, "weights": a}


def case(name, seed, N=7, C=6, H=4, G=4, D=4, cq=3, ck=5, **p):
    p = {"n_heads": H, "n_kv_heads": G, "head_dim": D, "layer_id": 2, "query_kernel_size": cq, "key_kernel_size": ck, **p}
    s = {"wq.weight": (H * D, C), "wk.weight": (G * D, C), "wv.weight": (G * D, C), "wo.weight": (C, H * D)}
    if p.get("use_mta", True):
        if cq and ck:
            s["mta_kernel"] = (H, 1, cq, ck)
        if p.get("after_sm_query_kernel_size"):
            s["mta_kernel_after_sm"] = (H, 1, p["after_sm_query_kernel_size"], p["after_sm_key_kernel_size"])
        if p.get("head_kernel_size"):
            s["head_kernel"] = (H // p["head_kernel_size"], p["head_kernel_size"], p["head_kernel_size"])
        if p.get("pre_sm_linear_head"):
            s["wpsm.weight"] = (H, H)
    s |= ({"subln.weight": ((D,), 0.2, 1.0)} if p.get("group_norm") else {}) | ({"gate.weight": (1, D), "gate.bias": (1,)} if p.get("add_gating") else {})
    return name, p, draw(seed, x=(2, N, C)), draw(seed + 50, 0.5, **s)


run("multi-token-attention", reference, [
    case("everything", 1, G=2, rope="interleaved theta 1e4", pre_sm_linear_head=True, after_sm_query_kernel_size=2, after_sm_key_kernel_size=3, head_kernel_size=2,
         group_norm=True, layer_norm_rescale=True, add_gating=True),
    case("left", 2, ck=4, pad_key="left"), case("right", 3, cq=2, ck=2, pad_key="right"), case("both-sides", 4, causal=False, head_kernel_size=4),
    case("after-alone", 5, cq=None, ck=None, after_sm_query_kernel_size=3, after_sm_key_kernel_size=5), case("plain", 6, use_mta=False, group_norm=True, G=1),
    case("long-kernel", 7, N=3, cq=6, ck=11)], "kernels entry by entry")
