# SPDX-License-Identifier: Apache-2.0
"""focal-modulation: context of growing depthwise convolutions, gated level by level."""
import torch
import torch.nn.functional as F

from maps import layer, run


def reference(p, x, w):
    C, L = p["dim"], p["focal_level"]
    y = F.linear(x["x"], w["f.weight"], w.get("f.bias"))
    q, z, gates = y[..., :C], y[..., C:2 * C].permute(0, 3, 1, 2), y[..., 2 * C:].permute(0, 3, 1, 2)
    total = 0
    for i in range(L):
        m = w[f"focal_layers.{i}.0.weight"]
        z = F.gelu(F.conv2d(z, m, padding=m.shape[-1] // 2, groups=C))
        total = total + z * gates[:, i:i + 1]
    total = total + F.gelu(z.mean((2, 3), keepdim=True)) * gates[:, L:]
    if p.get("normalize_modulator"):
        total = total / (L + 1)
    modulator = F.conv2d(total, w["h.weight"], w.get("h.bias"))
    out = q * modulator.permute(0, 2, 3, 1)
    if p.get("use_postln_in_modulation"):
        out = F.layer_norm(out, (C,), w["ln.weight"], w["ln.bias"])
    return {"out": F.linear(out, w["proj.weight"], w["proj.bias"]), "gates": gates, "modulator": modulator}


def case(name, L, window, factor, bias, **more):
    params = {"dim": 6, "focal_window": window, "focal_level": L, "focal_factor": factor, "bias": bias, **more}
    weights = layer("f", 13 + L, 6, bias=bias) | layer("h", 6, 6, 1, 1, bias=bias) | layer("proj", 6, 6)
    weights |= {f"focal_layers.{i}.0.weight": (6, 1, window + factor * i, window + factor * i) for i in range(L)}
    weights |= {"ln.weight": (6,), "ln.bias": (6,)} if more.get("use_postln_in_modulation") else {}
    return name, params, {"x": (2, 5, 4, 6)}, weights


run("focal-modulation", reference, [
    case("three-levels", 3, 3, 2, False, normalize_modulator=True), case("post-norm", 1, 5, 4, True, use_postln_in_modulation=True),
    case("five-levels", 5, 1, 2, True, use_postln_in_modulation=True, normalize_modulator=True), case("same-kernels", 4, 3, 0, False),
    case("no-levels", 0, 3, 2, True, normalize_modulator=True),
], "focal modulation")
