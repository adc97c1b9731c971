#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""attend() beside torch's SDPA and OpenVINO on the same tensors: runs alternate, medians are compared.

    bench/attend.py [--heads 8] [--lengths 1024,4096] [--widths 64,128] [--threads 2] [--rounds 9] [--json FILE]
    bench/attend.py --decode [--dtypes f32,bf16,f16] ...     a query over a long cache, in GB/s

Needs the Python package heed; torch and openvino take part where they are installed. Peaks are those of `heed doctor`,
measured before and after; the larger counts. Only what agrees with a product in float64 on a few rows is timed.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

import numpy as np
import torch

import heed

ROOT = pathlib.Path(__file__).resolve().parent.parent


def doctor():
    text = subprocess.run([ROOT / "build/release/heed", "doctor", "--json"], capture_output=True, text=True, check=True).stdout
    return json.loads(text)


def openvino_attention(shape, dtype, causal, threads):
    """A compiled model of one scaled_dot_product_attention over (B, H, N, D), or None."""
    try:
        import openvino as ov
        from openvino import opset13 as op
    except ImportError:
        return None
    kind = ov.Type.bf16 if dtype == torch.bfloat16 else ov.Type.f32
    batch, length, heads, width = shape
    inputs = [op.parameter([batch, heads, length, width], ov.Type.f32) for _ in range(3)]
    model = ov.Model([op.scaled_dot_product_attention(*inputs, causal=causal)], inputs)
    compiled = ov.Core().compile_model(model, "CPU", {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": kind,
                                                      "PERFORMANCE_HINT": "LATENCY"})
    return compiled.create_infer_request()


def runners(shape, dtype, causal, threads):
    q, k, v = (torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype) for seed in range(3))
    swapped = [x.transpose(1, 2).contiguous() for x in (q, k, v)]
    found = {
        "heed": lambda: heed.attend(q, k, v, causal=causal, threads=threads),
        "torch": lambda: torch.nn.functional.scaled_dot_product_attention(*swapped, is_causal=causal).transpose(1, 2),
    }
    if (request := openvino_attention(shape, dtype, causal, threads)) is not None:
        arrays = [x.float().numpy() for x in swapped]
        found["openvino"] = lambda: torch.from_numpy(np.swapaxes(request.infer(arrays, share_inputs=True)[0], 1, 2))
    return found, (q, k, v)


def check(name, out, tensors, causal, dtype):
    """The last row of each head against float64."""
    q, k, v = (x[:1].double() for x in tensors)
    score = torch.einsum("bhd,bmhd->bhm", q[:, -1], k) / q.shape[-1] ** 0.5
    want = torch.einsum("bhm,bmhd->bhd", score.softmax(-1), v)
    error = (torch.as_tensor(np.asarray(out.float() if hasattr(out, "float") else out))[:1, -1].double() - want).abs().max().item()
    bound = 2 ** -7 * want.abs().max().item() if dtype == torch.bfloat16 else 1e-5
    if error > bound:
        sys.exit(f"{name}: error {error:.2g} above {bound:.2g}")
    return error


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--heads", type=int, default=8)
    parser.add_argument("--lengths", default="1024,4096")
    parser.add_argument("--widths", default="64,128")
    parser.add_argument("--dtypes", default="f32,bf16")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json")
    parser.add_argument("--decode", action="store_true", help="few queries over many keys (bench/decode.py)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.decode:
        import decode
        return decode.run(args, doctor)
    before, rows = doctor(), []
    for dtype_name in args.dtypes.split(","):
        dtype = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype_name]
        for width in map(int, args.widths.split(",")):
            for length in map(int, args.lengths.split(",")):
                for causal in (False, True):
                    shape = (1, length, args.heads, width)
                    found, tensors = runners(shape, dtype, causal, args.threads)
                    errors = {name: check(name, run(), tensors, causal, dtype) for name, run in found.items()}
                    seconds = {name: [] for name in found}
                    for _ in range(args.rounds):
                        for name, run in found.items():
                            start = time.perf_counter()
                            run()
                            seconds[name].append(time.perf_counter() - start)
                    work = 4 * args.heads * length * length * width * (0.5 if causal else 1)
                    rows.append({"dtype": dtype_name, "shape": shape, "causal": causal, "errors": errors,
                                 "gflops": {name: work / statistics.median(s) * 1e-9 for name, s in seconds.items()}})
    after = doctor()
    peaks = {key: max(before["peaks"][key] or 0, after["peaks"][key] or 0) for key in ("f32_fma", "bf16_vdp", "bf16_amx")}
    print(f"{before['cpu']}, {args.threads} threads, peaks {peaks}")
    for row in rows:
        unit = "f32_fma" if row["dtype"] == "f32" or not peaks["bf16_vdp"] else "bf16_amx" if peaks["bf16_amx"] else "bf16_vdp"
        row["share"] = row["gflops"]["heed"] / peaks[unit]
        cells = "  ".join(f"{name} {rate:6.1f}" for name, rate in row["gflops"].items())
        print(f"{row['dtype']:5} {str(tuple(row['shape'])):20} {'causal' if row['causal'] else 'full':6}  {cells}  heed at {row['share']:.0%} of {unit}")
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({"cpu": before["cpu"], "threads": args.threads, "peaks": peaks, "rows": rows}, indent=2))


if __name__ == "__main__":
    main()
