# SPDX-License-Identifier: Apache-2.0
"""relu-attention: the pointwise function of the whole matrix of scores."""
import torch
import torch.nn.functional as F

from autograd import draw, run

PHI = {"relu": F.relu, "relu^2": lambda s: F.relu(s) ** 2, "gelu": F.gelu, "softplus": F.softplus, "identity": lambda s: s, "relu6": F.relu6, "sigmoid": torch.sigmoid}


def reference(p, inputs, w):
    q, k, v = (inputs[n].transpose(1, 2) for n in "qkv")
    N, D = q.shape[2:]
    m = PHI[p.get("phi", "relu")](q @ k.transpose(2, 3) / D**0.5) / N ** p.get("alpha", 1.0)
    if p.get("causal"):
        m = m.masked_fill(torch.arange(N) > torch.arange(N)[:, None], 0)
    return {"out": (m @ v).transpose(1, 2), "weights": m}


def case(name, seed, N=7, scale=1.3, **p):
    return name, p, draw(seed, scale, q=(2, N, 2, 5), k=(2, N, 2, 5), v=(2, N, 2, 5)), {}


run("relu-attention", reference,
    [case("relu-causal", 1, causal=True, alpha=0.5), case("square", 2, phi="relu^2", alpha=0.75), case("gelu-causal", 3, phi="gelu", causal=True), case("softplus", 4, phi="softplus", causal=True),
     case("identity", 5, phi="identity", alpha=0.0), case("relu6", 6, phi="relu6", scale=3.0, causal=True), case("sigmoid", 7, phi="sigmoid", alpha=0.5, causal=True, num_heads=2, head_dim=5),
     case("one-token", 8, N=1, phi="softplus")], "the whole matrix of scores")
