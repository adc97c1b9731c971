# SPDX-License-Identifier: Apache-2.0
"""attend() of a few queries over many keys, beside torch's SDPA: what `bench/attend.py --decode` runs.

Each case has so many layers of keys and values that they come from memory. GB/s count every key and value once; the share is that
of `heed doctor`'s reading, measured before and after each case.
"""
import json
import pathlib
import statistics
import time

import torch
from torch.nn.functional import scaled_dot_product_attention as sdpa

import heed

# queries, heads, key heads, width, keys, layers
CASES = [(1, 32, 8, 128, 32768, 1), (1, 9, 3, 64, 8192, 30), (4, 9, 3, 64, 8192, 30), (1, 8, 8, 128, 32768, 1), (1, 16, 1, 128, 65536, 2)]
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def folded(q, k, v):
    """The query heads that read one key head as rows of it: (1, H, n, D) with keys (1, G, M, D)."""
    rows = q.reshape(1, k.shape[1], -1, q.shape[-1])
    return sdpa(rows, k, v).reshape(q.shape)


def error_of(out, q, k, v):
    """The largest error of all rows against float64, head by head."""
    group, worst, largest = q.shape[2] // k.shape[2], 0.0, 0.0
    for h in range(q.shape[2]):
        keys, values = k[0, :, h // group].double(), v[0, :, h // group].double()
        want = (q[0, :, h].double() @ keys.T / q.shape[-1] ** 0.5).softmax(-1) @ values
        worst, largest = max(worst, (out[0, :, h].double() - want).abs().max().item()), max(largest, want.abs().max().item())
    return worst / largest


def measure(case, dtype, threads, rounds, doctor):
    n, heads, groups, width, keys, layers = case
    make = lambda *shape: torch.randn(shape).to(dtype)
    q = make(1, n, heads, width)
    side_by_side = [(make(1, keys, groups, width), make(1, keys, groups, width)) for _ in range(layers)]
    apart = [tuple(x.transpose(1, 2).contiguous() for x in layer) for layer in side_by_side]
    turned = q.transpose(1, 2).contiguous()
    cache = [tuple(x.transpose(1, 2) for x in layer) for layer in apart]
    runs = {
        "heed": lambda: [heed.attend(q, k, v, threads=threads) for k, v in side_by_side],
        "heed, heads apart": lambda: [heed.attend(q, k, v, threads=threads) for k, v in cache],
        "torch folded": lambda: [folded(turned, k, v).transpose(1, 2) for k, v in apart],
        "torch enable_gqa": lambda: [sdpa(turned, k, v, enable_gqa=heads != groups).transpose(1, 2) for k, v in apart],
    }
    bound = 2e-5 if dtype == torch.float32 else 2**-6
    errors = {name: error_of(torch.as_tensor(run()[0]), q, *side_by_side[0]) for name, run in runs.items()}
    for name, error in errors.items():
        if error > bound:
            raise SystemExit(f"{name}: error {error:.2g} above {bound:.2g}")
    seconds = {name: [] for name in runs}
    before = doctor()["peaks"]["read"]
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    read = (before + doctor()["peaks"]["read"]) / 2
    size = 2 * layers * keys * groups * width * q.element_size()
    return read, errors, {name: size / statistics.median(s) * 1e-9 for name, s in seconds.items()}


def run(args, doctor):
    rows = []
    for case in CASES:
        for name in args.dtypes.split(","):
            read, errors, rates = measure(case, DTYPES[name], args.threads, args.rounds, doctor)
            n, heads, groups, width, keys, layers = case
            rows.append({"dtype": name, "queries": n, "heads": heads, "key_heads": groups, "width": width, "keys": keys, "layers": layers,
                         "read": read, "errors": errors, "gbytes": rates})
            cells = "  ".join(f"{way} {rate:5.1f}" for way, rate in rates.items())
            print(f"{name:5} {n} of {heads}/{groups} x {width}, {keys} keys x {layers}:  {cells} GB/s  "
                  f"heed at {rates['heed'] / read:.0%} of {read:.1f}", flush=True)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(rows, indent=2))
