# SPDX-License-Identifier: Apache-2.0
"""cbam: a gate by channel from pooled maps through one MLP, then one by place from a 7x7 convolution of [max, mean]."""
import torch
import torch.nn.functional as F

from maps import batch_norm, layer, run

POOLS = {"avg": lambda x: x.mean((2, 3)), "max": lambda x: x.amax((2, 3)), "lp": lambda x: x.pow(2).sum((2, 3)).sqrt(), "lse": lambda x: x.logsumexp((2, 3))}


def reference(p, x, w):
    x = x["x"]

    def mlp(s):
        for i in (1, 3):
            s = F.linear(s, w[f"ChannelGate.mlp.{i}.weight"], w[f"ChannelGate.mlp.{i}.bias"])
            s = s.relu() if i == 1 else s
        return s
    gate = sum(mlp(POOLS[kind](x)) for kind in p["pool_types"]).sigmoid()
    y = x * gate[:, :, None, None]
    if p["no_spatial"]:
        return {"out": y, "channel_gate": gate}
    name = "SpatialGate.spatial."
    z = F.conv2d(torch.stack([y.amax(1), y.mean(1)], 1), w[name + "conv.weight"], padding=3)
    bn = {part: w[name + "bn." + part] for part in ("running_mean", "running_var", "weight", "bias")}
    place = F.batch_norm(z, *bn.values()).sigmoid()
    return {"out": y * place, "channel_gate": gate, "spatial_gate": place}


eager = reference  # for heed bench: the module as it is released, but for names


MLP = layer("ChannelGate.mlp.1", 3, 12) | layer("ChannelGate.mlp.3", 12, 3)
SPATIAL = layer("SpatialGate.spatial.conv", 1, 2, 7, 7, bias=False) | batch_norm("SpatialGate.spatial.bn", 1)
run("cbam", reference, [
    ("four-pools", {"gate_channels": 12, "reduction_ratio": 4, "pool_types": ["avg", "max", "lp", "lse"], "no_spatial": False}, {"x": (2, 12, 4, 5)}, MLP | SPATIAL),
    ("no-spatial", {"gate_channels": 12, "reduction_ratio": 4, "pool_types": ["lse"], "no_spatial": True}, {"x": (2, 12, 4, 5)}, MLP),
] + [("-".join(pools), {"gate_channels": 12, "reduction_ratio": 4, "pool_types": pools, "no_spatial": False}, {"x": (1, 12, 9, 3)}, MLP | SPATIAL)
     for pools in (["avg"], ["max"], ["lp"], ["lse"], ["lse", "max"], ["lp", "avg", "lp"])], "convolutional block attention module")
