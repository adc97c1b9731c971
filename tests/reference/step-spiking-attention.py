# SPDX-License-Identifier: Apache-2.0
"""step-spiking-attention: LIF as a loop over time with the membrane written out; attention a head at a time; exact sums of spikes."""
import numpy as np
import torch
import torch.nn.functional as F

from autograd import draw, run

MARGIN = [1.0]


def lif(x, p, threshold, exact=False):
    u, fired = 0, []
    for now in x.reshape(p["step"], -1, *x.shape[1:]):
        u = u + (now - u) / p["tau"]
        if not exact:
            MARGIN[0] = min(MARGIN[0], float((u - threshold).abs().min()))
        fired.append((u >= threshold).double())
        u = u * (1 - fired[-1])
    return torch.cat(fired)


def reference(p, inputs, w):
    x, kind, H, scale = inputs["x"], p["kind"], p["num_heads"], p["attn_scale"]
    bn = lambda y, n: F.batch_norm(y, w[n + "_bn.running_mean"], w[n + "_bn.running_var"], w[n + "_bn.weight"], w[n + "_bn.bias"], eps=1e-5)
    if kind == "SSA":
        linear = lambda y, n: bn(F.linear(y, w[n + "_linear.weight"], w[n + "_linear.bias"]).transpose(1, 2), n).transpose(1, 2)
        q, k, v = (lif(linear(x, n), p, p["threshold"]) for n in "qkv")
        TB, N, C = x.shape
        D, a = C // H, torch.zeros_like(x)
        for h in range(H):
            s = slice(h * D, (h + 1) * D)
            a[..., s] = q[..., s] @ (k[..., s].transpose(1, 2) @ v[..., s]) * scale
        a = lif(a, p, p["attn_threshold"], True)
        return {"out": lif(linear(a, "proj"), p, p["threshold"]), "q": q, "k": k, "v": v, "attn": a}
    TB, C, height, width = x.shape
    N, D = height * width, C // H
    if kind == "SDSA":
        conv = lambda y, n: bn(F.conv2d(y, w[n + "_conv.weight"], w.get(n + "_conv.bias")), n)
        spikes = lif(x, p, p["threshold"])
        q, k, v = (lif(conv(spikes, n), p, p["threshold"]) for n in "qkv")
        mask = lif((k * v).sum((2, 3)), p, p["threshold"], True)  # (TB, C)
        out = x + conv(q * mask[..., None, None], "proj")
        return {"out": out, "spikes": spikes, "q": q, "k": k, "v": v, "mask": mask.view(TB, H, 1, D)}
    conv = lambda y, n: bn(F.conv1d(y, w[n + "_conv.weight"], w.get(n + "_conv.bias")), n)
    flat = x.flatten(2)
    q, k = (lif(conv(flat, n), p, p["threshold"]) for n in "qk")
    heads = lambda t: t.view(TB, H, D, N)
    if kind == "QK token":
        a = lif(heads(q).sum(2, keepdim=True), p, p["attn_threshold"], True)
        y, outs = (a * heads(k)).view(TB, C, N), {}
    else:
        v = lif(conv(flat, "v"), p, p["threshold"])
        a = lif(torch.einsum("bhdn,bhem,bhdm->bhen", heads(q), heads(v), heads(k)) * scale, p, p["attn_threshold"], True)
        y, outs = a.reshape(TB, C, N), {"v": v}
    return {"out": lif(conv(y, "proj"), p, p["threshold"]).view(x.shape), "q": q, "k": k, "attn": a, **outs}


def case(name, kind, H, C=6, T=3, B=2, size=(2, 3), biased=False, **more):
    params = {"kind": kind, "embed_dim": C, "num_heads": H, "step": T, "attn_scale": 0.125, "tau": 2.0, "threshold": 1.0, "attn_threshold": 0.5} | more
    ssa, sdsa, token = kind == "SSA", kind == "SDSA", kind == "QK token"
    ones = () if ssa else (1, 1) if sdsa else (1,)
    shapes = {}
    for n in ("q", "k", "proj") if token else ("q", "k", "v", "proj"):
        shapes[n + ("_linear" if ssa else "_conv") + ".weight"] = (C, C, *ones)
        if ssa or (n == "proj" and (biased or not sdsa)):
            shapes[n + ("_linear" if ssa else "_conv") + ".bias"] = (C,)
        shapes |= {n + "_bn.weight": ((C,), 0.2, 1.5), n + "_bn.bias": ((C,), 0.3, 0.8), n + "_bn.running_mean": ((C,), 0.2, 0.0), n + "_bn.running_var": ((C,), 0.1, 1.0)}
    for seed in range(1000):  # no membrane near a threshold, sums of spikes apart, and neither silence nor a scream
        MARGIN[0] = 1.0
        inputs, weights = draw(seed, 1.5, x=(T * B, size[0] * size[1], C) if ssa else (T * B, C, *size)), draw(seed + 5000, **shapes)
        outs = reference(params, *({n: torch.tensor(a, dtype=torch.float64) for n, a in g.items()} for g in (inputs, weights)))
        rates = [float(t.mean()) for n, t in outs.items() if n != "out" or not sdsa]
        if MARGIN[0] > 2e-4 and min(rates) > 0.05 and max(rates) < 0.95:
            return name, params, inputs, weights
    raise RuntimeError(name)


class NoGradient:
    """Every tensor: spikes are steps."""

    def __contains__(self, _):
        return True


run("step-spiking-attention", reference, [
    case("qk-token", "QK token", 2), case("qkformer", "QKFormer SSA", 3, attn_scale=0.25), case("sdsa", "SDSA", 2), case("ssa-one-head", "SSA", 1, T=2, B=3),
    case("qk-token-slow", "QK token", 3, T=4, B=1, tau=1.5, attn_threshold=1.25), case("sdsa-slow", "SDSA", 3, tau=4.0, threshold=0.5),
    case("qkformer-fast", "QKFormer SSA", 1, B=1, size=(1, 5), tau=1.0, threshold=0.75), case("sdsa-biased", "SDSA", 2, biased=True)], "a loop over time", no_gradient=NoGradient(), rtol="1e-4", atol="1e-4")
