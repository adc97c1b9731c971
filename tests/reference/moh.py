# SPDX-License-Identifier: Apache-2.0
"""moh: gates a token at a time."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def reference(p, inputs, w):
    x, H, S, K = inputs["x"], p["num_heads"], p["shared_head"], p["routed_head"]
    B, N, C = x.shape
    d = p["head_dim"]
    rows = []
    for t in x.reshape(-1, C):
        if K == 0:
            rows.append((w["wg_1.weight"] @ t).softmax(0) * S)
            continue
        r = (w["wg.weight"] @ t).softmax(0)
        top = set(r.topk(K).indices.tolist())
        total = sum(r[i] for i in top)
        routed = torch.stack([r[i] / total * K if i in top else 0 * r[i] for i in range(H - S)])
        if S:
            a = 2 * (w["wg_0.weight"] @ t).softmax(0)
            routed = torch.cat([a[0] * S * (w["wg_1.weight"] @ t).softmax(0), a[1] * routed])
        rows.append(routed)
    gates = torch.stack(rows).view(B, N, H)
    q, k, v = F.linear(x, w["qkv.weight"], w["qkv.bias"]).view(B, N, 3, H, d).unbind(2)
    if p["qk_norm"]:
        q, k = F.layer_norm(q, (d,), w["q_norm.weight"], w["q_norm.bias"]), F.layer_norm(k, (d,), w["k_norm.weight"], w["k_norm.bias"])
    o = torch.einsum("bhij,bjhd->bihd", (torch.einsum("bihd,bjhd->bhij", q, k) / d**0.5).softmax(-1), v) * gates[..., None]
    return {"out": F.linear(o.flatten(2), w["proj.weight"], w["proj.bias"]), "gates": gates}


def case(name, seed, H, S, K, C=12, d=3, qk=False):
    s = {"qkv.weight": (3 * H * d, C), "qkv.bias": (3 * H * d,), "proj.weight": (C, H * d), "proj.bias": (C,)}
    s |= {"wg.weight": (H - S, C)} if K else {}
    s |= ({"wg_0.weight": (2, C)} if K else {}) | {"wg_1.weight": (S, C)} if S else {}
    s |= {n + t: ((d,), 0.3, 1.0) for n in ("q_norm", "k_norm") for t in (".weight", ".bias")} if qk else {}
    return name, {"dim": C, "num_heads": H, "head_dim": d, "shared_head": S, "routed_head": K, "qk_norm": qk}, draw(seed, x=(2, 5, C)), draw(seed + 50, 0.5, **s)


run("moh", reference, [case("no-shared", 1, 4, 0, 2), case("qk-norm", 2, 6, 2, 3, qk=True), case("one-routed", 3, 4, 3, 1), case("all-shared", 4, 5, 5, 0, C=7)], "a token at a time")
