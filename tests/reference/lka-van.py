# SPDX-License-Identifier: Apache-2.0
"""lka-van: x times conv1x1 of a dilated depthwise convolution of a depthwise one; the block of the network around it."""
import torch.nn.functional as F

from maps import batch_norm, layer, run


def reference(p, x, w):
    x = x["x"]

    def conv(y, name, **options):
        return F.conv2d(y, w[name + ".weight"], w[name + ".bias"], **options)

    def lka(y, prefix):
        C, d = y.shape[1], p.get("dilation", 3)
        near, far = (w[prefix + n + ".weight"].shape[-1] for n in ("conv0", "conv_spatial"))
        a = conv(y, prefix + "conv0", padding=near // 2, groups=C)
        return y * conv(conv(a, prefix + "conv_spatial", padding=d * (far - 1) // 2, dilation=d, groups=C), prefix + "conv1")
    if not p.get("block"):
        return {"out": lka(x, "")}

    def norm(y, name):
        return F.batch_norm(y, *(w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")))
    y = norm(x, "norm1")
    attn = conv(lka(F.gelu(conv(y, "attn.proj_1")), "attn.spatial_gating_unit."), "attn.proj_2") + y
    x = x + w["layer_scale_1"].view(-1, 1, 1) * attn
    hidden = conv(norm(x, "norm2"), "mlp.fc1")
    hidden = conv(F.gelu(conv(hidden, "mlp.dwconv.dwconv", padding=1, groups=hidden.shape[1])), "mlp.fc2")
    return {"out": x + w["layer_scale_2"].view(-1, 1, 1) * hidden, "attn": attn}


eager = reference  # for heed bench: the module as it is released, but for names


def unit(C, near, far, prefix=""):
    return layer(prefix + "conv0", C, 1, near, near) | layer(prefix + "conv_spatial", C, 1, far, far) | layer(prefix + "conv1", C, C, 1, 1)


block = {"layer_scale_1": (4,), "layer_scale_2": (4,)} | batch_norm("norm1", 4) | batch_norm("norm2", 4) | layer("attn.proj_1", 4, 4, 1, 1)
block |= layer("attn.proj_2", 4, 4, 1, 1) | unit(4, 5, 7, "attn.spatial_gating_unit.")
block |= layer("mlp.fc1", 8, 4, 1, 1) | layer("mlp.dwconv.dwconv", 8, 1, 3, 3) | layer("mlp.fc2", 4, 8, 1, 1)
run("lka-van", reference, [
    ("kernel-ten", {"dim": 4, "kernel": 10, "dilation": 2}, {"x": (2, 4, 7, 6)}, unit(4, 3, 5)),
    ("block", {"dim": 4, "mlp_ratio": 2, "block": True}, {"x": (2, 4, 6, 5)}, block),
], "large kernel attention")
