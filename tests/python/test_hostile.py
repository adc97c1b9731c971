# SPDX-License-Identifier: Apache-2.0
"""Files and arguments of a stranger who means harm: exit code 2, one line, nothing written. Bytes inside files: fuzz/."""
import json
import os
import pathlib
import signal
import subprocess
import sys

import pytest
from conftest import TESTS

import heed.__main__

ROOT = TESTS.parent
PROGRAM = ROOT / "build/release/heed"
MODEL = ROOT / "models/stdlib-lm"
CASE = TESTS / "cases/exact.safetensors"
pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="the program is not built (make build)")


def refused(*arguments, **more):
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60, stdin=subprocess.DEVNULL, **more)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stderr.endswith("\n"), (done.returncode, done.stderr)
    assert ": expected " in done.stderr and ", got " in done.stderr, done.stderr
    assert done.stdout == "" or arguments[0] == "run"  # which says what it drew and made as it goes
    return done.stderr


@pytest.mark.parametrize("what", [".", "/dev/zero", "/dev/stdin", "nowhere", "empty", "short", "noise", ""])
def test_files(what, tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "short").write_bytes(CASE.read_bytes()[:100])
    (tmp_path / "noise").write_bytes(bytes(i * i % 251 for i in range(4096)))
    before = sorted(tmp_path.iterdir())
    for arguments in (["verify", what], ["run", "exact", "--in", what, "--out", "out"], ["generate", "--model", what, "--prompt", "x"]):
        refused(*arguments, cwd=tmp_path)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("arguments", [
    ["lisst"], [], ["--nope"], ["info", ""], ["run", "exact", "--output", "nothing"], ["run", "exact", "-p", "scale=nan"], ["run", "exact", "-p", "=3"],
    ["run", "exact", "-p", "window=" + "[" * 30000 + "]" * 30000], ["run", "exact", "-p", "window=[-5,99999999999999999999]"],
    *[["run", slug, "-p", f"{name}={2**power}"] for slug, name, power in
      (("dilated-window", "dilation", 62), ("sentinel", "num_layers", 31), ("hyper-connections", "depth", 20), ("ring-attention", "ranks", 10))],
    *[["run", "exact", "--shape", shape] for shape in
      ("1,-2,3,4", "0,0,0,0", "1,2,3", "99999999999999999999,1,1,1", "4611686018427387904,4611686018427387904,4,4", "B=,N=2", "=", "Q=3", "N=1e3", "N=nan")],
    ["list", "more"], ["list", "--family"], ["list", "--family", "nothing"], ["info"], ["run", "exact", "more"], ["verify"], ["verify", "x", "--nope"],
    ["verify", CASE, "--precision", "half"], ["run", "exact", "--seed", f"{10**20}"], ["run", "exact", "--threads", "two"], ["run", "exact", "--threads"],
    ["run", "exact", "--shape", "1,100000,8,640000"], ["generate", "--prompt", "x"], ["compare", "--model", MODEL, "--text", CASE, "--precision", "int8"],
    ["run", "exact", "--seed", "-1"], ["generate", "--model", MODEL, "--prompt", "x", "--seed", "-1"], ["run", "exact", "--threads", "-1"], ["run", "exact", "--threads", "1000000"], ["run", "exact", "--in", ""], ["run", "exact", "--out", ""],
    ["bench", "exact", "--seconds", "nan"], ["bench", "--family", "nothing"],
    *[["generate", "--model", MODEL, "--prompt", "x", *more] for more in
      (["--tokens", "-1"], ["--tokens", "100000000"], ["--temperature", "nan"], ["--temperature", "-1"], ["--top-p", "2", "--temperature", "1"],
       ["--with", ","], ["--with", "exact,,"], ["--with", "exact,window=" + "[" * 30000 + "]" * 30000])],
    *[["generate", "--model", MODEL, "--prompt", "x", *more] for more in (["--temperature", "warm"], ["--top-k", "-1"], ["--top-k", "3.5"])],
    ["score", "--model", MODEL, "--text", ROOT / "README.md"], ["logits", "--model", MODEL, "--ids", "1", "--out", "nowhere/x"],
    ["generate", "--model", MODEL, "--text", "."], ["generate", "--model", MODEL, "--text", "/dev/null"], ["score", "--model", MODEL, "--text", "nowhere"],
    ["compare", "--model", MODEL, "--text", MODEL / "train.py", "--context", "99999999"],
], ids=lambda arguments: " ".join(map(str, arguments))[:60].replace(str(ROOT), "") or "none")
def test_arguments(arguments, tmp_path):
    refused(*arguments, cwd=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_command_misspelt():
    assert "list, info" in refused("lisst") and "'lisst'" in refused("lisst")


def test_outputs(tmp_path):
    """A missing folder, a folder and, above all, no device or pipe is replaced by a file."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for out in (tmp_path / "nowhere" / "x", tmp_path, pipe):
        refused("run", "exact", "--in", CASE, "--out", out)
        refused("compare", "--model", MODEL, "--text", MODEL / "train.py", "--context", 64, "--report", out)
    assert list(tmp_path.iterdir()) == [pipe] and pipe.is_fifo()
    with open("/dev/full", "w") as full:
        done = subprocess.run([PROGRAM, "list"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [[PROGRAM], [sys.executable, "-m", "heed"]], ids=["program", "python"])
def test_streams(command, tmp_path):
    """Readers that have enough, full disks and closed streams end it without a trace of the interpreter."""
    def ends(arguments, **more):
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "python")}
        return subprocess.run([*command, *arguments], stderr=subprocess.PIPE, text=True, check=False, timeout=60, env=environment, **more)

    reader, writer = os.pipe()
    os.close(reader)
    done = ends(["list"], stdout=writer)
    os.close(writer)
    assert done.returncode in (-signal.SIGPIPE, 128 + signal.SIGPIPE) and done.stderr == ""
    with open("/dev/full", "w") as full:
        done = ends(["list"], stdout=full)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "No space left" in done.stderr
    for wrong in ([], ["nope"], ["run"], ["run", "exact", "--threads", "x"], ["list", "--family", "nope"], ["info", "no-such"]):
        done = ends(wrong, stdout=subprocess.PIPE)
        assert done.returncode == 2 and done.stderr.count("\n") == 1 and done.stdout == "", done.stderr
    assert ends(["--version"], stdout=subprocess.PIPE).stdout.startswith("heed ")


def test_interrupted_program(tmp_path):
    os.mkfifo(tmp_path / "text")
    started = subprocess.Popen([PROGRAM, "generate", "--model", MODEL, "--text", tmp_path / "text"], stderr=subprocess.PIPE, text=True)
    with open(tmp_path / "text", "w"):  # it waits for the text
        started.send_signal(signal.SIGINT)
        errors = started.communicate(timeout=60)[1]
    assert started.returncode == -signal.SIGINT and errors == ""


def test_interrupted_python(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(heed, "verify", interrupted)
    assert heed.__main__.main(["verify", "x"]) == 130 and capsys.readouterr() == ("", "")


def test_a_closed_output_is_not_the_next_file(tmp_path):
    out = tmp_path / "out.safetensors"
    done = subprocess.run([PROGRAM, "run", "exact", "--in", CASE, "--out", out], stderr=subprocess.PIPE, text=True, check=False, preexec_fn=lambda: os.close(1))
    assert done.returncode == 2 and "standard output: expected" in done.stderr
    done = subprocess.run([PROGRAM, "list"], stderr=subprocess.PIPE, text=True, check=False, preexec_fn=lambda: os.close(1))
    assert done.returncode == 2 and "standard output: expected" in done.stderr and done.stderr.count("\n") == 1


def test_parameters_in_a_file(tmp_path):
    data = CASE.read_bytes()
    header = json.loads(data[8:8 + int.from_bytes(data[:8], "little")])
    header["__metadata__"]["params"] = "[" * 50000 + "]" * 50000
    text = json.dumps(header).encode()
    (tmp_path / "deep.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data[8 + int.from_bytes(data[:8], "little"):])
    refused("run", "exact", "--in", tmp_path / "deep.safetensors")
    refused("verify", tmp_path / "deep.safetensors")


DEEP = "[" * 200000 + "]" * 200000
CONFIG = json.loads((MODEL / "config.json").read_text())
BPE = {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "ByteLevel"}}


@pytest.mark.parametrize("config", [
    "", "3", "[" * 1000000, '{"model_type":' + DEEP + "}", '{"model_type":"llama","rope_scaling":' + DEEP + "}",
    *[json.dumps(CONFIG | change) for change in (
        {"num_hidden_layers": 2**40}, {"num_hidden_layers": 1.5}, {"vocab_size": 2**63}, {"hidden_size": 0}, {"num_attention_heads": "4"},
        {"head_dim": 2**31}, {"rms_norm_eps": 0}, {"max_position_embeddings": 2**50}, {"model_type": None},
        {"rope_scaling": {"rope_type": "dynamic", "factor": 1e300}}, {"rope_scaling": {"rope_type": [], "factor": 2}})],
], ids=range(16))
def test_config(config, tmp_path):
    (tmp_path / "config.json").write_text(config)
    (tmp_path / "model.safetensors").symlink_to(MODEL / "model.safetensors")
    refused("generate", "--model", tmp_path, "--prompt", "x")


@pytest.mark.parametrize("tokenizer", [
    "", "3", "[]", '{"pre_tokenizer":' + DEEP + ',"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}', json.dumps(BPE | {"model": {"type": 5}}),
    json.dumps(BPE | {"pre_tokenizer": {"type": 7}}), *[json.dumps(BPE | {"model": BPE["model"] | change}) for change in (
        {"vocab": {}}, {"vocab": {"a": -1}}, {"vocab": {"a": 2**40}}, {"vocab": []}, {"merges": ["zz yy"]}, {"merges": [3]})],
], ids=range(12))
def test_tokenizer(tokenizer, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(MODEL / name)
    (tmp_path / "tokenizer.json").write_text(tokenizer)
    refused("generate", "--model", tmp_path, "--prompt", "x")


def test_devices_as_parts_of_a_model(tmp_path):
    pathlib.Path(tmp_path / "config.json").symlink_to("/dev/zero")
    refused("generate", "--model", tmp_path, "--prompt", "x")
