# SPDX-License-Identifier: Apache-2.0
"""A GAT layer beside the same layer by gather and scatter in eager torch, as PyTorch Geometric computes it; forward, and with the gradients
of the nodes and the weights. Same threads, same run; the best of some rounds, taken in turns.

  lists.py [--threads T] [--nodes N] [--edges E] [--heads H] [--width O] [--channels C] [--rounds R]
"""
import argparse
import time

import torch
from torch.nn.functional import leaky_relu

import heed


def scatter_gat(x, edges, w, heads):
    """Loops in edges already; softmax over the edges into each node, as torch_geometric.utils.softmax."""
    nodes, (source, target) = len(x), edges
    h = (x @ w["lin.weight"].T).view(nodes, heads, -1)
    score = leaky_relu((h * w["att_src"]).sum(-1)[source] + (h * w["att_dst"]).sum(-1)[target], 0.2)
    place = target[:, None].expand_as(score)
    top = score.detach().new_zeros(nodes, heads).scatter_reduce_(0, place, score.detach(), "amax", include_self=False)
    e = (score - top[target]).exp()
    total = e.new_zeros(nodes, heads).scatter_add(0, place, e) + 1e-16
    messages = h[source] * (e / total[target])[:, :, None]
    return messages.new_zeros(nodes, heads, h.shape[2]).scatter_add(0, target[:, None, None].expand_as(messages), messages).flatten(1) + w["bias"]


def main():
    p = argparse.ArgumentParser()
    for name, value in [("threads", 2), ("nodes", 100_000), ("edges", 1_000_000), ("heads", 8), ("width", 16), ("channels", 128), ("rounds", 5)]:
        p.add_argument("--" + name, type=int, default=value)
    o = p.parse_args()
    torch.set_num_threads(o.threads)
    torch.manual_seed(0)
    x = torch.randn(o.nodes, o.channels)
    edges = torch.randint(0, o.nodes, (2, o.edges))
    w = {"lin.weight": torch.randn(o.heads * o.width, o.channels) / o.channels**0.5, "att_src": torch.randn(1, o.heads, o.width),
         "att_dst": torch.randn(1, o.heads, o.width), "bias": torch.zeros(o.heads * o.width)}
    loops = torch.arange(o.nodes)
    kept = torch.cat([edges[:, edges[0] != edges[1]], torch.stack([loops, loops])], 1)

    mine = lambda x, w: heed.run("gat", {"x": x, "edge_index": edges}, weights=w, heads=o.heads, in_channels=o.channels, out_channels=o.width, threads=o.threads)
    theirs = lambda x, w: scatter_gat(x, kept, w, o.heads)
    first = lambda y: y["out"] if isinstance(y, dict) else y

    def forward(layer):
        with torch.no_grad():
            return first(layer(x, w))

    def both(layer):
        leaves = [t.detach().requires_grad_() for t in (x, *w.values())]
        out = first(layer(leaves[0], dict(zip(w, leaves[1:]))))
        return torch.autograd.grad(out.square().sum(), leaves)

    for name, run in [("forward", forward), ("forward + backward", both)]:
        a, b = run(mine), run(theirs)
        for left, right in zip([a] if torch.is_tensor(a) else a, [b] if torch.is_tensor(b) else b):
            assert torch.allclose(left, right, rtol=1e-2, atol=1e-3 * right.abs().max().item()), name
        best = [float("inf")] * 2
        for _ in range(o.rounds):
            for n, layer in enumerate((mine, theirs)):
                start = time.perf_counter()
                run(layer)
                best[n] = min(best[n], time.perf_counter() - start)
        print(f"{name}: heed {1e3 * best[0]:.0f} ms, torch {1e3 * best[1]:.0f} ms, {best[1] / best[0]:.1f} x")


main()
