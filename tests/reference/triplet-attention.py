# SPDX-License-Identifier: Apache-2.0
"""triplet-attention: one gate over each pair of the axes (H, W), (C, W), (H, C); out is the mean."""
import torch
import torch.nn.functional as F

from maps import batch_norm, layer, run


def reference(p, x, w):
    x = x["x"]

    def gate(z, name):
        y = F.conv2d(torch.cat([z.amax(1, True), z.mean(1, True)], 1), w[name + ".spatial.conv.weight"], padding=p["kernel_size"] // 2)
        return z * F.batch_norm(y, *(w[f"{name}.spatial.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))).sigmoid()
    h = gate(x.permute(0, 2, 1, 3), "ChannelGateH").permute(0, 2, 1, 3)
    v = gate(x.permute(0, 3, 2, 1), "ChannelGateW").permute(0, 3, 2, 1)
    branches = [h, v] + ([] if p["no_spatial"] else [gate(x, "SpatialGate")])
    return {"out": torch.stack(branches).mean(0), "branch_h": h, "branch_w": v}


eager = reference  # for heed bench: the module as it is released, but for names


def case(name, k, no_spatial):
    gates = ["ChannelGateH", "ChannelGateW"] + ([] if no_spatial else ["SpatialGate"])
    weights = {}
    for gate in gates:
        weights |= layer(gate + ".spatial.conv", 1, 2, k, k, bias=False) | batch_norm(gate + ".spatial.bn", 1)
    return name, {"no_spatial": no_spatial, "kernel_size": k}, {"x": (2, 6, 5, 4)}, weights


run("triplet-attention", reference, [case("gradients", 7, False), case("no-spatial", 3, True)], "triplet attention")
