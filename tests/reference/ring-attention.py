# SPDX-License-Identifier: Apache-2.0
"""ring-attention: dense attention a query at a time; the ring's bookkeeping by following the blocks."""
import math

import numpy as np
import torch

from autograd import draw, run


def reference(p, inputs, _):
    q, k, v = inputs["q"], inputs["k"], inputs["v"]
    B, N, H, D = q.shape
    G, P, c, size = k.shape[2], p["ranks"], p.get("causal_block_size"), p.get("element_bytes", 2)
    rows, lse = [], []
    for b in range(B):
        for i in range(N):
            seen = [j for j in range(N) if (not c or i // c >= j // c) and ("segment_ids" not in inputs or inputs["segment_ids"][b, i] == inputs["segment_ids"][b, j])]
            for h in range(H):
                s = k[b, seen, h // (H // G)] @ q[b, i, h] / D**0.5
                if "attn_bias" in inputs:
                    s = s + inputs["attn_bias"][b, 0, 0, seen]
                rows.append(s.softmax(0) @ v[b, seen, h // (H // G)])
                lse.append(s.logsumexp(0))
    n = math.ceil(N / P)
    tokens = [list(range(N))[r * n:(r + 1) * n] for r in range(P)]
    holds, resident, computed, sent = list(range(P)), np.zeros((P, P), np.int64), np.zeros((P, P), np.int64), np.zeros(P, np.int64)
    for step in range(P):
        for r in range(P):
            resident[r, step] = holds[r]
            computed[r, step] = not c or (r * n + n - 1) // c >= holds[r] * n // c
            if step + 1 < P:
                sent[r] += 2 * B * len(tokens[holds[r]]) * G * D * size
        holds = [holds[(r - 1) % P] for r in range(P)]
    return {"out": torch.stack(rows).view(B, N, H, -1), "lse": torch.stack(lse).view(B, N, H), "resident": torch.tensor(resident), "computed": torch.tensor(computed), "bytes_sent": torch.tensor(sent)}


def case(name, seed, P, N, H=2, G=2, B=2, D=3, bias=False, segments=0, **more):
    inputs = draw(seed, q=(B, N, H, D), k=(B, N, G, D), v=(B, N, G, D))
    if bias:
        inputs["attn_bias"] = -abs(draw(seed + 50, attn_bias=(B, 1, 1, N))["attn_bias"])
    if segments:
        inputs["segment_ids"] = np.sort(np.random.default_rng(seed).integers(0, segments, (B, N)), 1)
    return name, {"ranks": P} | more, inputs, {}


run("ring-attention", reference, [
    case("both-sides", 1, 4, 8), case("blocks-of-three", 2, 4, 12, causal_block_size=3), case("blocks-across-ranks", 3, 3, 10, causal_block_size=4, element_bytes=4), case("bias", 4, 2, 6, bias=True),
    case("bias-causal", 5, 4, 8, H=4, bias=True, causal_block_size=1), case("segments", 6, 4, 8, segments=3), case("segments-causal", 7, 4, 8, H=4, G=1, segments=2, causal_block_size=1, element_bytes=4),
    case("uneven", 8, 4, 10, H=4, G=2, causal_block_size=1), case("one-rank", 9, 1, 5, causal_block_size=1), case("everything", 10, 3, 7, H=6, G=2, bias=True, segments=3, causal_block_size=2),
    case("few-tokens", 11, 8, 5, G=1, causal_block_size=1)],
    "a query at a time")
