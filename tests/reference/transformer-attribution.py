# SPDX-License-Identifier: Apache-2.0
"""transformer-attribution: the rules as vector-Jacobian products of torch.autograd, gradients of the class by a second forward pass."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def quotient(a, b):
    return torch.where(b == 0, torch.zeros_like(a), a / torch.where(b == 0, torch.ones_like(b), b + 1e-9))


def pulled(f, r, *at):
    """x times the gradient of f at x along r / f(x), for each x."""
    at = [x.detach().requires_grad_() for x in at]
    value = f(*at)
    return [x.detach() * g for x, g in zip(at, torch.autograd.grad(value, at, quotient(r, value).detach()))]


def through_linear(x, weight, r, alpha):
    def part(up, down):
        return sum(pulled(lambda a, b: F.linear(a, up) + F.linear(b, down), r, x.clamp(min=0), x.clamp(max=0)))
    up, down = weight.clamp(min=0), weight.clamp(max=0)
    return alpha * part(up, down) - (alpha - 1) * part(down, up)


def through_sum(a, b, r):
    of_a, of_b = pulled(torch.add, r, a, b)
    A, B = of_a.sum(), of_b.sum()
    share = A.abs() / (A.abs() + B.abs())
    return of_a * quotient(share * r.sum(), A), of_b * quotient((1 - share) * r.sum(), B)


def forward(p, image, w, nudges):
    """logits and what the blocks saw; nudges[l] is added to the attention weights of block l."""
    C, H, P = p["embed_dim"], p["num_heads"], p["patch_size"]
    x = F.conv2d(image, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=P).flatten(2).transpose(1, 2)
    x = torch.cat([w["cls_token"], x], 1) + w["pos_embed"]
    blocks = []
    for l in range(p["depth"]):
        g = lambda n: w.get(f"blocks.{l}.{n}")
        s = {"x": x, "n1": F.layer_norm(x, (C,), g("norm1.weight"), g("norm1.bias"), 1e-6)}
        s["q"], s["k"], s["v"] = F.linear(s["n1"], g("attn.qkv.weight"), g("attn.qkv.bias")).unflatten(-1, (3, H, -1)).permute(2, 0, 3, 1, 4)
        s["a"] = (s["q"] @ s["k"].transpose(2, 3) * (C // H) ** -0.5).softmax(-1) + nudges[l]
        s["merged"] = (s["a"] @ s["v"]).transpose(1, 2).flatten(2)
        s["attended"] = F.linear(s["merged"], g("attn.proj.weight"), g("attn.proj.bias"))
        s["middle"] = x + s["attended"]
        s["n2"] = F.layer_norm(s["middle"], (C,), g("norm2.weight"), g("norm2.bias"), 1e-6)
        s["hidden"] = F.gelu(F.linear(s["n2"], g("mlp.fc1.weight"), g("mlp.fc1.bias")))
        s["expanded"] = F.linear(s["hidden"], g("mlp.fc2.weight"), g("mlp.fc2.bias"))
        x = s["middle"] + s["expanded"]
        blocks.append(s)
    last = F.layer_norm(x, (C,), w["norm.weight"], w["norm.bias"], 1e-5)[:, 0]
    return F.linear(last, w["head.weight"], w["head.bias"]), last, blocks


def reference(p, inputs, w):
    H, N = p["num_heads"], (p["img_size"] // p["patch_size"]) ** 2 + 1
    nudges = [torch.zeros(1, H, N, N, dtype=torch.float64, requires_grad=True) for _ in range(p["depth"])]
    logits, last, blocks = forward(p, inputs["image"], w, nudges)
    slopes = torch.autograd.grad(logits[0, p["index"]], nudges)
    blocks = [{n: t.detach() for n, t in s.items()} for s in blocks]
    one_hot = F.one_hot(torch.tensor([p["index"]]), p["num_classes"]).double()
    r = torch.zeros_like(blocks[0]["x"])
    r[:, 0] = through_linear(last.detach(), w["head.weight"], one_hot, p["alpha"])
    relevance = [None] * p["depth"]
    for l in reversed(range(p["depth"])):
        s, g = blocks[l], lambda n: w[f"blocks.{l}.{n}.weight"]
        stay, go = through_sum(s["middle"], s["expanded"], r)
        r = stay + through_linear(s["n2"], g("mlp.fc1"), through_linear(s["hidden"], g("mlp.fc2"), go, p["alpha"]), p["alpha"])
        stay, go = through_sum(s["x"], s["attended"], r)
        heads = through_linear(s["merged"], g("attn.proj"), go, p["alpha"]).unflatten(-1, (H, -1)).transpose(1, 2)
        relevance[l], of_v = (t / 2 for t in pulled(torch.matmul, heads, s["a"], s["v"]))
        of_q, of_k = (t / 2 for t in pulled(lambda a, b: a @ b.transpose(2, 3), relevance[l], s["q"], s["k"]))
        r = stay + through_linear(s["n1"], g("attn.qkv"), torch.stack([of_q, of_k, of_v]).permute(1, 3, 0, 2, 4).flatten(2), p["alpha"])
    row, method = torch.eye(N, dtype=torch.float64)[:1], p["method"]
    one = {"last_layer": relevance[-1], "second_layer": relevance[min(1, len(relevance) - 1)], "last_layer_attn": blocks[-1]["a"]}
    if method in one:
        row = one[method].clamp(min=0).mean((0, 1))[:1]
    else:
        for l in reversed(range(p["start_layer"], p["depth"])):
            seen = relevance[l] if method == "rollout" else slopes[l] * relevance[l]
            row = row @ (torch.eye(N, dtype=torch.float64) + seen.clamp(min=0).mean((0, 1)))
    return {"out": row[0, 1:], "logits": logits, "attentions": torch.stack([s["a"] for s in blocks]), "attn_relevance": torch.stack(relevance), "attn_gradients": torch.stack(slopes)}


def case(name, seed, depth=2, C=6, H=2, size=4, P=2, ratio=2.0, K=3, index=1, alpha=1, start=0, method="transformer_attribution", qkv_bias=True):
    N, wide = (size // P) ** 2 + 1, int(C * ratio)
    shapes = {"cls_token": (1, 1, C), "pos_embed": (1, N, C), "patch_embed.proj.weight": (C, 3, P, P), "patch_embed.proj.bias": (C,), "norm.weight": ((C,), 0.2, 1.0), "norm.bias": (C,),
              "head.weight": (K, C), "head.bias": (K,)}
    for l in range(depth):
        shapes |= {f"blocks.{l}." + n: s for n, s in {
            "norm1.weight": ((C,), 0.2, 1.0), "norm1.bias": (C,), "norm2.weight": ((C,), 0.2, 1.0), "norm2.bias": (C,), "attn.qkv.weight": (3 * C, C), "attn.qkv.bias": (3 * C,),
            "attn.proj.weight": (C, C), "attn.proj.bias": (C,), "mlp.fc1.weight": (wide, C), "mlp.fc1.bias": (wide,), "mlp.fc2.weight": (C, wide), "mlp.fc2.bias": (C,)}.items()}
    params = {"img_size": size, "patch_size": P, "embed_dim": C, "depth": depth, "num_heads": H, "mlp_ratio": ratio, "num_classes": K, "index": index, "alpha": alpha,
              "method": method, "start_layer": start}
    weights = draw(seed + 50, 0.4, **shapes)
    return name, params, draw(seed, image=(1, 3, size, size)), {n: t for n, t in weights.items() if qkv_bias or not n.endswith("qkv.bias")}


class NoGradient:
    """Every tensor: relevance is a backward pass of its own."""

    def __contains__(self, _):
        return True


run("transformer-attribution", reference, [case("three-blocks", 1, depth=3), case("start-layer", 2, depth=3, start=1), case("negative-parts", 3, alpha=2), case("top-block-alone", 4, start=1, index=0),
                                           case("wide", 5, depth=1, H=3, size=6, ratio=4.0, K=2), case("negative-parts-deep", 11, depth=3, alpha=2, start=1)]
    + [case(method.replace("_", "-"), 20 + n, depth=3, method=method, start=1 if method == "rollout" else 0)
       for n, method in enumerate(("grad", "rollout", "last_layer", "last_layer_attn", "second_layer"))]
    + [case("six-blocks", 30, depth=6, size=6, P=3, C=8, H=4, ratio=1.5), case("no-qkv-bias", 31, qkv_bias=False),
       case("near-zero-sums", 2017, depth=4, C=12, H=3, size=6, K=5)],
    "vector-Jacobian products", no_gradient=NoGradient(), rtol="1e-3", atol="2e-6")
