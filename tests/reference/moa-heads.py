# SPDX-License-Identifier: Apache-2.0
"""moa-heads: an expert of a token at a time."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def reference(p, inputs, w):
    x, K, X, d = inputs["x"], p["num_heads"], p["num_expert"], p["head_dim"]
    B, N, E = x.shape
    k, v = F.linear(x, w["k_proj.weight"], w.get("k_proj.bias")), F.linear(x, w["v_proj.weight"], w.get("v_proj.bias"))
    logits = x @ w["q_proj.w_gate"]
    prob = logits.softmax(-1)
    gates, indices = prob.topk(K)
    out = []
    for b in range(B):
        for n in range(N):
            last, y = n + 1 if p["causal"] else N, 0
            for g, e in zip(gates[b, n], indices[b, n]):
                a = (k[b, :last] @ (x[b, n] @ w["q_proj.experts.w"][e]) / d**0.5).softmax(0)
                y = y + g * (a @ v[b, :last]) @ w["q_proj.output_experts.w"][e]
            out.append(y)
    result = {"out": torch.stack(out).view(B, N, E), "indices": indices, "gates": gates}
    if p["cvloss"] or p["switchloss"] or p["zloss"]:
        g = F.normalize(torch.zeros(X, dtype=x.dtype).index_add(0, indices.flatten(), gates.flatten()), p=1, dim=0)
        counts = F.normalize(torch.bincount(indices.flatten(), minlength=X).to(x.dtype), p=1, dim=0)
        loss = p["cvloss"] * (g.var() if X > 1 else 0) / (g.mean() ** 2 + 1e-10) + p["switchloss"] * X * (F.normalize(prob.sum((0, 1)), p=1, dim=0) * counts).sum()
        result["aux_loss"] = (loss + p["zloss"] * logits.logsumexp(-1).square().mean()).view(1)
    return result


def case(name, seed, K, X, d, E=6, causal=False, cv=0.0, switch=0.0, z=0.0, bias=True):
    s = {"k_proj.weight": (d, E), "k_proj.bias": (d,), "v_proj.weight": (d, E), "v_proj.bias": (d,), "q_proj.w_gate": (E, X), "q_proj.experts.w": (X, E, d),
         "q_proj.output_experts.w": (X, d, E)}
    s = {n: shape for n, shape in s.items() if bias or not n.endswith("bias")}
    p = {"embed_dim": E, "num_heads": K, "num_expert": X, "head_dim": d, "causal": causal, "cvloss": cv, "switchloss": switch, "zloss": z}
    return name, p, draw(seed, x=(2, 6, E)), draw(seed + 50, 0.6, **s)


run("moa-heads", reference, [case("causal", 1, 2, 5, 4, causal=True), case("losses", 2, 3, 4, 3, cv=0.3, switch=0.2, z=0.1), case("all-experts", 3, 3, 3, 2, cv=1.0),
                            case("no-bias", 4, 2, 4, 3, bias=False),
                            case("one-expert", 5, 1, 1, 3, cv=0.5, switch=0.5, z=0.1)], "an expert at a time")
