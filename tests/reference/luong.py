# SPDX-License-Identifier: Apache-2.0
"""luong, variational-attention: batch by batch, query by query, over the states that exist."""
import math

import numpy as np
import torch

from autograd import rand, run


def weigh(scores, seen):
    """Softmax over the places in `seen`, 0 elsewhere."""
    out = torch.zeros_like(scores)
    return out.index_add(0, torch.tensor(seen, dtype=torch.long), torch.softmax(scores[seen], 0)) if seen else out


def luong(p, i, w):
    if i["query"].ndim == 2:
        return {n: t[:, 0] for n, t in luong(p, i | {"query": i["query"][:, None]}, w).items()}
    kind, local, D = p.get("attn_type", "dot"), p.get("local"), p.get("D", 10)
    query, memory = i["query"], i["memory"]
    B, T, S = query.shape[0], query.shape[1], memory.shape[1]
    rows, places = [], []
    for b in range(B):
        n = int(i["memory_lengths"][b]) if "memory_lengths" in i else S
        for t in range(T):
            q, m = query[b, t], memory[b]
            if kind == "dot":
                s = m @ q
            elif kind == "location":
                s = (w["attn_score.W.weight"] @ q)[:S]
            elif local:
                W = w["attn_score.W.weight"]
                s = (m @ W.T) @ q if kind == "general" else torch.tanh(torch.cat([m, q.expand(S, -1)], 1) @ W.T) @ w["attn_score.v.weight"][0]
            elif kind == "general":
                s = m @ (w["linear_in.weight"] @ q)
            else:
                s = torch.tanh(w["linear_query.weight"] @ q + w["linear_query.bias"] + m @ w["linear_context.weight"].T) @ w["v.weight"][0]
            seen = list(range(n))
            if local:
                at = i["positions"].expand(B, T)[b, t].double() if local == "local-m" else \
                    n * torch.sigmoid(w["vp.weight"][0] @ torch.tanh(w["Wp.weight"] @ q + w["Wp.bias"]) + w["vp.bias"][0])
                places.append(at.double())
                seen = [j for j in seen if abs(j - math.floor(at.item())) <= D]
            a = weigh(s, seen)
            if local == "local-p":
                a = a * torch.exp(-(torch.arange(S) - at) ** 2 / (2 * (D / 2) ** 2))
            rows.append(a)
    weights = torch.stack(rows).view(B, T, S)
    context = weights @ memory
    out = context
    if not local and kind != "location":
        out = torch.cat([context, query], 2) @ w["linear_out.weight"].T
        out = out + w["linear_out.bias"] if kind == "mlp" else torch.tanh(out)
    return {"out": out, "weights": weights, "context": context} | ({"positions": torch.stack(places).view(B, T)} if local else {})


def variational(p, i, w):
    query, memory, rows = i["query"], i["memory"], []
    S = memory.shape[1]
    f = lambda q, m: torch.tanh(w["linear_out.weight"] @ torch.cat([q, m]) + w.get("linear_out.bias", 0))
    out, every = [], []
    for b, q in enumerate(query):
        m = memory[b]
        s = torch.tanh(w["linear_query.weight"] @ q + m @ w["linear_context.weight"].T) @ w["v.weight"][0] if p["attn_type"] == "mlp" else m @ (w["linear_in.weight"] @ q)
        seen = list(range(int(i["memory_lengths"][b]) if "memory_lengths" in i else S))
        if p.get("k"):
            seen = sorted(seen, key=lambda j: -s[j].item())[:p["k"]]
        rows.append(weigh(s, seen))
        out.append(f(q, rows[-1] @ m))
        every.append(torch.stack([f(q, m[j]) for j in range(S)]))
    return {"out": torch.stack(out), "h_enumerated": torch.stack(every, 1), "weights": torch.stack(rows)}


d, de, S, lengths = 8, 8, 9, np.array([9, 5])
io = lambda seed, de=de, **more: {"query": rand([seed, 1], 2, 4, d), "memory": rand([seed, 2], 2, S, de)} | more
single = lambda seed, **more: io(seed, **more) | {"query": rand([seed, 1], 2, d)}
W = lambda seed, **shapes: {n.replace("__", "."): rand([seed, 3, k], *s, std=0.5) for k, (n, s) in enumerate(shapes.items())}
long = {"memory_lengths": lengths}
run("luong", luong, [
    ("dot-lengths", {"attn_type": "dot", "dim": d}, io(1, **long), W(1, linear_out__weight=(d, 2 * d))),
    ("general", {"attn_type": "general", "dim": d}, io(2, **long), W(2, linear_in__weight=(d, d), linear_out__weight=(d, 2 * d))),
    ("mlp", {"attn_type": "mlp", "dim": d}, io(3, **long), W(3, linear_context__weight=(d, d), linear_query__weight=(d, d), linear_query__bias=(d,),
                                                           v__weight=(1, d), linear_out__weight=(d, 2 * d), linear_out__bias=(d,))),
    ("location", {"attn_type": "location", "max_seq_len": 12}, io(4, de=6), W(4, attn_score__W__weight=(12, d))),
    ("local-m", {"attn_type": "general", "local": "local-m", "D": 2}, io(5, de=6, positions=np.array([[0., 3, 7, 8], [1, 2, 3, 4]], np.float32)), W(5, attn_score__W__weight=(d, 6))),
    ("local-m-steps", {"attn_type": "dot", "local": "local-m", "D": 1}, io(8, positions=np.array([0, 2, 5, 8])), {}),
    ("local-p", {"attn_type": "concat", "local": "local-p", "D": 3}, io(6, de=6),
     W(6, attn_score__W__weight=(7, 6 + d), attn_score__v__weight=(1, 7), Wp__weight=(5, d), Wp__bias=(5,), vp__weight=(1, 5), vp__bias=(1,))),
    ("local-p-dot", {"attn_type": "dot", "local": "local-p", "D": 2}, io(7), W(7, Wp__weight=(5, d), Wp__bias=(5,), vp__weight=(1, 5), vp__bias=(1,))),
    ("one-state", {"attn_type": "general", "dim": d, "local": None}, single(9, **long), W(9, linear_in__weight=(d, d), linear_out__weight=(d, 2 * d))),
    ("location-one-state", {"attn_type": "location", "max_seq_len": 10}, single(10, de=6), W(10, attn_score__W__weight=(10, d))),
    ("local-p-one-state", {"attn_type": "general", "local": "local-p", "D": 2}, single(11, de=6, **long),
     W(11, attn_score__W__weight=(d, 6), Wp__weight=(5, d), Wp__bias=(5,), vp__weight=(1, 5), vp__bias=(1,))),
], "state by state", ("positions",))
vio = lambda seed, **more: {"query": rand([seed, 1], 3, 6), "memory": rand([seed, 2], 3, 7, 5)} | more
run("variational-attention", variational, [
    ("general", {"attn_type": "general", "src_dim": 5, "tgt_dim": 6, "mode": "enum", "k": 0}, vio(11), W(11, linear_in__weight=(5, 6), linear_out__weight=(6, 11))),
    ("best", {"attn_type": "mlp", "attn_dim": 4, "k": 3}, vio(12, memory_lengths=np.array([7, 2, 5])),
     W(12, linear_context__weight=(4, 5), linear_query__weight=(4, 6), v__weight=(1, 4), linear_out__weight=(6, 11), linear_out__bias=(6,))),
    ("exact", {"attn_type": "mlp", "attn_dim": 4, "mode": "exact"}, vio(13, memory_lengths=np.array([1, 7, 4])),
     W(13, linear_context__weight=(4, 5), linear_query__weight=(4, 6), v__weight=(1, 4), linear_out__weight=(6, 11), linear_out__bias=(6,))),
], "position by position")
