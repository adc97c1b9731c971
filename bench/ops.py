# SPDX-License-Identifier: Apache-2.0
"""Ops beside eager torch on the same numbers and threads: microseconds of each, and torch's over heed's. Medians of rounds taken in
turns; a call of a few microseconds is timed by many at once. With several passes over all calls, minutes apart, the median of each call's
ratios: a machine that is shared has slow moments, which last longer than a call's rounds.

  ops.py [--threads T] [--rounds R] [--passes P] [--below] [--json FILE] [CLASS or part of a name...]
"""
import argparse
import json
import statistics
import time

import torch
from op_cases import CLASSES, FLOORS


def seconds(call, times):
    start = time.perf_counter()
    for _ in range(times):
        call()
    return (time.perf_counter() - start) / times


def measure(calls, rounds, room):
    """Medians of each call's seconds; a round takes some calls of each, about `room` seconds together."""
    for call in calls:
        call()
    slowest = max(seconds(call, 3) for call in calls)
    times = max(1, int(room / rounds / slowest / len(calls)))
    taken = [[seconds(call, times) for call in calls] for _ in range(rounds)]
    return [statistics.median(row) for row in zip(*taken)]


def one_pass(options):
    """(class, name): (seconds of heed, of torch)."""
    taken = {}
    torch.manual_seed(0)
    for kind, cases in CLASSES.items():
        for name, mine, theirs in cases():
            if options.names and not any(n == kind or n in name for n in options.names):
                continue
            a, b = mine().double(), theirs().double()
            assert a.shape == b.shape and (a - b).abs().nan_to_num().max() <= 1e-3 * b.abs().nan_to_num(posinf=1, neginf=1).max(), name
            taken[kind, name] = measure((mine, theirs), options.rounds, options.room)
    return taken


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--rounds", type=int, default=15)
    p.add_argument("--room", type=float, default=0.06, help="seconds a case, about")
    p.add_argument("--passes", type=int, default=1)
    p.add_argument("--below", action="store_true", help="print only what is below its floor")
    p.add_argument("--json", help="write the table here, too")
    p.add_argument("names", nargs="*")
    options = p.parse_args()
    torch.set_num_threads(options.threads)  # heed's too: both stand on one pool
    passes = [one_pass(options) for _ in range(options.passes)]
    table, below = [], 0
    print(f"{'class':13}{'op':52}{'heed us':>10}{'torch us':>10}{'ratio':>8}")
    for kind, name in passes[0]:
        floor = FLOORS.get(kind, 1)
        heed, eager = zip(*(taken[kind, name] for taken in passes))
        ratio = statistics.median(e / h for h, e in zip(heed, eager))
        heed, eager = statistics.median(heed) * 1e6, statistics.median(eager) * 1e6
        below += ratio < floor
        table.append({"class": kind, "op": name, "heed_us": heed, "torch_us": eager, "ratio": ratio, "floor": floor})
        if ratio < floor or not options.below:
            print(f"{kind:13}{name:52}{heed:10.1f}{eager:10.1f}{ratio:8.2f}{'  below' if ratio < floor else ''}")
    print(f"{len(table)} calls on {options.threads} threads, {below} slower than torch allows (1, or 3 times for {', '.join(FLOORS)})")
    if options.json:
        with open(options.json, "w") as file:
            json.dump(table, file, indent=1)


with torch.no_grad():
    main()
