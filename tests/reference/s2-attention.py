# SPDX-License-Identifier: Apache-2.0
"""s2-attention: token pairs one by one."""
import torch

from autograd import draw, run


def reference(p, inputs, w):
    q, k, v = (inputs[n].transpose(1, 2) for n in "qkv")
    H, N, D = q.shape[1:]
    k, v = (x.repeat_interleave(H // x.shape[1], 1) for x in (k, v))
    size, local, stride = p.get("block_size", 64), p.get("local_blocks", 16), p.get("vert_stride", 8)
    step = 0 if p.get("homo_head") else max(1, int(stride / H))
    nb = -(-N // size)
    kept = torch.tensor([[[int(j <= i and (i - j < local or (j + h * step + 1) % stride == 0)) for j in range(nb)] for i in range(nb)] for h in range(H)])
    sees = torch.tensor([[[j <= i and bool(kept[h, i // size, j // size]) for j in range(N)] for i in range(N)] for h in range(H)])
    s = (q @ k.transpose(2, 3) / D**0.5).masked_fill(~sees, -torch.inf)
    return {"out": (s.softmax(-1) @ v).transpose(1, 2), "block_mask": kept}


def case(name, seed, N=23, H=4, G=2, D=4, **p):
    return name, p, draw(seed, q=(1, N, H, D), k=(1, N, G, D), v=(1, N, G, D)), {}


run("s2-attention", reference, [case("one-pattern", 1, block_size=4, local_blocks=2, vert_stride=3, homo_head=True), case("grouped", 2, block_size=3, local_blocks=1, vert_stride=8, n_heads=4),
                                case("more-heads", 3, N=17, H=6, G=3, block_size=2, local_blocks=2, vert_stride=4), case("one-head", 4, N=21, H=1, G=1, block_size=4, local_blocks=1, vert_stride=5),
                                case("one-block", 5, N=5, H=2, G=1), case("single-tokens", 6, N=13, H=3, G=1, block_size=1, local_blocks=1, vert_stride=3)], "pair by pair")
