# SPDX-License-Identifier: Apache-2.0
"""Writes case files: safetensors of F32, I64, U8 and BOOL tensors `in.NAME`, `weight.NAME`, `out.NAME` and string metadata."""
import json
import struct

import numpy as np

_NAMES = {np.dtype("float32"): "F32", np.dtype("int64"): "I64", np.dtype("bool"): "BOOL", np.dtype("uint8"): "U8"}


def write_case(path, mechanism, params, tensors, source, note, rtol="1e-4", atol="1e-5"):
    header = {"__metadata__": {"mechanism": mechanism, "params": json.dumps(params, sort_keys=True), "rtol": rtol,
                               "atol": atol, "source": source, "note": note}}
    blobs, at = [], 0
    # Wider elements first, so that each tensor stays aligned to its element.
    for name, a in sorted(tensors.items(), key=lambda t: (-np.asarray(t[1]).dtype.itemsize, t[0])):
        a = np.asarray(a)
        blob = a.astype(a.dtype.newbyteorder("<")).tobytes(order="C")
        header[name] = {"dtype": _NAMES[a.dtype], "shape": list(a.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))
