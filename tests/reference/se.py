# SPDX-License-Identifier: Apache-2.0
"""se: out = x sigmoid(W2 relu(W1 mean(x))); with bias 1x1 convolutions conv_du.*, without linear layers fc.*."""
import torch.nn.functional as F

from maps import layer, run


def reference(p, x, w):
    x, name = x["x"], "conv_du" if p["bias"] else "fc"
    s = x.mean((2, 3), keepdim=True)
    for i, act in ((0, F.relu), (2, F.sigmoid)):
        m = w[f"{name}.{i}.weight"]
        s = act(F.conv2d(s, m.view(*m.shape[:2], 1, 1), w.get(f"{name}.{i}.bias")))
    return {"out": x * s, "gate": s.flatten(1)}


eager = reference  # for heed bench: the module as it is released, but for names


run("se", reference, [
    ("bias", {"channel": 12, "reduction": 4, "bias": True}, {"x": (2, 12, 4, 5)}, layer("conv_du.0", 3, 12, 1, 1) | layer("conv_du.2", 12, 3, 1, 1)),
    ("gradients", {"channel": 12, "reduction": 4, "bias": False}, {"x": (2, 12, 4, 5)}, layer("fc.0", 3, 12, bias=False) | layer("fc.2", 12, 3, bias=False)),
], "squeeze and excitation")
