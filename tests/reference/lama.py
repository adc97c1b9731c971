# SPDX-License-Identifier: Apache-2.0
"""lama: a sequence at a time, cut to its length."""
import numpy as np
import torch

from autograd import draw, run


ACTIVATIONS = {"tanh": torch.tanh, "sigmoid": torch.sigmoid, "relu": torch.relu, "none": lambda s: s, None: lambda s: s}


def reference(p, inputs, w):
    outs, maps = [], []
    for b, x in enumerate(inputs["x"]):
        n = int(inputs["key_len"][b]) if "key_len" in inputs else len(x)
        s = ACTIVATIONS[p.get("activation", "tanh")]((x[:n].mean(0) @ w["_p"]) * (x[:n] @ w["_q"]))
        a = (s / s.norm(dim=1, keepdim=True)).softmax(0).T
        outs.append(a @ x[:n])
        maps.append(torch.nn.functional.pad(a, (0, len(x) - n)))
    return {"out": torch.stack(outs), "weights": torch.stack(maps)}


run("lama", reference, [("lengths", {"num_heads": 3, "input_dim": 5}, draw(1, x=(3, 6, 5)) | {"key_len": np.array([6, 1, 4])}, draw(51, 0.7, _p=(5, 3), _q=(5, 3))),
                        ("one-head", {"num_heads": 2, "input_dim": 4}, draw(2, x=(1, 5, 4)), draw(52, 0.7, _p=(4, 2), _q=(4, 2)))] +
    [(str(f).lower() if f else "no-activation", {"num_heads": 7, "activation": f}, draw(seed, x=(2, 5, 4)) | {"key_len": np.array([3, 5])}, draw(seed + 50, 0.7, _p=(4, 7), _q=(4, 7)))
     for seed, f in ((3, "sigmoid"), (4, "relu"), (5, "none"), (6, None))] +
    [("zero-padding", {"num_heads": 3}, {"x": draw(7, x=(2, 5, 4))["x"] * np.array([[1, 1, 1, 0, 0], [1] * 5], np.float32)[..., None], "key_len": np.array([3, 5])}, draw(57, 0.7, _p=(4, 3), _q=(4, 3)))], "a sequence at a time")
