# SPDX-License-Identifier: Apache-2.0
"""lightconv-dynamicconv: tap by tap."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def reference(p, inputs, w):
    x, K, H, before = inputs["x"], p["kernel_size"], p["num_heads"], p["padding_l"]
    dynamic = p["conv_type"] == "dynamic"
    if p["glu"]:
        x = F.glu(F.linear(x, w["linear1.weight"], w["linear1.bias"]))
    B, N, D = x.shape
    out = torch.zeros_like(x)
    taps = F.linear(x, w["conv.weight_linear.weight"], w.get("conv.weight_linear.bias")).view(B, N, H, K) if dynamic else w["conv.weight"][:, 0].expand(B, N, H, K)
    for t in range(N):
        inside = [j for j in range(K) if 0 <= t + j - before < N]
        a = taps[:, t]
        if p["renorm_padding"] and p["weight_softmax"]:
            a = torch.zeros_like(a).index_copy(-1, torch.tensor(inside), a[..., inside].softmax(-1))
        elif p["weight_softmax"]:
            a = a.softmax(-1)
        total = sum(a[..., j].repeat_interleave(D // H, -1) * x[:, t + j - before] for j in inside)
        out = out.index_copy(1, torch.tensor([t]), total[:, None])
    bias = w.get("conv.conv_bias" if dynamic else "conv.bias")
    out = out if bias is None else out + bias
    return {"out": F.linear(out, w["linear2.weight"], w["linear2.bias"]) if p["glu"] else out}


def case(name, seed, kind, K, before, N=9, C=6, D=None, H=2, bias=False, softmax=True, renorm=False, glu=False):
    D = D or C
    s = {"conv.weight_linear.weight": (H * K, D)} if kind == "dynamic" else {"conv.weight": (H, 1, K)}
    if bias:
        s |= {"conv.weight_linear.bias": (H * K,), "conv.conv_bias": (D,)} if kind == "dynamic" else {"conv.bias": (D,)}
    if glu:
        s |= {"linear1.weight": (2 * D, C), "linear1.bias": (2 * D,), "linear2.weight": (C, D), "linear2.bias": (C,)}
    p = {"conv_type": kind, "embed_dim": C, "conv_dim": D, "kernel_size": K, "padding_l": before, "num_heads": H, "weight_softmax": softmax, "bias": bias,
         "renorm_padding": renorm, "glu": glu}
    return name, p, draw(seed, x=(2, N, C)), draw(seed + 50, 0.6, **s)


run("lightconv-dynamicconv", reference, [
    case("centred-bias", 1, "lightweight", 5, 2, bias=True), case("plain-taps", 2, "lightweight", 3, 2, softmax=False), case("dynamic", 3, "dynamic", 5, 4, H=3),
    case("dynamic-bias", 4, "dynamic", 3, 1, bias=True), case("renormalised", 5, "dynamic", 7, 6, N=5, renorm=True), case("gated", 6, "lightweight", 4, 3, D=8, glu=True),
    case("gated-dynamic", 7, "dynamic", 3, 2, D=4, glu=True, bias=True, renorm=True), case("dynamic-plain-taps", 8, "dynamic", 3, 2, softmax=False),
    case("dynamic-plain-renorm", 9, "dynamic", 4, 2, softmax=False, renorm=True, bias=True)], "tap by tap")
