# SPDX-License-Identifier: Apache-2.0
"""Lists of keys, segments, merging: see op_cases_base.py."""
import torch

import heed

segment = torch.tensor([2, 0, 2, 3, 0])
edges = torch.tensor([[0, 1, 2, 0, 3, 1], [1, 1, 0, 2, 2, 2]])  # sources, targets: 4 keys, 3 queries
lists = heed.ops.lists_of_edges(edges, 3)


def _segments(name):
    def reference(x):
        parts = [x[segment == s] for s in range(4)]
        if name == "softmax":
            out = torch.zeros_like(x)
            return sum(out.index_add(0, (segment == s).nonzero()[:, 0], part.softmax(0)) for s, part in enumerate(parts) if len(part))
        empty = -torch.inf if name == "max" else 0.0
        reduce = {"sum": lambda p: p.sum(0), "mean": lambda p: p.mean(0), "max": lambda p: p.amax(0)}[name]
        return torch.stack([reduce(p) if len(p) else torch.full(x.shape[1:], empty, dtype=x.dtype) for p in parts])
    return [(lambda o, x: getattr(o, f"segment_{name}")(x, segment, 4), reference, [(5, 2, 3)])]


def _attend(score):
    """Edge by edge; heads share the lists."""
    def reference(*tensors):
        source, target = edges
        if score == "dot":
            q, k, v, bias = tensors
            s = (q[target] * k[source].repeat_interleave(2, 1)).sum(-1) / q.shape[-1]**0.5 + bias
        elif score == "additive":
            a, b, v = tensors
            s = torch.nn.functional.leaky_relu(a[source] + b[target], 0.2)
        elif score == "leaky":
            q, k, v, att = tensors
            s = (torch.nn.functional.leaky_relu(q[target] + k[source].repeat_interleave(2, 1), 0.2) * att).sum(-1)
        w = s.exp()
        total = torch.zeros(3, 4, dtype=s.dtype).index_add(0, target, w)
        w = w / total[target]
        out = torch.zeros(3, 4, 6, dtype=s.dtype).index_add(0, target, w[..., None] * v[source].repeat_interleave(2, 1))
        return out, total.log(), w
    names = {"dot": ("q", "k", "v", "bias"), "additive": ("source", "target", "v"), "leaky": ("q", "k", "v", "att")}[score]
    shapes = {"q": (3, 4, 5), "k": (4, 2, 5), "v": (4, 2, 6), "bias": (6, 4), "source": (4, 4), "target": (3, 4), "att": (4, 5)}

    def call(o, *tensors):
        out, lse, weights = o.attend_lists(lists, **dict(zip(names, tensors)), score=score, return_lse=True, return_weights=True)
        return out, lse, weights
    return call, reference, [shapes[name] for name in names]


def _merge(a, la, b, lb):
    both = torch.logaddexp(la, lb)
    def at(l):
        return (l - both).exp().transpose(1, 2)[..., None]
    return a * at(la) + b * at(lb), both


CASES = {
    **{f"segment_{name}": _segments(name) for name in ("sum", "mean", "max", "softmax")},
    "merge": [(lambda o, *t: o.merge(*t), _merge, [(2, 3, 4, 5), (2, 4, 3), (2, 3, 4, 5), (2, 4, 3)])],
    "lists_of_edges": [(lambda o, e: o.lists_of_edges(e, 3)[:3], lambda e: (torch.tensor([0, 1, 3, 6]), e[0][e[1].argsort(stable=True)], e[1].argsort(stable=True)), [edges])],
    "transpose_lists": [(lambda o, e: o.transpose_lists(o.lists_of_edges(e, 3), 4)[:2],
                         lambda e: (torch.tensor([0, 2, 4, 5, 6]), torch.tensor([1, 2, 1, 2, 0, 2])), [edges])],
    "lists_of_table": [(lambda o, t: o.lists_of_table(t, 4)[:2], lambda t: (torch.tensor([0, 2, 3]), torch.tensor([3, 1, 0])), [torch.tensor([[[3, 1], [0, -1]]])])],
    "attend_lists": [_attend(score) for score in ("dot", "additive", "leaky")],
}
