# SPDX-License-Identifier: Apache-2.0
"""heed.ops.scan against the chunked form written in torch, same inputs, same threads, and the time a token from 1k to 1M tokens.

    python bench/scan.py [--threads N] [--lengths 1024,32768,...] [--width 64] [--heads 8] [--repeat R]

Both sides compute in f32 and are compared before they are timed. With one thread the thread's own CPU time is taken, otherwise the clock; the
least of the repeats counts. torch gets the layout it likes best, (B, H, N, D), and the best of three chunk lengths.
"""
import argparse
import time

import torch

import heed


def chunked(q, k, v, g, C):
    """Decay by token and head (g: B, H, N) or none: masked products inside a chunk, a state between chunks."""
    B, H, N, D = q.shape
    q, k, v = (x.reshape(B, H, N // C, C, -1) for x in (q, k, v))
    weights = q @ k.transpose(-1, -2)
    if g is None:
        weights, reading, writing, keep = weights.tril(), q, k, None
    else:
        G = g.reshape(B, H, N // C, C).cumsum(-1)
        weights = weights * (G[..., :, None] - G[..., None, :]).tril().exp().tril()
        reading, writing, keep = q * G.exp()[..., None], k * (G[..., -1:] - G).exp()[..., None], G[..., -1, None, None].exp()
    return inside_and_between(weights, reading, writing, keep, v).reshape(B, H, N, -1)


def inside_and_between(weights, reading, writing, keep, v):
    added = writing.transpose(-1, -2) @ v
    S, states = torch.zeros_like(added[:, :, 0]), []
    for i in range(added.shape[2]):
        states.append(S)
        S = added[:, :, i] + (S if keep is None else S * keep[:, :, i])
    return weights @ v + reading @ torch.stack(states, 2)


def by_channel(q, k, v, g, C):
    """Decay by token, head and channel (gated linear attention); divides by cumulative products, so chunks must be short."""
    B, H, N, D = q.shape
    q, k, v, g = (x.reshape(B, H, N // C, C, -1) for x in (q, k, v, g))
    G = g.cumsum(-2)
    reading, writing, keep = q * G.exp(), k * (G[..., -1:, :] - G).exp(), G[..., -1, :, None].exp()
    weights = (reading @ (k * (-G).exp()).transpose(-1, -2)).tril()
    return inside_and_between(weights, reading, writing, keep, v).reshape(B, H, N, -1)


def delta(q, k, v, g, beta, C):
    """Gated DeltaNet: the triangular system of a chunk, then a walk over chunks."""
    B, H, N, D = q.shape
    q, k, v, beta = (x.reshape(B, H, N // C, C, -1) for x in (q, k, v, beta))
    G = g.reshape(B, H, N // C, C).cumsum(-1)
    mask = (G[..., :, None] - G[..., None, :]).tril().exp().tril()
    system = torch.eye(C) + ((k * beta) @ k.transpose(-1, -2) * mask).tril(-1)
    right = torch.cat([v * beta, k * beta * G.exp()[..., None]], -1)
    U, W = torch.linalg.solve_triangular(system, right, upper=False, unitriangular=True).split([v.shape[-1], D], -1)
    weights, reading = q @ k.transpose(-1, -2) * mask, q * G.exp()[..., None]
    writing, keep = k * (G[..., -1:] - G).exp()[..., None], G[..., -1, None, None].exp()
    S, outs = torch.zeros(B, H, D, v.shape[-1]), []
    for i in range(N // C):
        u = U[:, :, i] - W[:, :, i] @ S
        outs.append(reading[:, :, i] @ S + weights[:, :, i] @ u)
        S = S * keep[:, :, i] + writing[:, :, i].transpose(-1, -2) @ u
    return torch.stack(outs, 2).reshape(B, H, N, -1)


def least(call, repeat, threads):
    clock = time.CLOCK_THREAD_CPUTIME_ID if threads == 1 else time.CLOCK_MONOTONIC
    best = float("inf")
    for _ in range(repeat):
        begin = time.clock_gettime(clock)
        call()
        best = min(best, time.clock_gettime(clock) - begin)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lengths", default="1024,32768,1048576")
    parser.add_argument("--against", type=int, default=4096, help="tokens of the comparison with torch")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--repeat", type=int, default=7)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    H, D = a.heads, a.width

    def inputs(B, N):
        q, k, v = (torch.randn(B, N, H, D) * s for s in (1, D ** -0.5, 1))
        return q, k, v, -0.2 * torch.rand(B, N, H), -0.2 * torch.rand(B, N, H, D), torch.rand(B, N, H)

    kinds = {
        "no decay": (lambda q, k, v, g, c, b: {}, lambda q, k, v, g, c, b, C: chunked(q, k, v, None, C), (64, 128, 256)),
        "by token": (lambda q, k, v, g, c, b: {"decay": g[..., None]}, lambda q, k, v, g, c, b, C: chunked(q, k, v, g, C), (32, 64, 128)),
        "by channel": (lambda q, k, v, g, c, b: {"decay": c}, lambda q, k, v, g, c, b, C: by_channel(q, k, v, c, C), (16, 32, 64)),
        "delta rule": (lambda q, k, v, g, c, b: {"decay": g[..., None], "beta": b}, lambda q, k, v, g, c, b, C: delta(q, k, v, g, b, C), (32, 64, 128)),
    }
    with torch.no_grad():
        print(f"{H} heads of {D}, f32, {a.threads} threads; ns a token and head")
        print(f"{'':12}{'heed':>8}{'torch':>8}{'ratio':>7}   {a.against} tokens")
        x = inputs(1, a.against)
        heads_first = [y.transpose(1, 2).contiguous() for y in x]
        for name, (options, torch_form, chunks) in kinds.items():
            ours = lambda: heed.ops.scan(*x[:3], **options(*x), threads=a.threads)
            result = ours()
            out = result[0] if isinstance(result, tuple) else result
            times = []
            for C in chunks:
                want = torch_form(*heads_first, C).transpose(1, 2)
                error = float((out - want).abs().max() / want.abs().max())
                if error > 1e-4:
                    raise SystemExit(f"{name}: heed and torch differ by {error:.1e} of the largest output")
                times.append(least(lambda: torch_form(*heads_first, C), a.repeat, a.threads))
            mine, theirs, each = least(ours, a.repeat, a.threads), min(times), 1e9 / a.against / H
            print(f"{name:12}{mine * each:8.1f}{theirs * each:8.1f}{theirs / mine:7.2f}")
        lengths = [int(n) for n in a.lengths.split(",")]
        print(f"{'':12}" + "".join(f"{n:>10}" for n in lengths) + "   tokens a sequence; as many sequences as make the longest's tokens, up to 65,536")
        for name, (options, _, _) in kinds.items():
            row = []
            for N in lengths:
                B = max(1, min(max(lengths), 65536) // N)
                y = inputs(B, N)
                row.append(least(lambda: heed.ops.scan(*y[:3], **options(*y), threads=a.threads), 2 if N > 200000 else a.repeat, a.threads) / B / N / H * 1e9)
            print(f"{name:12}" + "".join(f"{t:10.1f}" for t in row))
        print("decoding: one token, state read and written once")
        S = torch.zeros(64, H, D, D)
        q, k, v, g, c, b = inputs(64, 1)
        for name, (options, _, _) in kinds.items():
            t = least(lambda: heed.ops.scan(q, k, v, **options(q, k, v, g, c, b), initial=S, return_final=True, threads=a.threads), 20, a.threads)
            print(f"{name:12}{t / 64 / H * 1e9:10.1f} ns a head, {2 * 4 * S.numel() / t * 1e-9:.1f} GB/s of states")


if __name__ == "__main__":
    main()
