# SPDX-License-Identifier: Apache-2.0
"""heed compare: its numbers against numpy's from the logits that `heed logits` writes."""
import json
import math
import os
import pathlib
import subprocess

import numpy as np
import pytest

import heed

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "build/release/heed"
MODEL = ROOT / "models/stdlib-lm"
TEXT = ROOT / "models/stdlib-lm/train.py"
N = 480
WAYS = ["sliding-window,window=[31,0]", "minference,pattern=a_shape,n_init=16,n_local=64"]
pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="the program is not built (make build)")


def run(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False, env={**os.environ, "OMP_WAIT_POLICY": "passive"})


def compare(*arguments, context=N):
    done = run("compare", "--model", MODEL, "--text", TEXT, "--context", context, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # silent in a pipe
    return json.loads(done.stdout)


def with_ways():
    return [word for way in WAYS for word in ("--with", way)]


def log_probabilities(folder, way):
    """(N - 1, vocabulary), float64, of tokens 2 to N in strict precision."""
    out = folder / "logits.safetensors"
    done = run("logits", "--model", MODEL, "--text", TEXT, "--context", N, "--precision", "strict", "--with", way, "--out", out)
    assert done.returncode == 0, done.stderr
    logits = heed.read_safetensors(str(out))[0]["logits"].astype(np.float64)[:-1]
    return logits - np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1, keepdims=True)) - logits.max(-1, keepdims=True)


def block_error(values):
    """The standard error of a mean from the means of 32 runs of neighbours."""
    edges = [len(values) * b // 32 for b in range(33)]
    means = np.array([values[a:b].mean() for a, b in zip(edges, edges[1:])])
    return math.sqrt(((means - values.mean()) ** 2).sum() / (32 * 31))


def check_quality(row, exact, way, targets, text_bytes):
    at = np.arange(len(targets))
    loss, exact_loss = -way[at, targets], -exact[at, targets]
    kld = (np.exp(exact) * (exact - way)).sum(-1)
    delta = np.exp(-loss) - np.exp(-exact_loss)
    bits = len(targets) / math.log(2) / text_bytes
    ratio = loss.mean() / exact_loss.mean()
    same = (exact.argmax(-1) == way.argmax(-1)).astype(float)
    close = lambda name, want, tolerance=2e-4: np.testing.assert_allclose(row[name], want, rtol=tolerance, atol=2e-6, err_msg=name)
    close("bits_per_byte", loss.mean() * bits)
    close("bits_per_byte_error", block_error(loss) * bits)
    close("bits_per_byte_ratio", ratio)
    close("bits_per_byte_ratio_error", block_error(loss - ratio * exact_loss) / exact_loss.mean(), 2e-3)
    close("kld_mean", kld.mean())
    close("kld_mean_error", block_error(kld), 2e-3)
    close("kld_max", kld.max())
    for name, value in row["kld_percentiles"].items():
        rank = max(1, math.ceil(float(name) / 100 * len(kld)))
        np.testing.assert_allclose(value, np.sort(kld)[rank - 1], rtol=1e-3, atol=2e-6, err_msg=name)
    close("rms_delta_p", math.sqrt((delta**2).mean()))
    close("same_top", same.mean(), 2 / len(targets))
    stretches = len(row["curve"])
    edges = [len(targets) * s // stretches for s in range(stretches + 1)]
    np.testing.assert_allclose(row["curve"], [loss[a:b].mean() for a, b in zip(edges, edges[1:])], rtol=2e-4)


def test_numbers(tmp_path):
    rows = compare("--precision", "strict", *with_ways())
    assert [row["way"] for row in rows] == ["exact", "sliding-window", "minference"]
    ids = np.frombuffer(TEXT.read_bytes()[:N], np.uint8)[1:].astype(int)
    exact = log_probabilities(tmp_path, "exact")
    for row, way in zip(rows, ["exact", *WAYS]):
        assert row["scored_tokens"] == N - 1 and row["scored_bytes"] == N and row["scored_from"] == 1
        check_quality(row, exact, log_probabilities(tmp_path, way), ids, N)
    assert rows[0]["kld_mean"] == 0 and rows[0]["same_top"] == 1 and rows[0]["bits_per_byte_ratio"] == 1
    assert rows[1]["kld_mean"] > 0.01, "a window of 32 bytes should be seen in the predictions"


def test_split(tmp_path):
    split = 300
    rows = compare("--precision", "strict", "--split", split, *with_ways())
    assert [row["way"] for row in rows] == ["exact", f"exact@{split}", "sliding-window", "minference"]
    ids = np.frombuffer(TEXT.read_bytes()[:N], np.uint8).astype(int)
    exact = log_probabilities(tmp_path, "exact")
    assert rows[0]["scored_tokens"] == N - 1 and all(row["scored_tokens"] == N - split and row["scored_from"] == split for row in rows[1:])
    check_quality(rows[1], exact[split - 1:], exact[split - 1:], ids[split:], N - split)
    # A window decodes as it reads; a way that chooses from the prompt is exact after it, on keys that it made otherwise.
    check_quality(rows[2], exact[split - 1:], log_probabilities(tmp_path, WAYS[0])[split - 1:], ids[split:], N - split)
    assert 0 < rows[3]["kld_mean"] < rows[2]["kld_mean"]


def test_costs():
    rows = compare(*with_ways())
    for row in rows:
        assert row["read_tokens_per_second"] == pytest.approx(N / row["read_seconds"])
        assert row["write_tokens_per_second"] > 0 and row["written_tokens"] == 64 and row["write_depth"] == N
        assert len(row["model_hash"]) == 16 and row["precision"] == "fast" and row["tokens"] == N
    layers, kv_heads, width, sixteen_bit = 6, 2, 64, 2
    assert rows[0]["kv_bytes"] == rows[2]["kv_bytes"] == 2 * N * layers * kv_heads * width * sixteen_bit
    assert rows[1]["kv_bytes"] < rows[0]["kv_bytes"]
    assert rows[1]["parameters"]["window"] == [31, 0] and rows[1]["parameters"]["softcap"] == 0  # the defaults too
    assert abs(rows[0]["bits_per_byte"] - rows[0]["bits_per_byte_strict"]) < 0.002


def test_threads():
    """The same numbers for any number of threads, those of time aside."""
    one, two = (compare("--threads", n, *with_ways()) for n in (1, 2))
    for a, b in zip(one, two):
        for row in (a, b):
            for name in ("read_seconds", "read_tokens_per_second", "write_tokens_per_second", "threads"):
                del row[name]
        assert a == b


def test_usual_ways():
    """None of the ways that are compared by default sees every pair, however short the text."""
    rows = compare()
    assert len(rows) == 11 and len({row["way"] + row["given"] for row in rows}) == 11
    assert all(row["kld_mean"] > 1e-4 and row["given"] for row in rows[1:])


def test_full_context():
    """A text as long as the model's context: writing is timed after a shorter beginning."""
    row, = compare("--with", "exact", context=4096)[:1]
    assert row["tokens"] == 4096 and row["write_depth"] == 4096 - 3 * 64


@pytest.mark.parametrize(
    "arguments, word",
    [
        (["--with", "no-such-way"], "no-such-way"),
        (["--with", "sliding-window,wndow=[3,0]"], "wndow"),
        (["--with", "sliding-window,=3"], "=3"),
        (["--with", "shaw"], "shaw"),
        (["--context", "100"], "100"),
        (["--context", "0"], "--context"),
        (["--context", "5000"], "4096"),
        (["--context", "4000", "--text", "SHORT"], "tokens"),
        (["--text", "EMPTY"], "100"),
        (["--text", "no-such-file"], "no-such-file"),
        (["--split", "400"], "100"),
        (["--split", "9999"], "--split"),
        (["--model", "no-such-model"], "no-such-model"),
        (["--report", "no-such-folder/page.html"], "--report"),
    ],
)
def test_wrong_use(tmp_path, arguments, word):
    (tmp_path / "short").write_text("x = 1\n" * 40)
    (tmp_path / "empty").write_text("")
    given = {"--model": MODEL, "--text": TEXT, "--context": N, "--report": tmp_path / "page.html"}
    if "EMPTY" in arguments:
        del given["--context"]
    arguments = [str(tmp_path / "short") if a == "SHORT" else str(tmp_path / "empty") if a == "EMPTY" else a for a in arguments]
    given.update(zip(arguments[::2], arguments[1::2]))
    done = run("compare", *[word for pair in given.items() for word in pair])
    assert done.returncode == 2 and done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1 and word in done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["empty", "short"]
