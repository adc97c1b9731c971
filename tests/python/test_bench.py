# SPDX-License-Identifier: Apache-2.0
"""heed bench and heed run on random tensors from the declarations: every entry, every float type, and what a new user gets wrong."""
import json
import pathlib
import subprocess
import sys

import pytest

import heed

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "build/release/heed"
pytestmark = pytest.mark.skipif(not PROGRAM.exists(), reason="the program is not built (make build)")
SLUGS = [row["slug"] for row in heed.list()]
SMALL = ["--shape", "1,64,2,16"]
# Entries that 64 tokens of two heads of 16 do not suit, and what does.
OWN = {
    "fcanet": ["--shape", "B=1,C=32,H=14,W=14"],
    "pyramidkv": ["--shape", "1,96,2,16"],
    "swin": ["--shape", "1,196,2,16"],
    "transformer-attribution": ["-p", "img_size=32", "-p", "embed_dim=48", "-p", "depth=2"],
}


def heed_program(*arguments):
    return subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False)


def shape(slug):
    return OWN.get(slug, SMALL)


@pytest.mark.parametrize("slug", SLUGS)
def test_every_entry(slug, tmp_path):
    for dtype in ("f32", "bf16", "f16"):
        done = heed_program("bench", slug, *shape(slug), "--dtype", dtype, "--seconds", 0, "--json", "-")
        assert done.returncode == 0, done.stderr
        (row,) = json.loads(done.stdout)
        assert row["slug"] == slug and row["dtype"] == dtype and row["seconds"] > 0 and row["why"]
        assert row["shape"] in row["inputs"].values()
    out = tmp_path / "out.safetensors"
    done = heed_program("run", slug, *shape(slug), "--out", out)
    assert done.returncode == 0, done.stderr
    assert "out " in done.stdout
    # The file holds what went in: running it again gives the same.
    tensors, meta = heed.read_safetensors(str(out))
    inputs = {k[3:]: v for k, v in tensors.items() if k.startswith("in.")}
    weights = {k[7:]: v for k, v in tensors.items() if k.startswith("weight.")}
    again = heed.run(slug, inputs, weights=weights, **{name + "_": value for name, value in json.loads(meta["params"]).items()})
    assert again.tobytes() == tensors["out.out"].tobytes()


def test_json_of_the_contract():
    (row,) = json.loads(heed_program("bench", "--shape", "2,128,4,32", "--causal", "--seconds", 0, "--json", "-").stdout)
    assert row["slug"] == "exact" and row["shape"] == [2, 128, 4, 32] and row["causal"] is True and row["dtype"] == "f32"
    assert row["gflops"] == pytest.approx(4 * 2 * 4 * 128 * 128 * 32 * 0.5 / row["seconds"] * 1e-9)
    (row,) = json.loads(heed_program("bench", "se", "--shape", "B=2,C=32,H=6,W=5", "--seconds", 0, "--json", "-").stdout)
    assert row["shape"] == [2, 32, 6, 5] and row["sizes"] == {"B": 2, "H": 6, "W": 5, "channel": 32} and row["gflops"] is None


def test_family_beside_torch(tmp_path):
    file = tmp_path / "rows.json"
    done = heed_program("bench", "--family", "featuremap", "--shape", "B=1,C=32,H=14,W=14", "--seconds", 0, "--python", sys.executable, "--json", file)
    assert done.returncode == 0 and done.stderr == ""
    rows = json.loads(file.read_text())
    assert [row["slug"] for row in rows] == [row["slug"] for row in heed.list("featuremap")]
    for row in rows:
        assert row["torch_seconds"] > 0 and row["torch_error"] < 1e-4, row
        assert row["slug"] in done.stdout
    assert "torch/heed" in done.stdout


def test_no_torch_is_said():
    done = heed_program("bench", "--family", "featuremap", "--shape", "B=1,C=32,H=14,W=14", "--seconds", 0, "--python", "/nonexistent/python")
    assert done.returncode == 0
    assert "no torch column: no /nonexistent/python: install Python 3 and torch" in done.stderr
    assert done.stdout.count("\n") == 1 + len(heed.list("featuremap"))


WRONG = {
    "unknown size": (["bench", "se", "--shape", "Q=3"], "size Q: expected one of"),
    "three sizes": (["bench", "se", "--shape", "1,2,3"], "--shape: expected B,N,H,D or NAME=SIZE"),
    "a size of 0": (["bench", "se", "--shape", "C=0"], "--shape: expected"),
    "twice": (["bench", "se", "--shape", "C=1,C=2"], "--shape: expected each name once"),
    "mixed": (["bench", "se", "--shape", "C=1,2"], "--shape: expected"),
    "dtype": (["bench", "se", "--dtype", "f64"], "--dtype: expected one of bf16, f16, f32"),
    "precision": (["bench", "se", "--precision", "best"], "--precision: expected one of"),
    "slug": (["bench", "exact", "no-such"], "mechanism: expected a slug"),
    "family": (["bench", "--family", "no-such"], "--family: expected one of analysis"),
    "both": (["bench", "se", "--family", "graph"], "--family: expected a family, or names"),
    "causal": (["bench", "se", "--causal"], "--causal: expected a mechanism with that parameter"),
    "parameter": (["bench", "se", "-p", "nope=1"], "parameter nope: expected one of"),
    "value": (["bench", "se", "-p", "reduction=0"], "parameter reduction: expected at least"),
    "pair": (["run", "se", "-p", "reduction"], "-p: expected name=value"),
    "optional": (["run", "se", "--with", "mask"], "input mask: expected an optional input"),
    "seconds": (["bench", "se", "--seconds", "-1"], "--seconds: expected a number of 0 to 3600"),
    "no file": (["bench", "se", "--json", "/nonexistent/rows.json"], "--json: expected a file in a folder that exists"),
    "file and shape": (["run", "se", "--in", "x.safetensors", "--shape", "C=32"], "--in: expected a file, or --shape"),
    "conflict": (["run", "se", "--shape", "channel=32", "-p", "channel=16"], "size channel: expected the parameter's 16, got 32"),
    "what it does not take": (["run", "swin", "--shape", "1,50,4,8"], "expected"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_use_is_one_line(name):
    arguments, message = WRONG[name]
    done = heed_program(*arguments)
    assert done.returncode == 2 and done.stdout == ""
    assert message in done.stderr and done.stderr.count("\n") == 1
