# SPDX-License-Identifier: Apache-2.0
"""bibert-bi-attention: autograd functions for the signs, as their released rules say."""
import numpy as np
import torch

from autograd import draw, run


class Inside(torch.autograd.Function):
    """sign, or [x > 0]; passes gradients where |x| < 1."""

    @staticmethod
    def forward(ctx, x, positive):
        ctx.save_for_backward(x)
        return (x > 0).double() if positive else x.sign()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (ctx.saved_tensors[0].abs() < 1), None


class Binary(torch.autograd.Function):
    """sign times a size that has no gradient; passes gradients where |x| <= 1."""

    @staticmethod
    def forward(ctx, x, size):
        ctx.save_for_backward(x)
        return x.sign() * size

    @staticmethod
    def backward(ctx, gradient):
        return gradient * (ctx.saved_tensors[0].abs() <= 1), None


def reference(p, inputs, w):
    H = p["num_attention_heads"]
    if "x" in inputs:
        def linear(name):
            weight = w[name + ".weight"]
            rows = Binary.apply(weight - weight.mean(1, keepdim=True), weight.detach().abs().mean(1, keepdim=True))
            return (Binary.apply(inputs["x"], torch.ones((), dtype=torch.float64)) @ rows.T + w[name + ".bias"]).unflatten(-1, (H, -1))
        q, k, v = (linear(n) for n in ("query", "key", "value"))
    else:
        q, k, v = (inputs[n] for n in "qkv")
    q, k, v = (Inside.apply(t, False) for t in (q, k, v))
    # The product of signs is a whole number: a score that is 0 is exactly 0.
    scores = torch.einsum("bihd,bjhd->bhij", q, k) / q.shape[-1] ** 0.5 + inputs.get("attention_mask", 0)
    out = torch.einsum("bhij,bjhd->bihd", Inside.apply(scores, True), v)
    return {"out": out.flatten(2) if "x" in inputs else out, "scores": scores}


def case(name, seed, H, D, module=False, mask=False, zeros=False, B=2, N=6):
    C = H * D
    inputs = draw(seed, x=(B, N, C)) if module else draw(seed, q=(B, N, H, D), k=(B, N, H, D), v=(B, N, H, D))
    if zeros:
        for a in inputs.values():
            a.flat[::7] = 0
    if mask:
        inputs["attention_mask"] = np.where(np.random.default_rng(seed).random((B, 1, 1, N)) < 0.3, -10000, 0).astype(np.float32)
    weights = draw(seed + 50, 0.5, **{n + t: s for n in ("query", "key", "value") for t, s in ((".weight", (C, C)), (".bias", (C,)))}) if module else {}
    return name, {"num_attention_heads": H, "attention_head_size": D, "input_bits": 1, "weight_bits": 1}, inputs, weights


run("bibert-bi-attention", reference, [case("ties", 1, 2, 4), case("masked", 2, 3, 5, mask=True), case("zeros", 3, 2, 6, zeros=True, mask=True), case("module", 4, 2, 5, module=True),
                                       case("module-masked", 5, 3, 4, module=True, mask=True), case("module-zeros", 6, 1, 7, module=True, zeros=True)],
    "signs as autograd functions", no_gradient=("attention_mask",))
