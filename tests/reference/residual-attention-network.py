# SPDX-License-Identifier: Apache-2.0
"""residual-attention-network: (1 + mask) trunk, the mask from units at lower resolutions brought up again."""
import torch.nn.functional as F

from maps import batch_norm, layer, run


def reference(p, x, w):
    def norm(y, name):
        return F.batch_norm(y, *(w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")))

    def unit(y, name):
        z = y
        for i in (1, 2, 3):
            z = F.conv2d(norm(z, f"{name}.bn{i}").relu(), w[f"{name}.conv{i}.weight"], padding=int(i == 2))
        return y + z

    def down(y):
        return F.max_pool2d(y, 3, 2, 1)

    def up(y, size):
        return F.interpolate(y, size, mode="bilinear", align_corners=True)
    start = unit(x["x"], "first_residual_blocks")
    trunk = unit(unit(start, "trunk_branches.0"), "trunk_branches.1")
    q1 = unit(down(start), "softmax1_blocks")
    if p["module"] == "AttentionModule_pre":
        q2 = unit(down(q1), "softmax2_blocks")
        q3 = unit(unit(down(q2), "softmax3_blocks.0"), "softmax3_blocks.1")
        a = unit(up(q3, p.get("size3") or q2.shape[2:]) + unit(q2, "skip2_connection_residual_block"), "softmax4_blocks")
        b = unit(up(a, p.get("size2") or q1.shape[2:]) + unit(q1, "skip1_connection_residual_block"), "softmax5_blocks")
        m, head = up(b, p.get("size1") or start.shape[2:]), "softmax6_blocks"
    else:
        q2 = unit(unit(down(q1), "softmax2_blocks.0"), "softmax2_blocks.1")
        u = unit(up(q2, p.get("size2") or q1.shape[2:]) + q1 + unit(q1, "skip1_connection_residual_block"), "softmax3_blocks")
        m, head = up(u, p.get("size1") or start.shape[2:]) + trunk, "softmax4_blocks"
    for i in (0, 3):
        m = F.conv2d(norm(m, f"{head}.{i}").relu(), w[f"{head}.{i + 2}.weight"])
    kind = p.get("activation", "mixed")
    if kind == "channel":
        m = m / m.norm(dim=1, keepdim=True)
    elif kind == "spatial":
        m = F.instance_norm(m).sigmoid()
    else:
        m = m.sigmoid()
    return {"out": unit((1 + m) * trunk, "last_blocks"), "mask": m, "trunk": trunk}


eager = reference  # for heed bench: the module as it is released, but for names


def weights(C, pre, wider=False):
    units = ["first_residual_blocks", "trunk_branches.0", "trunk_branches.1", "softmax1_blocks", "skip1_connection_residual_block", "last_blocks"]
    units += ["softmax2_blocks", "softmax3_blocks.0", "softmax3_blocks.1", "skip2_connection_residual_block", "softmax4_blocks", "softmax5_blocks"] if pre \
        else ["softmax2_blocks.0", "softmax2_blocks.1", "softmax3_blocks"]
    head = "softmax6_blocks" if pre else "softmax4_blocks"
    made = batch_norm(head + ".0", C) | batch_norm(head + ".3", C) | layer(head + ".2", C, C, 1, 1, bias=False) | layer(head + ".5", C, C, 1, 1, bias=False)
    for name in units:
        made |= batch_norm(name + ".bn1", C) | batch_norm(name + ".bn2", C // 4) | batch_norm(name + ".bn3", C // 4)
        made |= layer(name + ".conv1", C // 4, C, 1, 1, bias=False) | layer(name + ".conv2", C // 4, C // 4, 3, 3, bias=False)
        made |= layer(name + ".conv3", C, C // 4, 1, 1, bias=False)
        made |= layer(name + ".conv4", C, C, 1, 1, bias=False) if wider else {}
    return made


def case(name, pre, wider=False, **more):
    params = {"module": "AttentionModule_pre" if pre else "AttentionModule_stage2", "in_channels": 4, "out_channels": 4, "size1": [9, 7], "size2": [5, 4], **more}
    return name, params, {"x": (2, 4, 9, 7)}, weights(4, pre, wider)


run("residual-attention-network", reference, [
    case("pre", True, size3=[3, 2]), case("channel", False, activation="channel"), case("spatial", False, activation="spatial"), case("state-dict", True, wider=True, size3=[3, 2]),
], "residual attention", rtol="1e-3", atol="2e-4")
