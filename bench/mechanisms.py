# SPDX-License-Identifier: Apache-2.0
"""The torch side of `heed bench --torch | --family F`: mechanisms in eager torch, timed in turns with heed.

`heed bench` starts this and speaks JSON, a line each way. {"slug", "params", "file"} hands over tensors (safetensors: in.*, weight.*,
and heed's out.out); the answer is {"error": largest difference of the outputs as a share of the largest |out|} or {"note": why there
is nothing to time}. {"run": n} answers {"seconds": [n numbers]}.

The torch code of a mechanism is the function `eager(params, inputs, weights)` of tests/reference/SLUG.py, which gives a dictionary with
`out`; params are all of them, tensors by name.
"""
import argparse
import importlib.util
import json
import struct
import sys
import time
from pathlib import Path

REFERENCES = Path(__file__).resolve().parent.parent / "tests" / "reference"


def say(**answer):
    print(json.dumps(answer), flush=True)


def read(path):
    """The tensors of a safetensors file by name."""
    types = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "I64": torch.int64, "I32": torch.int32, "U8": torch.uint8, "BOOL": torch.bool}
    data = Path(path).read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:start])
    header.pop("__metadata__", None)

    def tensor(entry):
        begin, end = entry["data_offsets"]
        flat = torch.frombuffer(bytearray(data[start + begin:start + end]), dtype=types[entry["dtype"]]) if end > begin else torch.empty(0, dtype=types[entry["dtype"]])
        return flat.reshape(entry["shape"])
    return {name: tensor(entry) for name, entry in header.items()}


def eager(slug):
    """The function, or None. A reference writes its cases when it is run: here it must not."""
    path = REFERENCES / f"{slug}.py"
    if not path.exists() or "eager" not in path.read_text():
        return None
    sys.path.insert(0, str(REFERENCES))
    import autograd
    autograd.run = lambda *_, **__: None
    spec = importlib.util.spec_from_file_location("reference_" + slug.replace("-", "_"), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, "eager", None)


def prepare(slug, params, file):
    """The call to time, and its answer."""
    function = eager(slug)
    if function is None:
        return None, {"note": "no torch code of it in tests/reference"}
    tensors = read(file)

    def group(prefix):
        return {name[len(prefix):]: t for name, t in tensors.items() if name.startswith(prefix)}
    inputs, weights = group("in."), group("weight.")
    want = tensors["out.out"].double()

    def call():
        return function(params, inputs, weights)["out"]
    try:
        got = call().double()
    except Exception as error:  # noqa: BLE001  torch raises many kinds: the row says which
        return None, {"note": f"torch: {type(error).__name__}: {str(error).splitlines()[0][:80]}"}
    if got.shape != want.shape:
        return None, {"note": f"torch: out of shape {list(got.shape)}, heed's is {list(want.shape)}"}
    scale = max(float(want.abs().max()), 1e-30)
    return call, {"error": float((got - want).abs().max()) / scale}


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=0)
    threads = parser.parse_args().threads
    if threads:
        torch.set_num_threads(threads)
    call = None
    with torch.inference_mode():
        for line in sys.stdin:
            request = json.loads(line)
            if "slug" in request:
                call, answer = prepare(request["slug"], request["params"], request["file"])
                say(**answer)
            elif "run" in request and call:
                say(seconds=[seconds(call) for _ in range(request["run"])])
            else:
                say()


try:
    import torch
except ImportError:
    say(note=f"{sys.executable} has no torch: {sys.executable} -m pip install torch, or name another Python with --python")
    sys.exit(0)
if __name__ == "__main__":
    main()
