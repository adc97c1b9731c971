# SPDX-License-Identifier: Apache-2.0
"""Ops beside eager torch on the same numbers and threads: microseconds of each, and torch's over heed's. Best of some rounds, taken in
turns; with one thread its own CPU time, which other programs do not disturb.

  ops.py [--threads T] [--rounds R] [NAME...]
"""
import argparse
import time

import torch
import torch.nn.functional as F

import heed

o = heed.ops


def cases():
    x, y = torch.randn(512, 2048), torch.randn(512, 2048)
    row, gain = torch.randn(2048), torch.rand(2048)
    rows = torch.randint(0, 4096, (4096,))
    table = torch.randn(4096, 256)
    at = torch.randint(0, 2048, (512, 512))
    small = torch.randn(4096, 64)
    for name in ("exp", "tanh", "sigmoid", "erf"):
        yield name, lambda t, n=name: getattr(o, n)(x, threads=t), lambda n=name: getattr(torch, n)(x)
    yield "gelu", lambda t: o.gelu(x, threads=t), lambda: F.gelu(x)
    yield "gelu by tanh", lambda t: o.gelu(x, by_tanh=True, threads=t), lambda: F.gelu(x, approximate="tanh")
    yield "silu", lambda t: o.silu(x, threads=t), lambda: F.silu(x)
    yield "relu", lambda t: o.relu(x, threads=t), lambda: F.relu(x)
    yield "add", lambda t: o.add(x, y, threads=t), lambda: x + y
    yield "mul by a row", lambda t: o.mul(x, row, threads=t), lambda: x * row
    yield "softmax", lambda t: o.softmax(x, -1, threads=t), lambda: x.softmax(-1)
    yield "softmax of 64", lambda t: o.softmax(small, -1, threads=t), lambda: small.softmax(-1)
    yield "log_softmax", lambda t: o.log_softmax(x, -1, threads=t), lambda: x.log_softmax(-1)
    yield "logsumexp", lambda t: o.logsumexp(x, -1, threads=t), lambda: x.logsumexp(-1)
    yield "layer_norm", lambda t: o.layer_norm(x, gain, row, threads=t), lambda: F.layer_norm(x, (2048,), gain, row)
    yield "rms_norm", lambda t: o.rms_norm(x, gain, threads=t), lambda: F.rms_norm(x, (2048,), gain, 1e-6)
    yield "sum of rows", lambda t: o.sum(x, [1], threads=t), lambda: x.sum(1)
    yield "sum of columns", lambda t: o.sum(x, [0], threads=t), lambda: x.sum(0)
    yield "mean of all", lambda t: o.mean(x, [0, 1], threads=t), lambda: x.mean()
    yield "max of rows", lambda t: o.max(x, [1], threads=t), lambda: x.amax(1)
    yield "gather", lambda t: o.gather(x, 1, at, threads=t), lambda: x.gather(1, at)
    yield "index_select", lambda t: o.index_select(table, 0, rows, threads=t), lambda: table.index_select(0, rows)
    yield "scatter_add", lambda t: o.scatter_add(y[:, :512], 1, at, 2048, threads=t), lambda: torch.zeros(512, 2048).scatter_add(1, at, y[:, :512])
    yield "index_add", lambda t: o.index_add(table, 0, rows, 4096, threads=t), lambda: torch.zeros(4096, 256).index_add(0, rows, table)
    yield "topk 8", lambda t: o.topk(x, 8, 1, threads=t)[0], lambda: x.topk(8, 1)[0]
    yield "topk 256", lambda t: o.topk(x, 256, 1, threads=t)[0], lambda: x.topk(256, 1)[0]
    yield "sort", lambda t: o.sort(x, 1, threads=t)[0], lambda: torch.sort(x, dim=1, stable=True)[0]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=30)
    p.add_argument("names", nargs="*")
    options = p.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.thread_time if options.threads == 1 else time.perf_counter
    print(f"{'op':16}{'heed us':>10}{'torch us':>10}{'ratio':>8}")
    for name, mine, theirs in cases():
        if options.names and name not in options.names:
            continue
        a, b = mine(options.threads), theirs()
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-4), name
        best = [float("inf")] * 2
        for _ in range(options.rounds):
            for i, call in enumerate((lambda: mine(options.threads), theirs)):
                start = clock()
                call()
                best[i] = min(best[i], clock() - start)
        print(f"{name:16}{best[0] * 1e6:10.0f}{best[1] * 1e6:10.0f}{best[1] / best[0]:8.2f}")


with torch.no_grad():
    main()
