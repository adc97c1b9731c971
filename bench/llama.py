#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`heed generate` beside llama.cpp on one GGUF file: tokens a second reading a prompt, and writing at that depth.

    bench/llama.py MODEL.gguf TEXT [--lengths 512,4096,8000] [--threads 2] [--rounds 3] [--with WAY]... [--json FILE]

Needs the package llama-cpp-python, which pip builds from source (about nine minutes on two cores): pip install llama-cpp-python.
Runs alternate in processes of their own; medians are printed, and the ratio to the better of llama.cpp's flash_attn off and on.
"""
import argparse
import ctypes
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

HEED = pathlib.Path(__file__).resolve().parent.parent / "build/release/heed"


def peer(args):
    """One run of llama.cpp in this process: JSON to stdout."""
    from llama_cpp import Llama
    model = Llama(args.model, n_ctx=8192, n_batch=512, n_threads=args.threads, n_threads_batch=args.threads, flash_attn=args.flash, verbose=False)
    ids = model.tokenize(pathlib.Path(args.text).read_bytes(), add_bos=False)
    model.eval(ids[:32])  # warm
    model.reset()
    start = time.perf_counter()
    model.eval(ids)
    token = model.sample(temp=0.0)
    read = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(args.tokens):
        model.eval([token])
        token = model.sample(temp=0.0)
    write = time.perf_counter() - start
    print(json.dumps({"tokens": len(ids), "read": len(ids) / read, "write": args.tokens / write}))


def run_peer(args, text, flash):
    command = [sys.executable, __file__, args.model, str(text), "--threads", str(args.threads), "--tokens", str(args.tokens), "--peer"]
    done = subprocess.run(command + (["--flash"] if flash else []), capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"llama.cpp: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout.splitlines()[-1])


def run_heed(args, text, way):
    done = subprocess.run([HEED, "generate", "--model", args.model, "--text", text, "--tokens", str(args.tokens), "--threads", str(args.threads),
                           "--with", way, "--timing"], capture_output=True, text=True, errors="replace")
    found = re.search(r"read (\d+) tokens in [\d.]+ s \(([\d.]+) tokens/s\), wrote \d+ \(([\d.]+) tokens/s\)", done.stderr)
    if done.returncode or not found:
        sys.exit(f"heed: {done.stderr.strip()}")
    return {"tokens": int(found[1]), "read": float(found[2]), "write": float(found[3])}


def cut(args, length, folder):
    """The text's first bytes that are `length` tokens for llama.cpp."""
    import llama_cpp
    from llama_cpp import Llama

    silence = llama_cpp.llama_log_callback(lambda *_: None)  # a model of words alone has no context to warn of
    llama_cpp.llama_log_set(silence, ctypes.c_void_p())
    whole = pathlib.Path(args.text).read_bytes()
    low, high = 1, len(whole)
    path = pathlib.Path(folder) / f"{length}.txt"
    model = Llama(args.model, vocab_only=True, verbose=False)
    while low < high:
        middle = (low + high + 1) // 2
        if len(model.tokenize(whole[:middle], add_bos=False)) <= length:
            low = middle
        else:
            high = middle - 1
    path.write_bytes(whole[:low])
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--lengths", default="512,4096,8000")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--with", dest="ways", action="append", default=[])
    parser.add_argument("--json")
    parser.add_argument("--peer", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--flash", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peer:
        return peer(args)
    ways = ["exact", *args.ways]
    rows = []
    print(f"{'tokens':>7} {'engine':34} {'read t/s':>9} {'ratio':>6} {'write t/s':>9} {'ratio':>6}")
    with tempfile.TemporaryDirectory() as folder:
        for length in map(int, args.lengths.split(",")):
            text = cut(args, length, folder)
            runs = {}
            for _ in range(args.rounds):
                for flash in (False, True):
                    runs.setdefault(f"llama.cpp, flash_attn {'on' if flash else 'off'}", []).append(run_peer(args, text, flash))
                for way in ways:
                    runs.setdefault(f"heed, {way}", []).append(run_heed(args, text, way))
            medians = {name: {key: statistics.median(run[key] for run in each) for key in ("tokens", "read", "write")} for name, each in runs.items()}
            best = {key: max(each[key] for name, each in medians.items() if name.startswith("llama")) for key in ("read", "write")}
            for name, each in medians.items():
                rows.append({"engine": name, **each, "read_ratio": each["read"] / best["read"], "write_ratio": each["write"] / best["write"]})
                print(f"{each['tokens']:7.0f} {name:34} {each['read']:9.1f} {rows[-1]['read_ratio']:6.2f} {each['write']:9.1f} {rows[-1]['write_ratio']:6.2f}", flush=True)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
