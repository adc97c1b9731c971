#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attention that leaves pairs out, beside heed's own dense attention and torch's: runs alternate, medians are compared.

    bench/sparse.py [--length 16384] [--heads 2] [--width 64] [--dtypes f32,bf16] [--kept 0.1] [--window 1024] [--threads 2] [--rounds 5]
"""
import argparse
import statistics
import time

import torch

import heed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--length", type=int, default=16384)
    parser.add_argument("--heads", type=int, default=2)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--dtypes", default="f32,bf16")
    parser.add_argument("--kept", type=float, default=0.1, help="share of the tiles that a block mask keeps")
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    print(f"{'dtype':6}{'way':26}{'ms':>9}{'x heed dense':>14}{'x torch dense':>15}")
    for dtype in args.dtypes.split(","):
        q, k, v = (torch.randn(1, args.length, args.heads, args.width).to({"f32": torch.float32, "bf16": torch.bfloat16}[dtype]) for _ in range(3))
        turned = [x.transpose(1, 2).contiguous() for x in (q, k, v)]
        ways = {}
        for causal, name in ((False, "full"), (True, "causal")):
            ways[f"heed {name}"] = name, lambda causal=causal: heed.attend(q, k, v, causal=causal, threads=args.threads)
            ways[f"torch {name}"] = name, lambda causal=causal: torch.nn.functional.scaled_dot_product_attention(*turned, is_causal=causal)
        ways[f"window {args.window}"] = "causal", lambda: heed.attend(q, k, v, causal=True, window=(args.window - 1, -1), threads=args.threads)
        for size in (64, 128):
            n = -(-args.length // size)
            keep = torch.rand(1, args.heads, n, n) < args.kept
            ways[f"{args.kept:.0%} of blocks of {size}"] = "full", lambda keep=keep, size=size: heed.attend(
                q, k, v, blocks=keep, block_size=(size, size), threads=args.threads)
        seconds = {name: [] for name in ways}
        for _ in range(args.rounds):
            for name, (_, run) in ways.items():
                start = time.perf_counter()
                run()
                seconds[name].append(time.perf_counter() - start)
        medians = {name: statistics.median(each) for name, each in seconds.items()}
        for name, (dense, _) in ways.items():
            mine, theirs = (medians[f"{who} {dense}"] / medians[name] for who in ("heed", "torch"))
            print(f"{dtype:6}{name:26}{medians[name] * 1e3:9.1f}{mine:14.2f}{theirs:15.2f}")


if __name__ == "__main__":
    main()
