#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where the fuzzers begin: a folder a target of small valid inputs. usage: fuzz/seeds.py FOLDER

safetensors, case: the case files below 8 KiB; params: their parameters behind the byte that chooses a mechanism;
gguf: a file a tensor type, with metadata of every kind.
"""
import json
import pathlib
import struct
import sys

CASES = pathlib.Path(__file__).resolve().parent.parent / "tests" / "cases"
# Tensor type: elements and bytes of a block (F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, BF16).
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 12: (256, 144), 13: (256, 176), 14: (256, 210),
          30: (1, 2)}


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def gguf(kind, version):
    size, width = BLOCKS[kind]
    scalars = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
    keys = [text(f"k{t}") + struct.pack("<I", t) + struct.pack(form, 1) for t, form in scalars.items()]
    keys.append(text("general.architecture") + struct.pack("<I", 8) + text("llama"))
    keys.append(text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"))
    keys.append(text("types") + struct.pack("<IIQ", 9, 5, 2) + struct.pack("<ii", 1, 3))
    tensor = text("w") + struct.pack("<IQQIQ", 2, size, 2, kind, 0)
    head = b"GGUF" + struct.pack("<IQQ", version, 1, len(keys)) + b"".join(keys) + tensor
    return head + bytes(-len(head) % 32) + bytes(range(256))[:width] * 2


def main():
    root = pathlib.Path(sys.argv[1])
    files = {name: root / name for name in ("safetensors", "case", "params", "gguf")}
    for folder in files.values():
        folder.mkdir(parents=True, exist_ok=True)
    slugs = sorted({path.name.split("--")[0] for path in CASES.iterdir()})
    for path in sorted(CASES.glob("*.safetensors")):
        data = path.read_bytes()
        if len(data) >= 8192:
            continue
        (files["safetensors"] / path.stem).write_bytes(data)
        (files["case"] / path.stem).write_bytes(data)
        header = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
        params = header.get("__metadata__", {}).get("params", "{}")
        (files["params"] / path.stem).write_bytes(bytes([slugs.index(path.name.split("--")[0])]) + params.encode())
    for kind in BLOCKS:
        (files["gguf"] / f"type{kind}").write_bytes(gguf(kind, 2 + kind % 2))


main()
