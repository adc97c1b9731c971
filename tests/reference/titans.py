# SPDX-License-Identifier: Apache-2.0
"""titans: one sequence, one head, one chunk at a time; the gradients inside by torch.autograd, recorded."""
import torch
import torch.nn.functional as F

from autograd import draw, run

EPS = 1.1920929e-7


def rms(y, weight=None):
    y = y * torch.rsqrt(y.square().mean(-1, keepdim=True) + EPS)
    return y if weight is None else y * weight


def memory_reference(params, x, w):
    B, N, C = x.shape
    H, c, residual, order = params.get("heads", 1), params["chunk_size"], params.get("mem_model_norm_add_residual", True), params.get("momentum_order", 1)
    D, use_momentum, batch = w["to_queries.weight"].shape[0] // H, params.get("momentum", True), params.get("batch_size")
    depth = params.get("depth", 2)
    count, lr_max, limit = depth + residual, params.get("default_step_transform_max_lr", 1.0), params.get("max_grad_norm")

    def model(M, z):
        y = z
        for i, W in enumerate(M[residual:]):
            y = (F.gelu(y) if i else y) @ W
        return F.layer_norm(y, (D,)) * (M[0] + 1) + z if residual else y

    stored, read = rms(x, w["store_norm.weight"]), rms(x, w["retrieve_norm.weight"])
    lin = lambda n, y: F.linear(y, w[n + ".weight"], w.get(n + ".bias"))
    heads = lambda y: y.view(B, -1, H, D)
    norm = lambda n, y, h: rms(y) * (w[n + ".gamma"][h] + 1) if n + ".gamma" in w else y
    q, k, v = heads(lin("to_queries", read)), heads(lin("to_keys", stored)), heads(lin("to_values", stored))
    rate = torch.sigmoid(lin("to_adaptive_step.0", stored)) * lr_max
    outs, final = torch.zeros(B, N, H, D, dtype=x.dtype), [[] for _ in range(count)]
    for b in range(B):
        for h in range(H):
            M = [w["memory_model_parameters.%d" % i][h] for i in range(count)]
            at, S, memories = list(M), [[torch.zeros_like(m) for m in M] for _ in range(order)], [M]
            for n in range(N // c):
                if batch and n * c % batch == 0:
                    at = list(M)
                part = slice(n * c, n * c + c)
                leaves = [m if m.requires_grad else m.requires_grad_() for m in at]
                own = [m.clone() for m in leaves]
                loss = ((model(own, norm("k_norm", k[b, part, h], h)) - v[b, part, h]).square().mean(-1) * rate[b, part, h]).sum()
                grads = torch.autograd.grad(loss, own, create_graph=True)
                if limit is not None:
                    grads = [g / g.norm() * (torch.tanh(g.norm() / (limit / 2)) + 1) * limit / 2 for g in grads]
                y = stored[b, part]
                if params.get("attn_pool_chunks"):
                    y = (y * torch.softmax(lin("reduce_to_chunk_rep.to_attn_logits", y), 0)).sum(0)
                else:
                    y = y.mean(0)
                update = [-g for g in grads]
                if use_momentum:
                    eta = torch.sigmoid(lin("to_momentum.0", y))[h * order:(h + 1) * order]
                    for o in range(order):
                        update = S[o] = [eta[o] * s + u for s, u in zip(S[o], update)]
                keep = 1 - torch.sigmoid(lin("to_decay_factor.0", y))[h]
                M = [keep * m + u for m, u in zip(M, update)]
                memories.append(M)
            for t in range(N):
                z = model(memories[(t + 1) // c], norm("q_norm", q[b, t:t + 1, h], h))
                outs[b, t, h] = norm("multihead_rmsnorm", z, h)[0]
            for i in range(count):
                final[i].append(M[i])
    if H > 1:
        outs = outs * torch.sigmoid(lin("retrieve_gate.0", read))[..., None]
    out = outs.reshape(B, N, H * D)
    names = (["norm.gamma"] if residual else []) + [("model." if residual else "") + "weights.%d" % i for i in range(depth)]
    return {"out": lin("combine_heads", out) if H > 1 else out, **{"updates." + n: torch.stack(f) for n, f in zip(names, final)}}


def attention_reference(params, x, w):
    P, H, D = w["persistent_memory"].shape[2], w["persistent_memory"].shape[1], w["persistent_memory"].shape[3]
    T, sliding = params["segment_len"] + params.get("num_longterm_mem_tokens", 0), params.get("sliding", False)
    B, N, C = x.shape
    q, k, v = (y.view(B, N, H, D) for y in F.linear(rms(x, w["norm.weight"]), w["to_qkv.weight"]).chunk(3, -1))

    def turn(y, t):
        angle = t * 10000.0 ** (-2 * torch.arange(D // 2, dtype=x.dtype) / D)
        a, b = y[..., 0::2], y[..., 1::2]
        return torch.stack([a * angle.cos() - b * angle.sin(), b * angle.cos() + a * angle.sin()], -1).flatten(-2)

    outs = []
    for t in range(N):
        seen = [j for j in range(t + 1) if (t - j <= T if sliding else j // T == t // T)]
        keys = torch.cat([w["persistent_memory"][0].transpose(0, 1).expand(B, P, H, D), torch.stack([turn(k[:, j], j) for j in seen], 1)], 1)
        values = torch.cat([w["persistent_memory"][1].transpose(0, 1).expand(B, P, H, D), v[:, seen]], 1)
        s = torch.einsum("bhd,bjhd->bhj", turn(q[:, t], t), keys) * D ** -0.5
        outs.append(torch.einsum("bhj,bjhd->bhd", torch.softmax(s, -1), values))
    return {"out": F.linear(torch.stack(outs, 1).reshape(B, N, H * D), w["to_out.weight"])}


def reference(params, inputs, w):
    part = params.get("part", "NeuralMemory")
    return (memory_reference if part == "NeuralMemory" else attention_reference)(params, inputs["x"], w)


def memory(name, seed, B, N, C, **params):
    H, D, depth, order = params.get("heads", 1), params.get("dim_head", C), params.get("depth", 2), params.get("momentum_order", 1)
    hidden, s = int(D * params.get("expansion_factor", 4.0)), {}
    s |= {"store_norm.weight": ((C,), 0.2, 1.0), "retrieve_norm.weight": ((C,), 0.2, 1.0)}
    s |= {n + ".weight": ((H * D, C), 0.4, 0.0) for n in ("to_queries", "to_keys", "to_values")}
    s |= {"to_adaptive_step.0.weight": (H, C), "to_adaptive_step.0.bias": (H,), "to_decay_factor.0.weight": (H, C), "to_decay_factor.0.bias": (H,)}
    if params.get("momentum", True):
        s |= {"to_momentum.0.weight": (H * order, C), "to_momentum.0.bias": (H * order,)}
    for flag, names in (("qk_rmsnorm", ("q_norm", "k_norm")), ("post_rmsnorm", ("multihead_rmsnorm",))):
        if params.get(flag):
            s |= {n + ".gamma": (H, 1, D) for n in names}
    if H > 1:
        s |= {"combine_heads.weight": (C, H * D), "retrieve_gate.0.weight": (H, C)}
    if params.get("attn_pool_chunks"):
        s |= {"reduce_to_chunk_rep.to_attn_logits.weight": (C, C), "reduce_to_chunk_rep.to_attn_logits.bias": (C,)}
    shapes = ([(H, D)] if params.get("mem_model_norm_add_residual", True) else [])
    shapes += [(H, D if i == 0 else hidden, D if i == depth - 1 else hidden) for i in range(depth)]
    s |= {"memory_model_parameters.%d" % i: (shape, 0.3, 0.0) for i, shape in enumerate(shapes)}
    return name, {"dim": C, **params}, draw(seed, x=(B, N, C)), draw(seed + 50, 0.5, **s)


def attention(name, seed, B, N, C, H, D, **params):
    w = {"norm.weight": ((C,), 0.2, 1.0), "to_qkv.weight": (3 * H * D, C), "to_out.weight": (C, H * D),
         "persistent_memory": (2, H, params.get("num_persist_mem_tokens", 0), D)}
    return name, {"part": "SegmentedAttention", "dim": C, "heads": H, "dim_head": D, **params}, draw(seed, x=(B, N, C)), draw(seed + 50, 0.5, **w)


run("titans", reference, [
    memory("heads", 1, 2, 13, 8, chunk_size=3, heads=2, dim_head=6, expansion_factor=2.0, qk_rmsnorm=True, post_rmsnorm=True),
    memory("batches", 2, 1, 14, 6, chunk_size=2, batch_size=4, expansion_factor=1.5, momentum_order=2, default_step_transform_max_lr=0.02),
    memory("no-residual", 3, 2, 9, 6, chunk_size=4, mem_model_norm_add_residual=False, momentum=False, depth=1),
    memory("pooled", 4, 1, 12, 6, chunk_size=4, attn_pool_chunks=True, depth=3, expansion_factor=2.0, max_grad_norm=0.5,
           default_step_transform_max_lr=0.1),
    memory("every-token", 5, 1, 5, 4, chunk_size=1, batch_size=2, heads=2, dim_head=4, momentum_order=3),
    memory("short", 6, 2, 3, 6, chunk_size=4),
    attention("segments", 7, 2, 13, 8, 2, 6, segment_len=5, num_persist_mem_tokens=3),
    attention("window", 8, 2, 13, 8, 2, 6, segment_len=3, num_longterm_mem_tokens=1, num_persist_mem_tokens=2, sliding=True),
    attention("no-persistent", 9, 1, 8, 8, 2, 4, segment_len=4, num_longterm_mem_tokens=1),
], "a chunk at a time", rtol="1e-3")  # layer norm of four numbers: gradients reach 60
