# SPDX-License-Identifier: Apache-2.0
"""eca: gate_c = sigmoid(sum_j w_j g[c + j - k//2]), g the means; here as a sum over shifted copies."""
import torch.nn.functional as F

from maps import run


def reference(p, x, w):
    x, k = x["x"], p["k_size"]
    g = F.pad(x.mean((2, 3)), (k // 2, k // 2))
    gate = sum(w["conv.weight"][0, 0, j] * g[:, j:j + x.shape[1]] for j in range(k)).sigmoid()
    return {"out": x * gate[:, :, None, None], "gate": gate}


def eager(p, x, w):
    """The released module."""
    x = x["x"]
    y = F.conv1d(F.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(-1, -2), w["conv.weight"], padding=(p["k_size"] - 1) // 2)
    return {"out": x * y.transpose(-1, -2).unsqueeze(-1).sigmoid().expand_as(x)}


run("eca", reference, [("five", {"channel": 10, "k_size": 5}, {"x": (2, 10, 4, 3)}, {"conv.weight": (1, 1, 5)})], "efficient channel attention")
