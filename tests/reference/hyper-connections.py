# SPDX-License-Identifier: Apache-2.0
"""hyper-connections: a token at a time, each sum over streams and fractions written out."""
import numpy as np
import torch

from autograd import draw, run


def reference(p, inputs, w):
    x, S, f = inputs["x"], p["num_residual_streams"], p["num_fracs"]
    B, N, C = x.shape
    d = C // f
    act = torch.tanh if p["tanh"] else (lambda t: t)
    tokens, seen = [], [[] for _ in range(p["depth"])]
    for token in x.reshape(-1, C):
        h = [[token[a * d:(a + 1) * d] for a in range(f)] for _ in range(S)]
        for l in range(p["depth"]):
            at = f"layers.{l}."
            n = [[part / part.norm() * d**0.5 * (w[at + "norm.gamma"] + 1) for part in stream] for stream in h]
            static = w[at + "static_alpha"].view(f, S, f, 1 + S)
            alpha = [[static[a, s] + (act(n[s][a] @ w[at + "dynamic_alpha_fn"]) * w[at + "dynamic_alpha_scale"]).view(f, 1 + S) for a in range(f)] for s in range(S)]
            fn = w[at + "dynamic_beta_fn"].view(d, f)
            beta = [[w[at + "static_beta"].view(S, f)[t] + act(n[t][a] @ fn) * w[at + "dynamic_beta_scale"] for a in range(f)] for t in range(S)]
            mix = lambda to, column: sum(alpha[s][a][to, column] * h[s][a] for s in range(S) for a in range(f))
            read = torch.cat([mix(to, 0) for to in range(f)])
            y = torch.tanh(w[at + "branch.0.weight"] @ read + w[at + "branch.0.bias"])
            h = [[mix(to, 1 + t) + sum(beta[t][a][to] * y[a * d:(a + 1) * d] for a in range(f)) for to in range(f)] for t in range(S)]
            seen[l].append(torch.stack([torch.cat(stream) for stream in h]))
        tokens.append(sum(torch.cat(stream) for stream in h))
    return {"out": torch.stack(tokens).view(B, N, C)} | {f"streams_{l}": torch.stack(s).view(B, N, S, C).transpose(1, 2) for l, s in enumerate(seen)}


def case(name, seed, S, f, depth, tanh, C=12, small=1.0):
    """`small`: what the second token is multiplied by."""
    d, shapes = C // f, {}
    for l in range(depth):
        shapes |= {f"layers.{l}." + n: s for n, s in {
            "static_alpha": (f * S, f * (1 + S)), "dynamic_alpha_fn": (d, f * (1 + S)), "dynamic_alpha_scale": (1,), "static_beta": (f * S,),
            "dynamic_beta_fn": (d, f) if f > 1 else (d,), "dynamic_beta_scale": (1,), "norm.gamma": (d,), "branch.0.weight": (C, C), "branch.0.bias": (C,)}.items()}
    params = {"num_residual_streams": S, "dim": C, "depth": depth, "tanh": tanh, "num_fracs": f}
    inputs = draw(seed, x=(2, 3, C))
    inputs["x"][:, 1] *= small
    return name, params, inputs, draw(seed + 50, 0.4, **shapes)


run("hyper-connections", reference, [case("fractions", 1, 4, 2, 2, True), case("three-fractions", 2, 2, 3, 1, False), case("identity", 3, 3, 1, 2, False),
                                     case("deep", 4, 2, 1, 3, True), case("one-stream", 5, 1, 1, 2, True), case("one-stream-fractions", 6, 1, 4, 2, True), case("near-zero", 7, 2, 2, 1, True, small=np.float32(1e-8))], "a token at a time")
