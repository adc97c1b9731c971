# SPDX-License-Identifier: Apache-2.0
"""hyperzzw: torch's convolutions; the kernel's network learns through the normalised part alone, as the released code does."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def reference(p, inputs, w):
    if p["kind"] != "L":
        hk, x = inputs["hk"], inputs["x"]
        return {"out": torch.einsum("chw,bcwv->bchv", hk[0], x) if p["kind"] == "G" else x * hk * x}
    k, m, n = p["kernel_size"], p["no_hidden"], p["num_layers"]
    conv = lambda name, t: F.conv2d(t, w[name + ".weight"], w[name + ".bias"])
    net = "slow_net.Kernel."
    t = torch.linspace(-1, 1, k, dtype=torch.float64)
    taps = torch.stack(torch.meshgrid(t, t, indexing="ij"))[None]
    g = F.gelu(conv(net + "fast_fc1", conv(net + "fast_reduce", F.adaptive_avg_pool2d(inputs["x1"], k)).mean(0, keepdim=True)))
    s = [torch.sin(conv(net + f"filters.{i}.linear", taps)) for i in range(n + 1)]
    o = s[0]
    for i in range(1, n + 1):
        o = s[i] * conv(net + f"linears.{i - 1}", o) + w[net + "bias_pk"]
        o = o.detach() + 0.1 * F.normalize(o.flatten(2), dim=-1).view_as(o)
        o = o * conv(net + f"fast_linears_x.{i - 1}", g)
    C = inputs["x2"].shape[1]
    kernel = conv(net + "output_linear", o).view(C, 1, k, k)
    y = conv("local_conv.channel_mixer", F.conv2d(inputs["x2"], kernel, padding=(k - 1) // 2, groups=C))
    y = (y - y.mean((0, 2, 3), keepdim=True)) / (y.var((0, 2, 3), unbiased=False, keepdim=True) + 1e-5).sqrt()
    return {"out": F.gelu(y) + w["fast_bias"], "kernel": kernel}


def local(name, seed, C, k, m, n, B=2, side=7):
    net = "slow_net.Kernel."
    s = {"fast_bias": (1,), net + "bias_pk": (1, 1, k, k)}
    shapes = {f"filters.{i}.linear": (m, 2) for i in range(n + 1)} | {f"linears.{i}": (m, m) for i in range(n)} | {f"fast_linears_x.{i}": (m, m) for i in range(n)}
    shapes |= {"fast_reduce": (m, C), "fast_fc1": (m, m), "output_linear": (C, m)}
    for where, (a, b) in {net + key: value for key, value in shapes.items()}.items():
        s |= {where + ".weight": (a, b, 1, 1), where + ".bias": (a,)}
    s |= {"local_conv.channel_mixer.weight": (C, C, 1, 1), "local_conv.channel_mixer.bias": (C,)}
    return name, {"kind": "L", "in_channels": C, "kernel_size": k, "no_hidden": m, "num_layers": n}, draw(seed, x1=(B, C, side, side), x2=(B, C, side, side)), draw(seed + 50, 0.6, **s)


run("hyperzzw", reference, [local("local", 1, 4, 5, 6, 2), local("local-deeper", 2, 3, 3, 5, 3, 3),
                            ("elements", {"kind": "2E"}, draw(3, hk=(1, 3, 5, 5), x=(2, 3, 5, 5)), {}),
                            ("matrix", {"kind": "G"}, draw(4, hk=(1, 3, 6, 6), x=(2, 3, 6, 6)), {})], "torch's convolutions")
