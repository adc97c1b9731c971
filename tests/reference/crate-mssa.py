# SPDX-License-Identifier: Apache-2.0
"""crate-mssa: layers in torch."""
import torch.nn.functional as F

from autograd import draw, run


def reference(p, inputs, w):
    h, d = p["heads"], p["dim_head"]

    def mssa(x, n):
        u = (x @ w[n + "qkv.weight"].T).unflatten(-1, (h, d)).transpose(1, 2)
        o = (u @ u.transpose(2, 3) / d**0.5).softmax(-1) @ u
        o = o.transpose(1, 2).flatten(2)
        return F.linear(o, w[n + "to_out.0.weight"], w[n + "to_out.0.bias"]) if n + "to_out.0.weight" in w else o

    x = inputs["x"]
    if "depth" not in p:
        return {"out": mssa(x, "")}
    norm = lambda t, n: F.layer_norm(t, t.shape[-1:], w[n + ".norm.weight"], w[n + ".norm.bias"], p["ln_eps"])
    result = {}
    for i in range(p["depth"]):
        z = x + mssa(norm(x, f"layers.{i}.0"), f"layers.{i}.0.fn.")
        t, D = norm(z, f"layers.{i}.1"), w[f"layers.{i}.1.fn.weight"]
        x = F.relu(t + p["step_size"] * (t - t @ D.T) @ D - p["step_size"] * p["lambd"])
        if i == 0:
            result |= {"after_attn_0": z, "layer_0": x}
    return {"out": x} | result


def case(name, seed, depth, C=6, h=2, d=4, **p):
    one = {"qkv.weight": (h * d, C)} | ({} if h == 1 and d == C else {"to_out.0.weight": (C, h * d), "to_out.0.bias": (C,)})
    s = {} if depth else one
    for i in range(depth or 0):
        s |= {f"layers.{i}.0.fn." + n: shape for n, shape in one.items()} | {f"layers.{i}.1.fn.weight": (C, C)}
        s |= {f"layers.{i}.{j}.norm.weight": ((C,), 0.2, 1.0) for j in (0, 1)} | {f"layers.{i}.{j}.norm.bias": (C,) for j in (0, 1)}
    p = {"dim": C, "heads": h, "dim_head": d} | ({"depth": depth, "step_size": 0.1, "lambd": 0.1, "ln_eps": 1e-5} | p if depth else {})
    return name, p, draw(seed, x=(2, 5, C)), draw(seed + 50, 0.5, **s)


run("crate-mssa", reference, [case("alone", 1, None), case("layers", 2, 2), case("steps", 3, 1, step_size=0.3, lambd=0.5, ln_eps=1e-3),
                              case("one-head", 4, None, h=1, d=6), case("one-head-layers", 5, 1, h=1, d=6)], "layers in torch")
