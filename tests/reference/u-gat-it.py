# SPDX-License-Identifier: Apache-2.0
"""u-gat-it: AdaLIN's mix of instance and layer norm; attention by class activation."""
import torch
import torch.nn.functional as F

from maps import layer, run

CAM = "CAM attention (ResnetGenerator, light=True)"


def reference(p, x, w):
    if p["module"] == CAM:
        x = x["x"]
        gap, gmp = w["gap_fc.weight"], w["gmp_fc.weight"]
        logit = torch.cat([x.mean((2, 3)) @ gap.T, x.amax((2, 3)) @ gmp.T], 1)
        both = torch.cat([x * gap[:, :, None, None], x * gmp[:, :, None, None]], 1)
        out = F.conv2d(both, w["conv1x1.weight"], w["conv1x1.bias"]).relu()
        t = ((out.mean((2, 3)) @ w["FC.0.weight"].T).relu() @ w["FC.2.weight"].T).relu()
        return {"out": out, "cam_logit": logit, "heatmap": out.sum(1, True), "gamma": t @ w["gamma.weight"].T, "beta": t @ w["beta.weight"].T}

    def ada(y, rho):
        def norm(axes):
            return (y - y.mean(axes, True)) / (y.var(axes, keepdim=True) + p["eps"]).sqrt()
        mixed = rho * norm((2, 3)) + (1 - rho) * norm((1, 2, 3))
        return x["gamma"][:, :, None, None] * mixed + x["beta"][:, :, None, None]

    def conv(y, name):
        return F.conv2d(F.pad(y, (1, 1, 1, 1), mode="reflect"), w[name])
    inner = ada(conv(x["x"], "conv1.weight"), w["norm1.rho"]).relu()
    return {"out": x["x"] + ada(conv(inner, "conv2.weight"), w["norm2.rho"]), "adalin": ada(x["x"], w["norm1.rho"])}


eager = reference  # for heed bench: the module as it is released, but for names


cam = {f"{n}.weight": (1, 6) for n in ("gap_fc", "gmp_fc")} | layer("conv1x1", 6, 12, 1, 1) | {f"{n}.weight": (6, 6) for n in ("FC.0", "FC.2", "gamma", "beta")}
block = {f"conv{i}.weight": (4, 4, 3, 3) for i in (1, 2)} | {f"norm{i}.rho": (1, 4, 1, 1) for i in (1, 2)}
run("u-gat-it", reference, [
    ("cam", {"module": CAM, "channels": 6}, {"x": (2, 6, 4, 5)}, cam),
    ("block", {"module": "ResnetAdaILNBlock", "dim": 4, "eps": 1e-3}, {"x": (2, 4, 5, 4), "gamma": (2, 4), "beta": (2, 4)}, block),
], "CAM attention and AdaLIN")
