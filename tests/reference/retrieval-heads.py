# SPDX-License-Identifier: Apache-2.0
"""retrieval-heads: per step and head, whether a set of keys holds the generated token inside the needle."""
import numpy as np
import torch

from autograd import run


def reference(p, inputs, _):
    a, prompt, made = inputs["attentions"], inputs["prompt_ids"].tolist(), inputs["generated"].tolist()
    needle = range(p["needle_start"], p["needle_end"])
    out = torch.zeros(a.shape[1:3], dtype=torch.float64)
    for s, token in enumerate(made):
        hits = [j for j in needle if prompt[j] == token]
        for l in range(a.shape[1]):
            for h in range(a.shape[2]):
                order = sorted(range(a.shape[3]), key=lambda j: -float(a[s, l, h, j].detach()))[:p["topk"]]
                out[l, h] += bool(set(order) & set(hits)) / len(needle)
    return {"out": out}


def case(name, seed, topk, tokens, steps=6, L=2, H=3, T0=12, start=3, end=9):
    rng = np.random.default_rng(seed)
    prompt = rng.integers(0, tokens, T0)
    made = rng.choice(prompt[start:end], steps)
    a = np.zeros((steps, L, H, T0 + steps), np.float32)
    for s in range(steps):
        row = rng.random((L, H, T0 + s + 1)) + 1.0 * (np.pad(prompt, (0, s + 1), constant_values=-1) == made[s])
        a[s, ..., :T0 + s + 1] = row / row.sum(-1, keepdims=True)
    return name, {"needle_start": start, "needle_end": end, "topk": topk}, {"attentions": a, "prompt_ids": prompt, "generated": made}, {}


run("retrieval-heads", reference, [case("three-keys", 1, 3, 4), case("repeated-tokens", 2, 1, 3), case("five-keys", 3, 5, 20), case("all-keys", 4, 18, 5, T0=12)],
    "sets of keys", no_gradient=("attentions",))
