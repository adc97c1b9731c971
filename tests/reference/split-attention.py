# SPDX-License-Identifier: Apache-2.0
"""split-attention: radix versions of a map from one convolution, weighed by what their sum's mean says; here version by version."""
import torch
import torch.nn.functional as F

from maps import batch_norm, layer, run


def reference(p, x, w):
    R, G, C = p["radix"], p["groups"], p.get("channels") or p.get("in_channels") or x["x"].shape[1]

    def norm(name, y):
        return F.batch_norm(y, *(w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))) if p["norm"] else y
    u = norm("bn0", F.conv2d(x["x"], w["conv.weight"], w.get("conv.bias"), p["stride"], p["padding"], p.get("dilation", 1), G * R)).relu()
    u = u.chunk(R, 1)
    s = sum(u).mean((2, 3), keepdim=True)
    s = norm("bn1", F.conv2d(s, w["fc1.weight"], w["fc1.bias"], groups=G)).relu()
    a = F.conv2d(s, w["fc2.weight"], w["fc2.bias"], groups=G).view(-1, G, R, C // G)
    a = (a.softmax(2) if R > 1 else a.sigmoid()).transpose(1, 2).reshape(-1, R, C)
    return {"out": sum(u[r] * a[:, r, :, None, None] for r in range(R)), "weights": a}


eager = reference  # for heed bench: the module as it is released, but for names


def case(name, Cin, C, k, R, G, norm, bias, reduction=4, **more):
    n = max(Cin * R // reduction, 32)
    weights = layer("conv", C * R, Cin // (G * R), k, k, bias=bias) | layer("fc1", n, C // G, 1, 1) | layer("fc2", C * R, n // G, 1, 1)
    weights |= batch_norm("bn0", C * R) | batch_norm("bn1", n) if norm else {}
    params = {"in_channels": Cin, "channels": C, "kernel_size": k, "groups": G, "radix": R, "reduction_factor": reduction, "norm": norm, "bias": bias, **more}
    return name, params, {"x": (2, Cin, 6, 5)}, weights


run("split-attention", reference, [
    case("groups", 12, 6, 3, 3, 2, "batch", False, stride=2, padding=1),
    case("one-version", 6, 4, 1, 1, 1, None, True, stride=1, padding=0),
    case("dilated", 6, 4, 3, 2, 1, "batch", False, stride=1, padding=2, dilation=2, reduction=1),
    case("dilated-rectangles", 8, 6, 2, 4, 1, None, True, stride=[2, 1], padding=[1, 2], dilation=[1, 3], reduction=1),
    case("wide-inner", 18, 4, 1, 2, 1, "batch", True, stride=1, padding=0, reduction=1),
], "split attention")
