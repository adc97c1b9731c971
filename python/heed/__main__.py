# SPDX-License-Identifier: Apache-2.0
"""python -m heed: list, info, run, verify and doctor, as the program has them. Exit codes: 0 done, 1 the answer is no, 2 wrong use."""
import argparse
import json
import os
import sys

import heed


def _pair(text):
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"-p: expected name=value, got '{text}'")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _list(a):
    rows = heed.list(a.family)
    print(json.dumps(rows, indent=2) if a.json else
          "\n".join(f"{r['slug']:32} {r['family']:10} {r['kind']:10} {r['paper'] or ''}" for r in rows))
    return 0


def _info(a):
    print(json.dumps(heed.info(a.slug, **dict(map(_pair, a.p))), indent=2))
    return 0


def _run(a):
    tensors, metadata = heed.read_safetensors(a.file)
    inputs = {k.removeprefix("in."): v for k, v in tensors.items() if k.startswith("in.") or "." not in k}
    weights = {k.removeprefix("weight."): v for k, v in tensors.items() if k.startswith("weight.")}
    params = {**json.loads(metadata.get("params", "{}")), **dict(map(_pair, a.p))}
    results = heed.run(a.slug, inputs, weights=weights, outputs=list(dict.fromkeys(["out", *(a.output or [])])), threads=a.threads, precision=a.precision, **params)
    for name, array in results.items():
        print(name, array.dtype, list(array.shape))
    if a.out:
        heed.write_safetensors(a.out, {f"out.{name}": array for name, array in results.items()},
                               {"mechanism": a.slug, "params": json.dumps(params)})
    return 0


def _verify(a):
    passed = True
    for file in a.files:
        for e in heed.verify(file, threads=a.threads, precision=a.precision):
            print(f"{'ok  ' if e['passed'] else 'FAIL'} {file} {e['output']}: absolute {e['max_absolute']:.3g}, relative {e['max_relative']:.3g}")
            passed = passed and e["passed"]
    return 0 if passed else 1


def _doctor(a):
    print(json.dumps(heed.doctor(), indent=2))
    return 0


class _Parser(argparse.ArgumentParser):
    """Wrong use is one line."""

    def error(self, message):
        self.exit(2, f"heed: {message} ({self.prog} --help)\n")


def main(arguments=None):
    parser = _Parser(prog="python -m heed", description="attention on CPUs")
    parser.add_argument("--version", action="version", version=f"heed {heed.__version__}")
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(name, function, help_text):
        made = commands.add_parser(name, help=help_text)
        made.set_defaults(function=function)
        return made

    listing = command("list", _list, "every mechanism")
    listing.add_argument("--family")
    listing.add_argument("--json", action="store_true")
    describing = command("info", _info, "what a mechanism takes and gives, as JSON")
    describing.add_argument("slug")
    describing.add_argument("-p", action="append", default=[], help="name=value")
    running = command("run", _run, "run a mechanism on the tensors of a safetensors file")
    running.add_argument("slug")
    running.add_argument("--in", dest="file", required=True, help="tensors in.NAME and weight.NAME")
    running.add_argument("--out", help="where the outputs go")
    running.add_argument("-p", action="append", default=[], help="name=value")
    running.add_argument("--output", action="append", help="an output besides the default `out`")
    verifying = command("verify", _verify, "run case files and compare")
    verifying.add_argument("files", nargs="+")
    command("doctor", _doctor, "what this machine can do, as JSON").add_argument("--json", action="store_true")
    for each in (running, verifying):
        each.add_argument("--threads", type=int, default=0)
        each.add_argument("--precision")
    a = parser.parse_args(arguments)
    try:
        code = a.function(a)
        print(end="", flush=True)
        return code
    except (ValueError, TypeError, MemoryError) as error:
        print(f"heed: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever reads has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left is not complained about at the end
        return 141
    except OSError as error:
        print(f"heed: standard output: expected a stream that can be written, got {error.strerror}", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 2


if __name__ == "__main__":
    sys.exit(main())
