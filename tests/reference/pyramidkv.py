# SPDX-License-Identifier: Apache-2.0
"""pyramidkv: a query at a time; the schedule as a list a layer; pooling by windows of a list."""
import torch

from autograd import rand, run


def capacities(p, N):
    L, w, most_kept = p["num_hidden_layers"], p["window_size"], p["max_capacity_prompt"]
    c = most_kept - w
    if N < most_kept:
        return [N - w] * L
    if p["selector"] == "snapkv" or N < 2 * c:
        return [c] * L
    low = c // p["beta"]
    high = 2 * c - low
    if high >= N - w:
        high = N - w
        low = 2 * c - high
    return [high - l * ((high - low) // max(L - 1, 1)) for l in range(L)]


def reference(p, inputs, _):
    q, k = inputs["q"], inputs["k"]
    B, N, H, D = q.shape
    G, w, side = k.shape[2], p["window_size"], p["kernel_size"] // 2
    scores = torch.zeros(B, H, N, dtype=torch.float64)
    for h in range(H):
        for i in range(N - w, N):
            a = (k[:, :i + 1, h // (H // G)] @ q[:, i, h, :, None])[..., 0] / D**0.5
            scores[:, h, :i + 1] += a.softmax(1)
    grouped = scores[..., :N - w].view(B, G, H // G, N - w)
    grouped = {"mean": grouped.mean, "max": grouped.amax, "sum": grouped.sum}[p["gqa_score_agg"]](2)
    pooled = torch.zeros_like(grouped)
    for j in range(N - w):
        near = grouped[..., max(0, j - side):j + side + 1]
        pooled[..., j] = near.amax(-1) if p["pooling"] == "maxpool" else near.sum(-1) / p["kernel_size"]
    sizes = capacities(p, N)
    outs = {"out": pooled, "capacities": torch.tensor(sizes)}
    for l in range(len(sizes)):
        if sizes[l]:  # a file has no empty tensors
            outs[f"indices_l{l}"] = pooled.detach().topk(sizes[l]).indices.sort().values  # torch says which of equals stay
    return outs


def case(name, seed, N, H, G, B=1, **more):
    params = {"selector": "pyramidkv", "num_hidden_layers": 3, "window_size": 4, "max_capacity_prompt": 12, "kernel_size": 3, "pooling": "avgpool", "beta": 20,
              "gqa_score_agg": "mean"} | more
    return name, params, {"q": rand([seed, 0], B, N, H, 4, std=1.5), "k": rand([seed, 1], B, N, G, 4, std=1.5), "v": rand([seed, 2], B, N, G, 4)}, {}


run("pyramidkv", reference, [
    case("snapkv", 1, 24, 2, 2, selector="snapkv"), case("snapkv-grouped", 2, 20, 4, 2, B=2, selector="snapkv"), case("below-two-budgets", 3, 14, 2, 2),
    case("everything-stays", 4, 10, 2, 1), case("wide-top", 5, 18, 2, 2, num_hidden_layers=6, beta=4), case("steep", 6, 40, 4, 2, num_hidden_layers=4, beta=2),
    case("nothing-at-the-top", 10, 30, 2, 2), case("one-layer", 11, 30, 2, 2, num_hidden_layers=1), case("maxpool", 7, 10, 4, 2, pooling="maxpool", kernel_size=5),
    case("maxpool-of-one", 8, 30, 2, 2, pooling="maxpool", kernel_size=1), case("largest-head", 9, 26, 4, 2, gqa_score_agg="max"), case("summed-heads", 12, 18, 4, 2, gqa_score_agg="sum"),
    case("ten-layers", 13, 45, 3, 1, num_hidden_layers=10, beta=3, kernel_size=7, window_size=5, max_capacity_prompt=16),
    case("maxpool-ties", 14, 60, 4, 2, B=2, pooling="maxpool", kernel_size=5, window_size=6, max_capacity_prompt=22, beta=5),
    case("maxpool-few-of-many", 15, 300, 2, 2, pooling="maxpool", kernel_size=7, window_size=4, max_capacity_prompt=8, beta=2)], "a query at a time")
