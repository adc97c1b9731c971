# SPDX-License-Identifier: Apache-2.0
"""flexprefill: the choice of blocks by sorted float64 tensors, the attention over token pairs."""
import torch

from autograd import draw, run


def blocks_of(x, size):
    return torch.stack([part.sum() for part in x.split(size)])


def kept(p, q, k):  # of one head, N D
    N, D = q.shape
    size, gamma = p.get("block_size", 128), p.get("gamma", 0.9)
    nb, rows = -(-N // size), min(size, N)
    least, most = -(-(p.get("min_budget") or 1) // size), min(nb, -(-(p.get("max_budget") or 2**31 - 1) // size))
    a = (q @ k.T / D**0.5).masked_fill(torch.ones(N, N, dtype=torch.bool).triu(1), -torch.inf).softmax(-1)[N - rows:]
    vertical = a.mean(0)
    slash = torch.stack([sum(a[r, N - rows + r - s] for r in range(rows) if N - rows + r >= s) / rows for s in range(N - 1, -1, -1)])  # by the last row's column

    def count(x):
        n = (int((x.sort(descending=True).values.cumsum(0) <= gamma).sum()) + 1) // 128 + 1
        return min(max(n, least), most)

    columns, diagonals = count(vertical), count(slash)
    vertical, slash = blocks_of(vertical, size), blocks_of(slash, size)
    mean_k = torch.stack([x.mean(0) for x in k.split(size)])
    guess = (q[N - rows:].mean(0) @ mean_k.T / D**0.5).softmax(-1)
    m = (guess + vertical) / 2
    gap = (0.5 * (guess * (guess / m).log()).sum() + 0.5 * (vertical * (vertical / m).log()).sum()).sqrt()
    mask = torch.zeros(nb, nb, dtype=torch.bool)
    assert not p.get("tau") or abs(gap - p["tau"]) > 1e-4
    if gap < p.get("tau", 0):
        columns = diagonals = min(least, nb)
        mean_q = torch.stack([x.mean(0) for x in q.split(size)])
        pairs = (mean_q @ mean_k.T / D**0.5).masked_fill(torch.ones(nb, nb, dtype=torch.bool).triu(1), -torch.inf).softmax(-1).flatten()
        values, at = pairs.sort(descending=True)
        mask.view(-1)[at[values.cumsum(0) <= gamma * nb]] = True
    vertical[0] = slash[-1] = torch.inf
    for c in vertical.topk(columns).indices:
        mask[:, c] = True
    for s in slash.topk(diagonals).indices:
        for r in range(nb):
            if r >= nb - 1 - s:
                mask[r, r - (nb - 1 - s)] = True
    return mask.tril()


def reference(p, inputs, w):
    q, k, v = (inputs[n][0].transpose(0, 1) for n in "qkv")
    H, N, D = q.shape
    k, v = (x.repeat_interleave(H // len(x), 0) for x in (k, v))
    size = p.get("block_size", 128)
    masks = torch.stack([kept(p, q[h].detach(), k[h].detach()) for h in range(H)])
    sees = masks.repeat_interleave(size, 1).repeat_interleave(size, 2)[:, :N, :N].tril()
    s = (q @ k.transpose(1, 2) / D**0.5).masked_fill(~sees, -torch.inf)
    return {"out": (s.softmax(-1) @ v).transpose(0, 1)[None], "block_mask": masks}


def case(name, seed, N, H=2, G=1, D=2, scale=1.5, **p):
    return name, p, draw(seed, scale, q=(1, N, H, D), k=(1, N, G, D), v=(1, N, G, D)), {}


run("flexprefill", reference, [
    case("pairs", 1, 61, H=4, G=2, gamma=0.6, tau=0.3, block_size=8), case("pairs-budget", 2, 77, gamma=0.5, tau=1.0, block_size=8, min_budget=20), case("least", 3, 100, gamma=0.9, block_size=8, min_budget=35), case("most", 4, 300, H=1, D=1, gamma=0.99, block_size=16, max_budget=32, scale=0.5), case("least-above-most", 5, 60, gamma=0.7, block_size=8, min_budget=40, max_budget=16),
    case("short", 6, 21, gamma=0.95), case("two-blocks", 7, 50, gamma=0.95, tau=0.1, block_size=32), case("counts", 8, 330, H=1, D=1, gamma=0.95, block_size=16, scale=0.4), case("all", 9, 40, gamma=0.9, block_size=8, min_budget=1024, tau=0.5)],
    "blocks by sorted tensors", rtol="1e-3")
