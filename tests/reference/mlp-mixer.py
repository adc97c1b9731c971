# SPDX-License-Identifier: Apache-2.0
"""mlp-mixer: the block in torch, Conv1d across the tokens."""
import torch.nn.functional as F

from autograd import draw, run


def reference(p, inputs, w):
    x = inputs["x"]
    norm = lambda i, t: F.layer_norm(t, t.shape[-1:], w[f"{i}.norm.weight"], w[f"{i}.norm.bias"])
    x = x + F.conv1d(F.gelu(F.conv1d(norm(0, x), w["0.fn.0.weight"], w["0.fn.0.bias"])), w["0.fn.3.weight"], w["0.fn.3.bias"])
    return {"out": x + F.linear(F.gelu(F.linear(norm(1, x), w["1.fn.0.weight"], w["1.fn.0.bias"])), w["1.fn.3.weight"], w["1.fn.3.bias"])}


def case(name, seed, N, C, t, c):
    s = {"0.norm.weight": ((C,), 0.2, 1.0), "0.norm.bias": (C,), "0.fn.0.weight": (t, N, 1), "0.fn.0.bias": (t,), "0.fn.3.weight": (N, t, 1), "0.fn.3.bias": (N,),
         "1.norm.weight": ((C,), 0.2, 1.0), "1.norm.bias": (C,), "1.fn.0.weight": (c, C), "1.fn.0.bias": (c,), "1.fn.3.weight": (C, c), "1.fn.3.bias": (C,)}
    return name, {"num_patches": N, "dim": C, "token_hidden": t, "channel_hidden": c}, draw(seed, x=(2, N, C)), draw(seed + 50, 0.5, **s)


run("mlp-mixer", reference, [case("wide-tokens", 1, 6, 5, 12, 3)], "the block in torch")
