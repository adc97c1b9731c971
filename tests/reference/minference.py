# SPDX-License-Identifier: Apache-2.0
"""minference: what the kernel's walk over lines sees, as sets of keys; the choices from float64 scores."""
import torch

from autograd import draw, run


def causal(N):
    return torch.ones(N, N, dtype=torch.bool).tril()


def lines(p, q, k):  # of one head, N D
    N, D = q.shape
    last = min(p.get("last_q", 64), N)
    a = (q @ k.T / D**0.5).masked_fill(~causal(N), -torch.inf).softmax(-1)[N - last:]
    columns, offsets = a.sum(0), torch.stack([sum(a[r, N - last + r - s] for r in range(last) if N - last + r >= s) for s in range(N)])
    columns[:30] = torch.inf
    offsets[:100] = torch.inf
    pick = lambda x, n: sorted(torch.sort(x, descending=True, stable=True).indices[:n].tolist())
    return pick(columns, max(p.get("vertical_size", 1000), 30)), pick(offsets, max(p.get("slash_size", 6096), 50))[::-1]


def seen_by_lines(p, vertical, slash, N):
    size = p.get("block_size", 64)
    sees = torch.zeros(N, N, dtype=torch.bool)
    for end in range(size, N + size, size):
        ranges = []
        for s in slash:
            if s >= end:
                continue
            stop = max(end - s, size)
            if not ranges or stop > ranges[-1][1] + size:
                ranges.append([stop - size, stop])
            elif stop > ranges[-1][1]:
                ranges[-1][1] += size
        keys = {j for a, b in ranges for j in range(a, b)} | {j for j in vertical if j < ranges[-1][1]}
        sees[end - size:end, sorted(j for j in keys if j < N)] = True
    return sees & causal(N)


def seen_by_blocks(p, q, k):
    N, D = q.shape
    size = p.get("block_size", 64)
    nb = -(-N // size)
    means = [torch.stack([x[b * size:(b + 1) * size].sum(0) / size for b in range(nb)]) for x in (q, k)]
    scores = means[0] @ means[1].T
    sees = torch.zeros(N, N, dtype=torch.bool)
    for r in range(nb):
        for c in scores[r, :r + 1].topk(min(p.get("top_k", 100), r + 1)).indices.tolist():
            sees[r * size:(r + 1) * size, c * size:(c + 1) * size] = True
    return sees & causal(N)


def reference(p, inputs, w):
    q, k, v = (inputs[n][0].transpose(0, 1) for n in "qkv")
    H, N, D = q.shape
    pattern = p.get("pattern", "vertical_and_slash")
    more, masks = {}, []
    for h in range(H):
        qh, kh = q[h].detach(), k[h].detach()
        if pattern == "vertical_and_slash":
            vertical, slash = lines(p, qh, kh)
            more.setdefault("vertical_indices", []).append(vertical)
            more.setdefault("slash_indices", []).append(slash)
            masks.append(seen_by_lines(p, vertical, slash, N))
        elif pattern == "block_sparse":
            masks.append(seen_by_blocks(p, qh, kh))
        else:
            back = torch.arange(N)[:, None] - torch.arange(N)
            masks.append(causal(N) & ((back < p.get("n_local", 4096)) | (torch.arange(N) < p.get("n_init", 1024))))
    masks = torch.stack(masks)
    s = (q @ k.transpose(1, 2) / D**0.5).masked_fill(~masks, -torch.inf)
    m = s.softmax(-1).masked_fill(~masks, 0)
    if pattern != "a_shape":
        more["key_counts"] = masks.sum(-1).tolist()
    return {"out": (m @ v).transpose(0, 1)[None], **{n: torch.tensor(a) for n, a in more.items()}}


def case(name, seed, N, H=1, D=2, scale=1.5, **p):
    return name, p, draw(seed, scale, q=(1, N, H, D), k=(1, N, H, D), v=(1, N, H, D)), {}


run("minference", reference, [
    case("short", 1, 21, H=2, D=3), case("one-block", 2, 64, last_q=64, vertical_size=30, slash_size=200), case("uneven", 3, 261, vertical_size=40, slash_size=103, last_q=64),
    case("small-blocks", 4, 131, vertical_size=36, slash_size=108, last_q=16, block_size=8), case("few-rows", 5, 130, vertical_size=33, slash_size=101, last_q=5, block_size=32),
    case("blocks", 6, 67, H=2, pattern="block_sparse", top_k=2, block_size=8), case("blocks-all", 7, 70, pattern="block_sparse"), case("blocks-one", 8, 40, pattern="block_sparse", top_k=1, block_size=8),
    case("a-shape", 9, 41, H=2, pattern="a_shape", n_init=6, n_local=9), case("a-shape-local", 10, 33, pattern="a_shape", n_init=0, n_local=4), case("a-shape-short", 11, 9, pattern="a_shape")],
    "the keys seen as sets", rtol="1e-3")
