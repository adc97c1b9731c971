# SPDX-License-Identifier: Apache-2.0
"""routing-transformer: cluster after cluster, query after query.

Memories come first and are never hidden; scores are replaced: keys after the query by the least number, the token itself by -5e4.
"""
import torch
from torch.nn.functional import normalize

from autograd import rand, run


def route(p, q, k, v, w, shared):
    """(B, N, H, D)."""
    B, N, H, D = q.shape
    context = p.get("receives_context", False)
    size = min(p["window_size"], N)
    taken = min("module" not in p and p.get("context_window_size") or p["window_size"], k.shape[1]) if context else min(p["window_size"], k.shape[1])
    means = w["kmeans.means"]
    memories = w["mem_key"].shape[2] if "mem_key" in w else 0
    rows = {}
    for b in range(B):
        for h in range(H):
            for c in range(means.shape[1]):
                near = lambda x, n: torch.topk(normalize(x[b, :, h].detach(), dim=-1) @ means[h, c].detach(), n).indices.tolist()
                queries = near(q, size)
                keys = queries if shared and not context else near(k, taken)
                chosen = k[b, keys, h]
                if shared and not context:
                    chosen = normalize(chosen, dim=-1)
                values = v[b, keys, h]
                if memories:
                    chosen, values = torch.cat([w["mem_key"][h, c], chosen]), torch.cat([w["mem_value"][h, c], values])
                for i in queries:
                    s = chosen @ q[b, i, h] / D ** 0.5
                    fixed = [None] * memories + [-5e4 if shared and i == j else -3.4e38 if p.get("causal") and j > i else None for j in keys]
                    s = torch.stack([s[n] if f is None else torch.tensor(f).double() for n, f in enumerate(fixed)])
                    rows.setdefault((b, i, h), []).append(torch.softmax(s, 0) @ values)
    out = [[[sum(rows[b, i, h]) / (len(rows[b, i, h]) + 1e-5) if (b, i, h) in rows else torch.zeros(D).double() for h in range(H)] for i in range(N)] for b in range(B)]
    return torch.stack([torch.stack([torch.stack(r) for r in s]) for s in out])


def rotate(x, first=0):
    """(B, N, H, D), half-split."""
    N, D = x.shape[1], x.shape[3]
    angle = (first + torch.arange(N).double())[:, None] * 10000 ** (-torch.arange(0, D, 2).double() / D)
    cos, sin = angle.cos()[:, None], angle.sin()[:, None]
    a, b = x[..., :D // 2], x[..., D // 2:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def routing(p, i, w):
    if "module" not in p:
        return {"out": route(p, i["q"], i["k"], i["v"], w, p.get("shared_qk", False))}
    x, heads, local = i["x"], p["heads"], p["local_attn_heads"]
    B, N, dim = x.shape
    D, shared, parts = p.get("dim_head") or dim // heads, p["shared_qk"], []
    split = lambda t: t.view(B, t.shape[1], -1, D)
    if local:
        q, k, v = map(split, (x @ w["local_to_qkv.weight"].T + w["local_to_qkv.bias"]).chunk(3, -1))
        chunk, rows = p.get("local_attn_window_size") or p["window_size"], []
        # Whatever rel_pos_emb says, and (not causal) the queries a chunk ahead, as released: they are taken for the last of the chunks seen.
        q, k = rotate(q, 0 if p.get("causal") else chunk), rotate(k)
        for t in range(N):
            first, end = max(0, t // chunk * chunk - chunk), t + 1 if p.get("causal") else t // chunk * chunk + 2 * chunk
            weights = torch.softmax(torch.einsum("bhd,bjhd->bhj", q[:, t], k[:, first:end]) / D ** 0.5, -1)
            rows.append(torch.einsum("bhj,bjhd->bhd", weights, v[:, first:end]))
        parts.append(torch.stack(rows, 1))
    if local < heads:
        source = i.get("context", x)
        q, v = split(x @ w["to_q.weight"].T), split(source @ w["to_v.weight"].T)
        k = split(source @ w["to_k.weight"].T) if not shared else split(source @ w["to_q.weight"].T)
        own = {n[len("global_attn."):]: t for n, t in w.items() if n.startswith("global_attn.")}
        parts.append(route(p, q, k, v, own, shared))
    return {"out": torch.cat(parts, 2).flatten(2) @ w["to_out.weight"].T}


def io(seed, B=2, N=20, M=20, H=2, D=6):
    return {"q": rand([seed, 1], B, N, H, D), "k": rand([seed, 2], B, M, H, D), "v": rand([seed, 3], B, M, H, D)}


def clusters(seed, H=2, c=3, D=6, m=0, prefix=""):
    w = {"kmeans.means": rand([seed, 4], H, c, D), "mem_key": rand([seed, 5], H, c, m, D), "mem_value": rand([seed, 6], H, c, m, D)}
    return {prefix + n: t for n, t in w.items() if t.size}


def module(seed, dim, heads, local, D, c, shared=True, m=0):
    w = clusters(seed, heads - local, c, D, m, "global_attn.") if heads > local else {}
    if local:
        w |= {"local_to_qkv.weight": rand([seed, 7], 3 * local * D, dim, std=0.4), "local_to_qkv.bias": rand([seed, 8], 3 * local * D)}
    w |= {n + ".weight": rand([seed, 9, s], (heads - local) * D, dim, std=0.4) for s, n in enumerate(["to_q", "to_v"] + ([] if shared else ["to_k"]))}
    return w | {"to_out.weight": rand([seed, 10], dim, heads * D, std=0.4)}


shape = {"num_clusters": 3, "window_size": 7, "num_heads": 2, "head_dim": 6}
whole = {"module": "SelfAttention", "dim": 12, "max_seq_len": 24, "heads": 4, "window_size": 8, "dim_head": 6}
run("routing-transformer", routing, [
    ("plain", shape, io(1), clusters(1)),
    ("causal-memory", shape | {"causal": True, "num_mem_kv": 0}, io(2), clusters(2, m=1)),
    ("memories", shape | {"num_mem_kv": 3, "shared_qk": True}, io(3), clusters(3, m=3)),
    ("context", shape | {"receives_context": True, "context_window_size": 5}, io(4, M=11), clusters(4)),
    ("few-tokens", shape | {"causal": True, "shared_qk": True, "window_size": 30}, io(5, N=9, M=9), clusters(5)),
    ("module", whole | {"local_attn_heads": 2, "local_attn_window_size": 4, "causal": True, "shared_qk": True}, {"x": rand(6, 2, 24, 12)}, module(6, 12, 4, 2, 6, 3)),
    ("module-global", whole | {"local_attn_heads": 0, "dim_head": 3, "shared_qk": False, "num_mem_kv": 2}, {"x": rand(7, 2, 24, 12)},
     module(7, 12, 4, 0, 3, 3, shared=False, m=2)),
    ("module-no-rotation", whole | {"local_attn_heads": 3, "rel_pos_emb": False, "causal": True, "shared_qk": False}, {"x": rand(8, 1, 24, 12)},
     module(8, 12, 4, 3, 6, 3, shared=False, m=1)),
    ("module-context", whole | {"local_attn_heads": 0, "dim_head": 5, "shared_qk": False, "receives_context": True, "context_window_size": 4, "heads": 3},
     {"x": rand(9, 2, 19, 12), "context": rand([9, 1], 2, 13, 12)}, module(9, 12, 3, 0, 5, 3, shared=False)),
    ("module-context-shared", whole | {"local_attn_heads": 0, "dim_head": 4, "shared_qk": True, "receives_context": True, "num_mem_kv": 1},
     {"x": rand(10, 1, 17, 12), "context": rand([10, 1], 1, 23, 12)}, module(10, 12, 4, 0, 4, 3, m=1)),
    ("module-both-sides", whole | {"local_attn_heads": 3, "heads": 5, "dim_head": 4, "shared_qk": True, "causal": False, "window_size": 4}, {"x": rand(11, 2, 20, 12)},
     module(11, 12, 5, 3, 4, 6)),
], "query by query", ("kmeans.means", "global_attn.kmeans.means"))
