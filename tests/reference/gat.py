# SPDX-License-Identifier: Apache-2.0
"""gat, gatv2, supergat: a loop over the nodes, each with the edges that point to it.

Loops among the edges are removed and one a node appended, its features the mean of those of the edges into the node (PyTorch Geometric).
"""
import numpy as np
import torch
from torch.nn.functional import elu, leaky_relu

from autograd import rand, run


def with_loops(edges, nodes, features):
    kept = [e for e in range(edges.shape[1]) if edges[0, e] != edges[1, e]]
    edges = edges[:, kept]
    loops = torch.arange(nodes)
    if features is not None:
        features = features[kept]
        into = [features[edges[1] == i] for i in range(nodes)]
        features = torch.cat([features] + [f.mean(0, keepdim=True) if len(f) else f.new_zeros(1, f.shape[1]) for f in into])
    return torch.cat([edges, torch.stack([loops, loops])], 1), features


def attend(scores, edges, values, targets):
    """scores (E, H), values (S, H, O): (targets, H, O) and the weights."""
    weights = torch.zeros_like(scores)
    rows = []
    for i in range(targets):
        into = (edges[1] == i).nonzero()[:, 0]
        w = torch.softmax(scores[into], 0)
        weights = weights.index_add(0, into, w)
        rows.append((w[:, :, None] * values[edges[0, into]]).sum(0))
    return torch.stack(rows), weights


def finish(out, bias, concat):
    return (out.flatten(1) if concat else out.mean(1)) + (0 if bias is None else bias)


def prepare(p, i, sources, targets):
    edges, features = i["edge_index"], i.get("edge_attr")
    return with_loops(edges, min(sources, targets), features) if p.get("add_self_loops", True) else (edges, features)


def gat(p, i, w):
    if p.get("dense_adjacency"):
        h, O = i["x"] @ w["W"], w["W"].shape[1]
        e = leaky_relu(h @ w["a"][:O] + (h @ w["a"][O:]).T, p.get("alpha", 0.2))
        weights = torch.softmax(torch.where(i["adj"] > 0, e, torch.tensor(-9e15).double()), 1)
        out = weights @ h
        return {"out": elu(out) if p.get("concat", True) else out, "weights": weights}
    H = p.get("heads", 1)
    source = i.get("x_src", i.get("x"))
    target = i.get("x_dst", source)
    hs = (source @ w["lin_src.weight" if "lin_src.weight" in w else "lin.weight"].T).view(len(source), H, -1)
    ht = (target @ w["lin_dst.weight" if "lin_dst.weight" in w else "lin.weight"].T).view(len(target), H, -1)
    edges, features = prepare(p, i, len(source), len(target))
    score = (hs * w["att_src"]).sum(-1)[edges[0]] + (ht * w["att_dst"]).sum(-1)[edges[1]]
    if features is not None:
        score = score + ((features @ w["lin_edge.weight"].T).view(len(features), H, -1) * w["att_edge"]).sum(-1)
    out, weights = attend(leaky_relu(score, p.get("negative_slope", 0.2)), edges, hs, len(target))
    return {"out": finish(out, w.get("bias"), p.get("concat", True)), "weights": weights, "edge_index_with_loops": edges}


def gatv2(p, i, w):
    H, x = p.get("heads", 1), i["x"]
    left = (x @ w["lin_l.weight"].T + w.get("lin_l.bias", 0)).view(len(x), H, -1)
    right = left if p.get("share_weights") else (x @ w["lin_r.weight"].T + w.get("lin_r.bias", 0)).view(len(x), H, -1)
    edges, features = prepare(p, i, len(x), len(x))
    z = left[edges[0]] + right[edges[1]]
    if features is not None:
        z = z + (features @ w["lin_edge.weight"].T).view(len(features), H, -1)
    score = (leaky_relu(z, p.get("negative_slope", 0.2)) * w["att"]).sum(-1)
    out, weights = attend(score, edges, left, len(x))
    return {"out": finish(out, w.get("bias"), p.get("concat", True)), "weights": weights, "edge_index_with_loops": edges}


def supergat(p, i, w):
    H, x, kind = p.get("heads", 1), i["x"], p.get("attention_type", "mask_only")
    h = (x @ w["weight"]).view(len(x), H, -1)
    edges, _ = with_loops(i["edge_index"], len(x), None)

    def raw(e):
        a, b = h[e[1]], h[e[0]]
        dot = (a * b).sum(-1)
        if kind in ("dot_product", "scaled_dot_product"):
            dot = dot / (h.shape[2] ** 0.5 if kind[0] == "s" else 1)
            return dot, dot
        sum_ = (torch.cat([a, b], -1) * w["att_mh_1"]).sum(-1)
        return (sum_, sum_) if kind == "gat_originated" else (sum_ * torch.sigmoid(dot), dot)

    out, weights = attend(leaky_relu(raw(edges)[0], p.get("negative_slope", 0.2)), edges, h, len(x))
    return {"out": finish(out, w["bias"], p.get("concat", True)), "weights": weights, "edge_index_with_loops": edges,
            "link_logits": raw(torch.cat([edges, i["neg_edge_index"]], 1))[1]}


def edges(seed, sources, targets, count):
    r = np.random.default_rng(seed)
    return np.stack([r.integers(0, sources, count), r.integers(0, targets - 1, count)]).astype(np.int64)  # the last target has none


C, O, De = 6, 5, 3


def gat_weights(seed, H, concat=True, two=None, edge=False):
    w = {"lin.weight": rand([seed, 1], H * O, C)} if two is None else {"lin_src.weight": rand([seed, 1], H * O, C), "lin_dst.weight": rand([seed, 2], H * O, two)}
    w |= {"att_src": rand([seed, 3], 1, H, O), "att_dst": rand([seed, 4], 1, H, O), "bias": rand([seed, 5], H * O if concat else O)}
    return w | ({"lin_edge.weight": rand([seed, 6], H * O, De), "att_edge": rand([seed, 7], 1, H, O)} if edge else {})


def v2_weights(seed, H, concat=True, edge=False, shared=False):
    w = {"lin_l.weight": rand([seed, 1], H * O, C), "lin_l.bias": rand([seed, 2], H * O)}
    w |= {"lin_r.weight": w["lin_l.weight"], "lin_r.bias": w["lin_l.bias"]} if shared else {"lin_r.weight": rand([seed, 3], H * O, C), "lin_r.bias": rand([seed, 4], H * O)}
    w |= {"att": rand([seed, 5], 1, H, O), "bias": rand([seed, 6], H * O if concat else O)}
    return w | ({"lin_edge.weight": rand([seed, 7], H * O, De)} if edge else {})


def without_bias(weights):
    return {n: w for n, w in weights.items() if not n.endswith("bias")}


E1, E2 = edges(1, 9, 9, 30), edges(2, 9, 7, 25)
base = {"in_channels": C, "out_channels": O}
run("gat", gat, [
    ("mean-edges", base | {"heads": 3, "concat": False, "edge_dim": De, "negative_slope": 0.1},
     {"x": rand(10, 9, C), "edge_index": E1, "edge_attr": rand(11, 30, De)}, gat_weights(12, 3, False, edge=True)),
    ("no-loops", base | {"heads": 2, "add_self_loops": False}, {"x": rand(13, 9, C), "edge_index": E1}, gat_weights(14, 2)),
    ("bipartite", base | {"in_channels": [C, 4], "heads": 2, "bipartite": True, "add_self_loops": False, "edge_dim": De},
     {"x_src": rand(15, 9, C), "x_dst": rand(16, 7, 4), "edge_index": E2, "edge_attr": rand(17, 25, De)}, gat_weights(18, 2, two=4, edge=True)),
    ("bipartite-loops", base | {"in_channels": [C, 4], "bipartite": True},
     {"x_src": rand(19, 9, C), "x_dst": rand(20, 7, 4), "edge_index": E2}, gat_weights(21, 1, two=4)),
    ("dense", {"dense_adjacency": True, "in_features": C, "out_features": O, "alpha": 0.3},
     {"x": rand(22, 6, C), "adj": (rand(23, 6, 6) > 0).astype(np.float32)}, {"W": rand(24, C, O), "a": rand(25, 2 * O, 1)}),
    ("dense-last", {"dense_adjacency": True, "concat": False},
     {"x": rand(26, 6, C), "adj": (rand(27, 6, 6) > 0).astype(np.float32)}, {"W": rand(28, C, O), "a": rand(29, 2 * O, 1)}),
    ("no-bias", base | {"heads": 2}, {"x": rand(50, 9, C), "edge_index": E1}, without_bias(gat_weights(51, 2))),
], "edges into each node, one after another", ("adj",))
run("gatv2", gatv2, [
    ("mean-edges", base | {"heads": 3, "concat": False, "edge_dim": De, "negative_slope": 0.1},
     {"x": rand(30, 9, C), "edge_index": E1, "edge_attr": rand(31, 30, De)}, v2_weights(32, 3, False, edge=True)),
    ("no-loops-shared", base | {"heads": 2, "add_self_loops": False, "share_weights": True}, {"x": rand(33, 9, C), "edge_index": E1}, v2_weights(34, 2, shared=True)),
    ("no-bias", base | {"heads": 2}, {"x": rand(52, 9, C), "edge_index": E1}, without_bias(v2_weights(53, 2))),
], "edges into each node, one after another")
for n, kind in enumerate(["mask_only", "scaled_dot_product", "gat_originated", "dot_product"]):
    weights = {"weight": rand([40, n], C, 2 * O, std=0.5), "bias": rand([41, n], 2 * O if n % 2 else O)}
    if kind in ("mask_only", "gat_originated"):
        weights["att_mh_1"] = rand([42, n], 1, 2, 2 * O)
    run("supergat", supergat, [(kind.replace("_", "-"), base | {"heads": 2, "attention_type": kind, "concat": bool(n % 2), "negative_slope": 0.3},
                                {"x": rand([43, n], 9, C), "edge_index": E1, "neg_edge_index": edges(3, 9, 9, 8)}, weights)], "edges into each node, one after another")
