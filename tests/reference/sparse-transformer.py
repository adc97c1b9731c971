# SPDX-License-Identifier: Apache-2.0
"""sparse-transformer: token pairs one by one; the summary columns as a list of blocks counted from the end."""
import torch

from autograd import draw, run


def reference(p, inputs, w):
    q, k, v = (inputs[n].transpose(1, 2) for n in "qkv")
    H, N, D = q.shape[1:]
    mode, l = p.get("attn_mode", "strided"), p.get("local_attn_ctx", 128)
    width, size = p.get("vertsize", 1), p.get("blocksize", 32)
    blocks = list(range(l // size - 1, -1, -1)) if mode == "fixed" else []

    def sees(h, i, j):
        if j > i:
            return False
        if mode == "all":
            return True
        if mode == "local":
            return i - j < l
        if mode == "strided":
            return (i - j) % l == 0
        group = h % p.get("num_verts", 1)
        return j // l == i // l or j % l // size in blocks[group * width:(group + 1) * width]

    mask = torch.tensor([[[sees(h, i, j) for j in range(N)] for i in range(N)] for h in range(H)])
    s = (q @ k.transpose(2, 3) / D**0.5).masked_fill(~mask, -torch.inf)
    return {"out": (s.softmax(-1) @ v).transpose(1, 2), "mask": mask}


def case(name, seed, mode, l, N=23, H=2, D=3, **p):
    return name, {"attn_mode": mode, "local_attn_ctx": l, **p}, draw(seed, q=(1, N, H, D), k=(1, N, H, D), v=(1, N, H, D)), {}


run("sparse-transformer", reference, [
    case("local", 1, "local", 5, heads=2), case("strided", 2, "strided", 4), case("strided-long", 3, "strided", 30, N=11), case("fixed", 4, "fixed", 8, blocksize=2, num_verts=1, vertsize=2),
    case("fixed-groups", 5, "fixed", 6, H=4, blocksize=1, num_verts=3, vertsize=1), case("fixed-two-groups", 6, "fixed", 12, N=31, H=4, blocksize=3, num_verts=2, vertsize=2, heads=4),
    case("fixed-long", 7, "fixed", 32, N=9, blocksize=4, num_verts=2, vertsize=1), case("fixed-uneven", 8, "fixed", 6, H=3, blocksize=2, num_verts=3), case("local-one", 9, "local", 1, N=5), case("all", 10, "all", 7)], "pair by pair")
