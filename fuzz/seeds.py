#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Where the fuzzers begin: a folder a target of small inputs. usage: fuzz/seeds.py FOLDER

safetensors: the case files below 8 KiB; case: they and eight spoilt copies of each; params: their parameters behind the byte that chooses a mechanism; run: noise to draw from;
gguf: a file a tensor type, with metadata of every kind; model: GGUF models of one layer; config: config.json and tokenizer.json.
"""
import json
import math
import pathlib
import random
import struct
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CASES = ROOT / "tests" / "cases"
# Tensor type: elements and bytes of a block (F32, F16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q4_K, Q5_K, Q6_K, BF16).
BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 12: (256, 144), 13: (256, 176), 14: (256, 210),
          30: (1, 2)}


def text(s):
    return struct.pack("<Q", len(s)) + s.encode()


def value(x):
    """A metadata value of GGUF with its type: text, u32, f32, lists of text or i32."""
    if isinstance(x, str):
        return struct.pack("<I", 8) + text(x)
    if isinstance(x, list):
        inside = b"".join(text(y) if isinstance(y, str) else struct.pack("<i", y) for y in x)
        return struct.pack("<IIQ", 9, 8 if isinstance(x[0], str) else 5, len(x)) + inside
    return struct.pack("<If", 6, x) if isinstance(x, float) else struct.pack("<II", 4, x)


def gguf(version, keys, tensors):
    """keys: name to packed value; tensors: name to (shape, type). Their bytes count up, so that floats stay moderate."""
    head, data = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)), b""
    head += b"".join(text(name) + packed for name, packed in keys.items())
    for name, (shape, kind) in tensors.items():
        count, width = BLOCKS[kind]
        head += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape) + struct.pack("<IQ", kind, len(data))
        size = math.prod(shape) // count * width
        data += (b"".join(struct.pack("<f", 0.05 * (i % 7 - 3)) for i in range(size // 4)) if kind == 0 else bytes(i % 61 for i in range(size)))
        data += bytes(-len(data) % 32)
    return head + bytes(-len(head) % 32) + data


def every_kind(kind, version):
    scalars = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
    keys = {f"k{t}": struct.pack("<I", t) + struct.pack(form, 1) for t, form in scalars.items()}
    keys |= {"general.architecture": value("llama"), "tokens": value(["a", "b"]), "types": value([1, 3])}
    return gguf(version, keys, {"w": ((BLOCKS[kind][0], 2), kind)})


def tiny_model(architecture, kind, **more):
    """One layer of width 32, two heads, 40 tokens."""
    p = architecture + "."
    keys = {"general.architecture": architecture, p + "block_count": 1, p + "embedding_length": 32, p + "attention.head_count": 2,
            p + "attention.head_count_kv": 1, p + "feed_forward_length": 32, p + "context_length": 64, p + "attention.layer_norm_rms_epsilon": 1e-5,
            "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm", "tokenizer.ggml.tokens": [chr(ord("!") + i) for i in range(30)] + list("abcdefgh") + ["ab", "<s>"],
            "tokenizer.ggml.merges": ["a b"], "tokenizer.ggml.token_type": [1] * 39 + [3], "tokenizer.ggml.eos_token_id": 39}
    keys |= {(p + k if "." in k else k): v for k, v in more.items()}
    tensors = {"token_embd.weight": ((32, 40), kind), "output_norm.weight": ((32,), 0), "blk.0.attn_norm.weight": ((32,), 0), "blk.0.ffn_norm.weight": ((32,), 0)}
    tensors |= {f"blk.0.{n}.weight": ((32, rows), kind) for n, rows in
                {"attn_q": 32, "attn_k": 16, "attn_v": 16, "attn_output": 32, "ffn_gate": 32, "ffn_up": 32, "ffn_down": 32}.items()}
    if architecture == "qwen2":
        tensors |= {f"blk.0.{n}.bias": ((rows,), 0) for n, rows in {"attn_q": 32, "attn_k": 16, "attn_v": 16}.items()}
    return gguf(3, {k: value(v) for k, v in keys.items()}, tensors)


def hugging_face():
    config = json.loads((ROOT / "models" / "stdlib-lm" / "config.json").read_text())
    yield "config", b"0" + json.dumps(config).encode()
    for name, rope in {"linear": {}, "dynamic": {}, "yarn": {"original_max_position_embeddings": 64, "truncate": False},
                       "llama3": {"low_freq_factor": 1, "high_freq_factor": 4, "original_max_position_embeddings": 64}}.items():
        yield name, b"0" + json.dumps(config | {"rope_scaling": {"rope_type": name, "factor": 2.0} | rope}).encode()
    yield "mistral", b"0" + json.dumps(config | {"model_type": "mistral", "sliding_window": 5}).encode()
    yield "qwen2", b"0" + json.dumps(config | {"model_type": "qwen2", "use_sliding_window": True, "max_window_layers": 2, "layer_types": ["full_attention"] * 6}).encode()
    step = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}
    split = lambda regex: {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated"}
    steps = {"gpt2": step, "smollm": {"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, step]},
             "llama3": {"type": "Sequence", "pretokenizers": [split(r"\p{N}{1,3}"), step]}, "qwen2-steps": {"type": "Sequence", "pretokenizers": [split(r"(?i:'s)|\p{N}|"), step]}}
    for name, pre in steps.items():
        vocabulary = {t: i for i, t in enumerate([*"ab12", "ab", "\u0120"])}
        yield name, b"1" + json.dumps({"model": {"type": "BPE", "vocab": vocabulary, "merges": ["a b", ["1", "2"]]}, "pre_tokenizer": pre,
                                       "added_tokens": [{"id": 9, "content": "<s>", "special": True}]}).encode()


SIZES = {"F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "BOOL": 1, "U8": 1}


def read_case(data):
    """Metadata, and the tensors by name: [dtype, shape, bytes]."""
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + length])
    metadata = header.pop("__metadata__")
    return metadata, {name: [t["dtype"], t["shape"], data[8 + length:][slice(*t["data_offsets"])]] for name, t in header.items()}


def write_case(metadata, tensors):
    """Their bytes are repeated or cut to what dtype and shape say."""
    header, body = {"__metadata__": metadata}, b""
    for name, (dtype, shape, data) in tensors.items():
        need = math.prod(shape) * SIZES[dtype]
        data = ((data or b"\0") * (need // max(len(data), 1) + 1))[:need]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + need]}
        body += bytes(x & 1 for x in data) if dtype == "BOOL" else data
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def spoil(r, metadata, tensors):
    """Changes one thing that bytes alone seldom reach: a shape, a dtype, an index, a number, a parameter; a tensor goes away."""
    name = r.choice([n for n in tensors if n.startswith(("in.", "weight."))])
    tensor = tensors[name]
    dtype, shape, data = tensor
    what = r.randrange(10)
    if what == 0 and shape:
        shape[r.randrange(len(shape))] = r.choice([0, 1, 2, 3, 7, 17])
    elif what == 1:
        shape.insert(r.randrange(len(shape) + 1), r.choice([0, 1, 2]))
    elif what == 2 and shape:
        shape.pop(r.randrange(len(shape)))
    elif what == 3:
        tensor[0] = r.choice(list(SIZES))
    elif what == 4:
        del tensors[name]
    elif what == 5:
        r.shuffle(shape)
    elif what == 6 and shape:  # the same extent everywhere
        old, new = r.choice(shape), r.choice([0, 1, 2, 5])
        for other in tensors.values():
            other[1] = [new if n == old else n for n in other[1]]
    elif what == 7 and data and dtype in ("I64", "F32"):
        form, values = ("q", [-1, -2**63, 2**63 - 1, 10**6, 0, 5]) if dtype == "I64" else ("f", [math.nan, math.inf, -math.inf, 1e38, -1e38, 1e-45, 0.0])
        numbers = list(struct.unpack(f"<{len(data) // SIZES[dtype]}{form}", data))
        for _ in range(r.choice([1, len(numbers)])):
            numbers[r.randrange(len(numbers))] = r.choice(values)
        tensor[2] = struct.pack(f"<{len(numbers)}{form}", *numbers)
    else:
        params = json.loads(metadata.get("params", "{}"))
        if params:
            key = r.choice(list(params))
            params[key] = r.choice([0, 1, -1, 2, 3, 7, 1000, 2**31, 2**62, -2**63, 1e30, 0.5, True, "x", [], [0], [1, 2, 3], None])
            metadata["params"] = json.dumps(params)


def main():
    r = random.Random(1)
    root = pathlib.Path(sys.argv[1])
    files = {name: root / name for name in ("safetensors", "case", "params", "run", "gguf", "model", "config")}
    for folder in files.values():
        folder.mkdir(parents=True, exist_ok=True)
    slugs = sorted({path.name.split("--")[0] for path in CASES.iterdir()})
    for path in sorted(CASES.glob("*.safetensors")):
        data = path.read_bytes()
        if len(data) >= 8192:
            continue
        (files["safetensors"] / path.stem).write_bytes(data)
        (files["case"] / path.stem).write_bytes(data)
        for spoilt in range(8):
            metadata, tensors = read_case(data)
            for _ in range(r.choice([1, 1, 2])):
                if any(n.startswith(("in.", "weight.")) for n in tensors):
                    spoil(r, metadata, tensors)
            if sum(math.prod(shape) for _, shape, _ in tensors.values()) <= 4096:
                (files["case"] / f"{path.stem}-{spoilt}").write_bytes(write_case(metadata, tensors))
        params = read_case(data)[0].get("params", "{}")
        (files["params"] / path.stem).write_bytes(bytes([slugs.index(path.name.split("--")[0])]) + params.encode())
    for i in range(8 * len(slugs)):
        (files["run"] / str(i)).write_bytes(r.randbytes(160))
    for kind in BLOCKS:
        (files["gguf"] / f"type{kind}").write_bytes(every_kind(kind, 2 + kind % 2))
    for architecture in ("llama", "qwen2"):
        for kind in (2, 3, 8):
            (files["model"] / f"{architecture}{kind}").write_bytes(tiny_model(architecture, kind))
    (files["model"] / "yarn").write_bytes(tiny_model("llama", 8, **{"rope.scaling.type": "yarn", "rope.scaling.factor": 2.0, "attention.sliding_window": 3}))
    for name, data in hugging_face():
        (files["config"] / name).write_bytes(data)


main()
