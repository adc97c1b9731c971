# SPDX-License-Identifier: Apache-2.0
"""attnlrp: the rules as sums over single pairs; LayerNorm through the Jacobian of autograd with its deviation held."""
import torch
import torch.nn.functional as F

from autograd import draw, run

SPLIT, OTHERS = "softmax and matmul alone", "linear_epsilon, mul2, add2, layer_norm, rms_norm_identity"


def through_matmul(a, v, r, eps):
    """a (n, m), v (m, d), r (n, d)."""
    o = a @ v
    pair = torch.einsum("jp,ji,ip->jip", r / (2 * o + eps), a, v)  # what flows from (j, p) over i
    return pair.sum(2), pair.sum(0)


def through_softmax(x, hidden, r):
    s = x.masked_fill(hidden, -torch.inf).softmax(-1)
    return s, x.masked_fill(hidden, 0) * (r - s * r.sum(-1, keepdim=True))


def attention(p, t):
    B, N, H, D = t["q"].shape
    hidden = torch.ones(N, N).triu(1).bool() if p["causal"] else torch.zeros(N, N).bool()
    outs = {n: torch.zeros_like(t["q"]) for n in ("out", "relevance_q", "relevance_k", "relevance_v")}
    for b in range(B):
        for h in range(H):
            q, k, v, r = (t[n][b, :, h] for n in ("q", "k", "v", "relevance"))
            scale = p.get("scale") or D**-0.5
            s, _ = through_softmax(scale * q @ k.T, hidden, torch.zeros(N, N, dtype=torch.float64))
            r_s, outs["relevance_v"][b, :, h] = through_matmul(s, v, r, p["epsilon"])
            _, r_x = through_softmax(scale * q @ k.T, hidden, r_s)
            r_q, r_k = through_matmul(q, k.T, r_x, p["epsilon"])
            outs["out"][b, :, h], outs["relevance_q"][b, :, h], outs["relevance_k"][b, :, h] = s @ v, r_q, r_k.T
    return outs


def split(p, t):
    N = t["logits"].shape[-1]
    hidden = torch.ones(N, N).triu(1).bool() if p.get("causal", True) else torch.zeros(N, N).bool()
    s, out = through_softmax(t["logits"], hidden, t["softmax_relevance"])
    pairs = [[through_matmul(t["weights"][b, h], t["v"][b, h], t["matmul_relevance"][b, h], p.get("epsilon", 1e-8)) for h in range(t["v"].shape[1])] for b in range(t["v"].shape[0])]
    stacked = [torch.stack([torch.stack([pair[i] for pair in row]) for row in pairs]) for i in (0, 1)]
    return {"out": out, "probabilities": s, "relevance_weights": stacked[0], "relevance_v": stacked[1]}


def others(p, t):
    x, W, y = t["x"], t["W"], F.linear(t["x"], t["W"], t["b"])
    out = torch.einsum("...i,ji,...j->...i", x, W, t["relevance_linear"] / (y + 1e-6))
    r, a, b = t["relevance"], t["a"], t["b2"]
    n = t["norm_x"].detach().requires_grad_()
    deviation = (n.detach().var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    normed = (n - n.mean(-1, keepdim=True)) / deviation * t["norm_weight"] + t["norm_bias"]
    (slope,) = torch.autograd.grad(normed, n, (r / (normed + 1e-6)).detach())
    return {"out": out, "mul_a": r / 2, "add_a": a * r / (a + b + 1e-8), "add_b": b * r / (a + b + 1e-8), "layer_norm": n.detach() * slope, "rms_norm": r}


def reference(p, inputs, _):
    return {"attention": attention, SPLIT: split, OTHERS: others}[p["rule"]](p, inputs)


def positive(seed, **shapes):
    """Away from 0, as denominators are sums of products."""
    return {n: abs(a) + 0.2 for n, a in draw(seed, **shapes).items()}


def of_attention(name, seed, B=2, N=4, H=2, D=3, **more):
    return name, {"rule": "attention", "causal": True, "epsilon": 1e-8} | more, positive(seed, **{n: (B, N, H, D) for n in "qkv"}) | draw(seed + 50, relevance=(B, N, H, D)), {}


def of_parts(name, seed, B=2, N=4, H=2, D=3, **more):
    inputs = draw(seed, logits=(B, H, N, N), softmax_relevance=(B, H, N, N), matmul_relevance=(B, H, N, D)) | positive(seed + 50, weights=(B, H, N, N), v=(B, H, N, D))
    return name, {"rule": SPLIT} | more, inputs, {}


def of_others(name, seed, rows=(2, 3), I=4, O=5, C=6, **more):
    inputs = positive(seed, x=(*rows, I), W=(O, I), b=(O,), a=(*rows, C), b2=(*rows, C), norm_bias=(C,))
    inputs |= draw(seed + 50, relevance_linear=(*rows, O), relevance=(*rows, C), norm_x=(*rows, C), norm_weight=((C,), 0.05, 0.2))
    inputs["norm_bias"] += 1  # y stays clear of 0
    return name, {"rule": OTHERS} | more, inputs, {}


def signed(name, case, seed, **shapes):
    """The same with normal numbers, whose sums come as near to 0 as they happen to."""
    return name, case[1], case[2] | draw(seed, **shapes), {}


class NoGradient:
    """Every tensor: relevance is a backward pass of its own."""

    def __contains__(self, _):
        return True


run("attnlrp", reference, [of_attention("both-sides", 1, causal=False), of_attention("own-scale", 2, scale=0.3), of_attention("large-epsilon", 3, epsilon=0.1),
                           of_parts("parts", 4, causal=True), of_parts("parts-defaults", 5), of_parts("parts-epsilon", 6, epsilon=0.01), of_parts("parts-both-sides", 7, causal=False),
                           of_others("others", 8), of_others("others-rows", 9, rows=(5,)), of_others("others-images", 10, rows=(1, 2, 2), epsilon=1e-8),
                           signed("signed", of_attention("", 11, N=33, H=3, D=5), 22, **{n: (2, 33, 3, 5) for n in "qkv"}),
                           signed("parts-signed", of_parts("", 13, N=33, H=3, D=5), 46, weights=(2, 3, 33, 33), v=(2, 3, 33, 5)),
                           signed("others-signed", of_others("", 15, rows=(40,), I=7, O=9, C=11), 43, x=(40, 7), W=(9, 7), b=(9,), a=(40, 11), b2=(40, 11), norm_weight=(11,), norm_bias=(11,))],
    "sums over pairs", no_gradient=NoGradient(), rtol="1e-3", atol="1e-4")
