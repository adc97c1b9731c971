# SPDX-License-Identifier: Apache-2.0
"""rin: the block in torch, attention by einsum."""
import torch
import torch.nn.functional as F

from autograd import draw, run


def reference(p, inputs, w):
    x, z, time = inputs["x"], inputs["latents"], inputs.get("time")
    h, d = p["heads"], p["dim_head"]
    norm = lambda n, t: F.layer_norm(t, t.shape[-1:], w[n + ".gamma"], w[n + ".beta"])

    def modulated(n, t):
        if n + ".time_cond.1.weight" not in w:
            return t
        scale, shift = F.linear(F.silu(time), w[n + ".time_cond.1.weight"], w[n + ".time_cond.1.bias"])[:, None].chunk(2, -1)
        return t * (scale + 1) + shift

    heads = lambda t: t.unflatten(-1, (h, d)).transpose(1, 2)
    unit = lambda n, t: F.normalize(t, dim=-1) * d**0.5 * w[n + ".gamma"] if n + ".gamma" in w else t

    def attention(n, t, context=None):
        t = norm(n + ".norm", t)
        c = t if context is None else norm(n + ".norm_context", context)
        q = heads(modulated(n, t) @ w[n + ".to_q.weight"].T)
        k, v = (heads(u) for u in (c @ w[n + ".to_kv.weight"].T).chunk(2, -1))
        a = (unit(n + ".q_norm", q) @ unit(n + ".k_norm", k).transpose(2, 3) / d**0.5).softmax(-1)
        return (a @ v).transpose(1, 2).flatten(2) @ w[n + ".to_out.weight"].T

    def linear_attention(n, t):
        q, k, v = (heads(u) for u in (modulated(n, norm(n + ".norm", t)) @ w[n + ".to_qkv.weight"].T).chunk(3, -1))
        q, k = unit(n + ".q_norm", q).softmax(-1) / d**0.5, unit(n + ".k_norm", k).softmax(-2)
        return norm(n + ".to_out.1", (q @ (k.transpose(2, 3) @ v)).transpose(1, 2).flatten(2) @ w[n + ".to_out.0.weight"].T)

    def feed(n, t):
        t = modulated(n, norm(n + ".norm", t))
        return F.linear(F.gelu(F.linear(t, w[n + ".net.0.weight"], w[n + ".net.0.bias"])), w[n + ".net.2.weight"], w[n + ".net.2.bias"])

    B, N, C = x.shape
    x = x + F.conv2d(x.transpose(1, 2).reshape(B, C, p["height"], p["width"]), w["patches_peg.ds_conv.weight"], w["patches_peg.ds_conv.bias"], padding=1, groups=C).flatten(2).transpose(1, 2)
    z = z + attention("latents_attend_to_patches", z, x)
    z = z + feed("latents_cross_attn_ff", z)
    for i in range(p["latent_self_attn_depth"]):
        z = z + attention(f"latent_self_attns.{i}.0", z)
        z = z + feed(f"latent_self_attns.{i}.1", z)
    if p["patches_self_attn"]:
        x = x + linear_attention("patches_self_attn", x)
        x = x + feed("patches_self_attn_ff", x)
    x = x + attention("patches_attend_to_latents", x, z)
    x = x + feed("patches_cross_attn_ff", x)
    return {"out": x, "latents": norm("latent_final_norm", z)}


def case(name, seed, side=4, columns=None, M=3, C=6, L=8, depth=1, h=2, d=4, qk_norm=False, patches=False, time=None, feed_time=False):
    s = {"patches_peg.ds_conv.weight": (C, 1, 3, 3), "patches_peg.ds_conv.bias": (C,)}
    inner = h * d

    def norm(n, wide):
        s.update({n + ".gamma": ((wide,), 0.2, 1.0), n + ".beta": (wide,)})

    def attention(n, wide, context=None, linear=False):
        norm(n + ".norm", wide)
        if context:
            norm(n + ".norm_context", context)
        if linear:
            s.update({n + ".to_qkv.weight": (3 * inner, wide), n + ".to_out.0.weight": (wide, inner)})
            norm(n + ".to_out.1", wide)
        else:
            s.update({n + ".to_q.weight": (inner, wide), n + ".to_kv.weight": (2 * inner, context or wide), n + ".to_out.weight": (wide, inner)})
        if qk_norm:
            s.update({n + ".q_norm.gamma": ((h, 1, d), 0.2, 1.0), n + ".k_norm.gamma": ((h, 1, d), 0.2, 1.0)})
        if time:
            s.update({n + ".time_cond.1.weight": (2 * wide, time), n + ".time_cond.1.bias": (2 * wide,)})

    def feed(n, wide):
        norm(n + ".norm", wide)
        s.update({n + ".net.0.weight": (4 * wide, wide), n + ".net.0.bias": (4 * wide,), n + ".net.2.weight": (wide, 4 * wide), n + ".net.2.bias": (wide,)})
        if time and feed_time:
            s.update({n + ".time_cond.1.weight": (2 * wide, time), n + ".time_cond.1.bias": (2 * wide,)})

    attention("latents_attend_to_patches", L, C)
    feed("latents_cross_attn_ff", L)
    for i in range(depth):
        attention(f"latent_self_attns.{i}.0", L)
        feed(f"latent_self_attns.{i}.1", L)
    norm("latent_final_norm", L)
    if patches:
        attention("patches_self_attn", C, linear=True)
        feed("patches_self_attn_ff", C)
    attention("patches_attend_to_latents", C, L)
    feed("patches_cross_attn_ff", C)
    p = {"dim": C, "dim_latent": L, "latent_self_attn_depth": depth, "heads": h, "dim_head": d, "qk_norm": qk_norm, "patches_self_attn": patches,
         "time_cond_dim": time, "height": side, "width": columns or side}
    inputs = {"x": (2, side * (columns or side), C), "latents": (2, M, L)} | ({"time": (2, time)} if time else {})
    return name, p, draw(seed, **inputs), draw(seed + 50, 0.4, **s)


run("rin", reference, [case("qk-norm", 1, qk_norm=True), case("patches", 2, depth=0, patches=True), case("time", 3, depth=2, time=5),
                       case("everything", 4, 3, patches=True, qk_norm=True, time=4, feed_time=True),
                       case("deep", 5, 3, 5, depth=3, qk_norm=True, time=5, feed_time=True, patches=True, C=5, L=7, h=3, d=2)], "the block in torch")
