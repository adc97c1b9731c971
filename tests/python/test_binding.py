# SPDX-License-Identifier: Apache-2.0
"""The boundary: what goes in and out without copying, who owns it, and how errors arrive."""
import gc
import inspect
import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
from conftest import CASES, strided

import heed

rng = np.random.default_rng(1)


def qkv(B=2, N=5, M=7, H=4, G=2, D=8, dtype=torch.float32):
    shapes = (B, N, H, D), (B, M, G, D), (B, M, G, D)
    return [torch.tensor(rng.standard_normal(shape), dtype=dtype) for shape in shapes]


def sdpa(q, k, v, **options):
    q, k, v = (x.transpose(1, 2).double() for x in (q, k, v))
    return torch.nn.functional.scaled_dot_product_attention(q, k, v, enable_gqa=True, **options).transpose(1, 2)


def test_results_are_of_the_kind_of_the_first_array():
    q, k, v = qkv()
    out = heed.attend(q, k.numpy(), v.numpy())
    assert isinstance(out, torch.Tensor) and out.dtype == torch.float32
    out = heed.attend(q.numpy(), k, v)
    assert isinstance(out, np.ndarray) and out.dtype == np.float32
    np.testing.assert_allclose(out, sdpa(q, k, v), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bit_torch(dtype):
    q, k, v = qkv(dtype=dtype)
    out = heed.attend(q, k, v)
    assert out.dtype == dtype
    want = sdpa(q, k, v)
    assert (out.double() - want).abs().max() <= 2**-7 * want.abs().max()
    strict = heed.attend(q, k, v, precision="strict")
    assert (strict.double() - want).abs().max() <= 2**-8 * want.abs().max()


def test_16_bit_numpy():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    q, k, v = qkv()
    for dtype in (np.float16, ml_dtypes.bfloat16):
        out = heed.attend(*(x.numpy().astype(dtype) for x in (q, k, v)))
        assert isinstance(out, np.ndarray) and out.dtype == dtype
        np.testing.assert_allclose(out.astype(np.float64), sdpa(q, k, v), atol=0.03)


def test_any_strides():
    q, k, v = qkv()
    want = heed.attend(q, k, v, threads=1)
    for change in (lambda x: torch.from_numpy(strided(x.numpy())), lambda x: x.numpy()[:, ::-1].copy()[:, ::-1],
                   lambda x: x.permute(2, 0, 3, 1).contiguous().permute(1, 3, 0, 2)):
        np.testing.assert_allclose(heed.attend(*map(change, (q, k, v)), threads=1), want, rtol=1e-5, atol=1e-6)
    one = q[:, :1].expand(-1, 5, -1, -1)  # a stride of 0
    torch.testing.assert_close(heed.attend(one, k, v), heed.attend(one.contiguous(), k, v))


def test_inputs_are_not_copied_and_not_kept():
    x = np.zeros((4, 1 << 20), np.float32)
    before = sys.getrefcount(x)
    heed.ops.sum(x, [1])
    t = torch.zeros(4)
    references = sys.getrefcount(t)
    heed.ops.exp(t)
    gc.collect()
    assert sys.getrefcount(x) == before and sys.getrefcount(t) == references


def test_results_own_their_memory():
    kept = [heed.ops.full([1000], float(i)) for i in range(50)]
    q, k, v = qkv()
    out = heed.attend(q, k, v)
    copy = out.clone()
    del q, k, v
    gc.collect()
    [heed.ops.full([1000], -1.0) for _ in range(200)]
    assert all(np.all(a == i) for i, a in enumerate(kept)) and torch.equal(out, copy)
    out += 1  # writable
    assert heed.ops.full([3], 1.0).flags.writeable


def test_results_never_share_an_arguments_memory():
    for x in (np.arange(6, dtype=np.float32).reshape(2, 3), torch.arange(6.0).reshape(2, 3)):
        part = heed.ops.split(x, 1, [1, 2])[1]
        part *= 0
        assert x[1, 2] == 5


def test_negative_views():
    x = torch.tensor([1 + 2j]).conj().imag
    assert x.is_neg() and heed.ops.scale(x, 1.0) == -2
    z = torch.randn(4, 6, dtype=torch.complex64).conj()
    for x in z.imag, z[1:, ::2].imag, z.imag.t(), z.imag[0], z.imag[2, 3], z[:, :1].imag:
        assert x.is_neg() and torch.equal(heed.ops.neg(x), torch.neg(x).contiguous())


def test_a_small_op_is_an_object_that_calls():
    relu = heed.ops.relu
    assert relu.__name__ == "relu" and relu.__doc__ and repr(relu).startswith("heed.ops.relu(x")
    assert relu(*[np.float32([-1, 2])]).tolist() == relu(**{"x": np.float32([-1, 2])}).tolist() == [0, 2]
    with pytest.raises(TypeError):
        type(relu)()
    with pytest.raises(AttributeError):
        relu.other = 1


def test_read_only_and_empty_arrays():
    x = np.ones((2, 3), np.float32)
    x.flags.writeable = False
    assert np.all(heed.ops.scale(x, 2.0) == 2)
    assert heed.ops.scale(np.zeros((0, 3), np.float32), 2.0).shape == (0, 3)
    assert heed.ops.scale(torch.zeros(0, 3), 2.0).shape == (0, 3)
    assert heed.ops.scale(np.float32(3).reshape(()), 2.0) == 6


@pytest.mark.parametrize("options", [
    {"causal": True}, {"window": (2, 1)}, {"scale": 0.3}, {"softcap": 2.0}, {"weighting": "sigmoid"},
    {"bias": np.ones((5, 7), np.float32)}, {"mask": np.tri(5, 7, dtype=bool)}, {"alibi_slopes": np.ones(4, np.float32)},
    {"sink": np.zeros(4, np.float32)}, {"key_lengths": np.array([3, 7])}, {"query_lengths": np.array([5, 2])}], ids=lambda o: next(iter(o)))
def test_attend_options_are_those_of_exact(options):
    q, k, v = (x.numpy() for x in qkv())
    tensors = {key: value for key, value in options.items() if isinstance(value, np.ndarray)}
    params = {key: value for key, value in options.items() if key not in tensors}
    want = heed.run("exact", {"q": q, "k": k, "v": v, **tensors}, **params)
    assert np.array_equal(heed.attend(q, k, v, **options), want)
    assert not np.array_equal(heed.attend(q, k, v), want)


def test_attend_extras_and_blocks():
    q, k, v = qkv()
    out, lse, top, columns, weights = heed.attend(q, k, v, return_lse=True, return_row_max=True, return_column_sums=True, return_weights=True)
    scores = torch.einsum("bnhd,bmhd->bhnm", q, k.repeat_interleave(2, 2)) / 8**0.5
    torch.testing.assert_close(lse, scores.logsumexp(-1))
    torch.testing.assert_close(top, scores.amax(-1))
    torch.testing.assert_close(weights, scores.softmax(-1))
    torch.testing.assert_close(columns, weights.sum(-2))
    keep = torch.tensor([[True, False], [False, True], [True, True]])  # tiles of 2 queries, 4 keys
    dense = keep.repeat_interleave(2, 0)[:5].repeat_interleave(4, 1)[:, :7]
    torch.testing.assert_close(heed.attend(q, k, v, blocks=keep, block_size=(2, 4)), heed.attend(q, k, v, mask=dense))
    assert "tiles/" in heed.why(q, k, v, causal=True)


def test_no_queries_or_no_keys():
    q, k, v = qkv()
    out, lse = heed.attend(q[:, :0], k, v, return_lse=True)
    assert out.shape == (q.shape[0], 0, 4, v.shape[3]) and lse.shape == (q.shape[0], 4, 0)
    out, lse = heed.attend(q, k[:, :0], v[:, :0], return_lse=True)
    assert not out.any() and (lse == -torch.inf).all()


def test_first_keys_and_dilation():
    q, k, v = qkv()
    p, j = torch.arange(5)[:, None] + 2, torch.arange(7)
    near = (j >= p - 1) & (j <= p)
    torch.testing.assert_close(heed.attend(q, k, v, window=(1, 0), first_keys=2), heed.attend(q, k, v, mask=near | ((j < 2) & (j <= p))))
    torch.testing.assert_close(heed.attend(q, k, v, causal=True, dilation=2), heed.attend(q, k, v, mask=(j <= p) & ((p - j) % 2 == 0)))


RAGGED = {"causal": {"causal": True}, "window": {"window": (3, 1), "first_keys": 1}, "dilation": {"causal": True, "dilation": 2},
          "sink and slopes": {"sink": torch.ones(4), "alibi_slopes": torch.full((4,), 0.25), "scale": 0.4}, "capped": {"softcap": 2.0}}


@pytest.mark.parametrize("name", RAGGED)
def test_ragged(name):
    options = RAGGED[name]
    torch.manual_seed(0)
    queries, keys = torch.tensor([0, 3, 3, 8]), torch.tensor([0, 5, 7, 15])  # the second sequence has keys and no query
    q, k, v = torch.randn(8, 4, 8), torch.randn(15, 2, 8), torch.randn(15, 2, 6)

    def one_by_one(q, k, v, **options):
        parts = [heed.attend(*(x[None, a[b]:a[b + 1]] for x, a in ((q, queries), (k, keys), (v, keys))), return_lse=True, **options) for b in (0, 2)]
        return torch.cat([out[0] for out, _ in parts]), torch.cat([lse[0] for _, lse in parts], 1)
    got, lse = heed.attend_ragged(q, k, v, queries, keys, return_lse=True, **options)
    want = one_by_one(q, k, v, **options)
    torch.testing.assert_close(got, want[0])
    torch.testing.assert_close(lse, want[1])
    assert torch.equal(heed.attend_ragged(q, k, v, queries, keys, **options), got)
    # Gradients of everything that has one, out and lse together.
    mine, theirs = ([x.clone().requires_grad_() for x in (q, k, v)] for _ in range(2))
    terms = [{n: x.clone().requires_grad_() if isinstance(x, torch.Tensor) else x for n, x in options.items()} for _ in range(2)]
    a, b = torch.randn_like(got), torch.randn_like(lse)
    out, lse = heed.attend_ragged(*mine, queries, keys, return_lse=True, **terms[0])
    torch.testing.assert_close(out, got)
    ((out * a).sum() + (lse * b).sum()).backward()
    out, lse = one_by_one(*theirs, **terms[1])
    ((out * a).sum() + (lse * b).sum()).backward()
    for x, y in zip(mine, theirs):
        assert y.grad.norm() > 0
        torch.testing.assert_close(x.grad, y.grad)
    for n in terms[0]:
        if isinstance(terms[0][n], torch.Tensor):
            torch.testing.assert_close(terms[0][n].grad, terms[1][n].grad)


def test_ragged_numpy_and_its_own_offsets():
    x = torch.randn(6, 2, 8).numpy()
    offsets = np.array([0, 4, 6])
    got = heed.attend_ragged(x, x, x, offsets, causal=True)
    assert isinstance(got, np.ndarray)
    np.testing.assert_allclose(got[4:], heed.attend(x[None, 4:], x[None, 4:], x[None, 4:], causal=True)[0], rtol=1e-5, atol=1e-6)
    assert heed.attend_ragged(x[:0], x[:0], x[:0], np.array([0, 0])).shape == (0, 2, 8)


@pytest.mark.parametrize("weighting", ["softmax", "sigmoid", "relu", "softmax_plus_one"])
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"window": (2, 1), "first_keys": 1}, {"causal": True, "dilation": 2}, {"softcap": 3.0}],
                         ids=["all", "causal", "window", "dilation", "softcap"])
def test_attend_backward(weighting, options):
    """torch.autograd through heed.attend beside torch in float64, of every tensor that has a gradient."""
    torch.manual_seed(1)
    q, k, v = qkv()
    tensors = {"q": q, "k": k, "v": v, "bias": torch.randn(4, 5, 7), "alibi_slopes": torch.rand(4)}
    if weighting == "softmax":
        tensors["sink"] = torch.randn(4)
    single = {n: x.clone().requires_grad_() for n, x in tensors.items()}
    double = {n: x.double().requires_grad_() for n, x in tensors.items()}
    out = heed.attend(**single, weighting=weighting, **options)
    cotangent = torch.randn(out.shape)
    (out * cotangent).sum().backward()
    p, j = torch.arange(5)[:, None] + 2, torch.arange(7)
    left, right = options.get("window", (-1, -1))
    see = torch.ones(5, 7, dtype=torch.bool)
    if options.get("causal"):
        see &= j <= p
    if left >= 0:
        see &= ((j >= p - left) | (j < options.get("first_keys", 0))) & (j <= p + right)
    see &= (p - j) % options.get("dilation", 1) == 0
    s = torch.einsum("bnhd,bmhd->bhnm", double["q"], double["k"].repeat_interleave(2, 2)) / 8**0.5
    if "softcap" in options:
        s = options["softcap"] * (s / options["softcap"]).tanh()
    s = s + double["bias"] - double["alibi_slopes"][:, None, None] * (p - j).abs()
    if weighting in ("sigmoid", "relu"):
        w = (s.sigmoid() if weighting == "sigmoid" else s.relu() / 7) * see
    else:
        more = double["sink"] if weighting == "softmax" else torch.zeros(4, dtype=torch.float64)
        w = torch.cat([s.masked_fill(~see, -torch.inf), more[:, None, None].expand(*s.shape[:3], 1)], -1).softmax(-1)[..., :-1]
    want = torch.einsum("bhnm,bmhe->bnhe", w, double["v"].repeat_interleave(2, 2))
    torch.testing.assert_close(out.double(), want, rtol=1e-5, atol=1e-5)
    (want * cotangent).sum().backward()
    for name in tensors:
        assert double[name].grad.norm() > 0, name
        torch.testing.assert_close(single[name].grad.double(), double[name].grad, rtol=1e-4, atol=1e-5, msg=name)


q, k, v = (x.numpy() for x in qkv())
RAGGED_ARGUMENTS = q[0], k[0], v[0]
CIRCLE = []
CIRCLE.append(CIRCLE)
WRONG = {
    "first keys": (ValueError, "first_keys", lambda: heed.attend(q, k, v, first_keys=-1)),
    "dilation": (ValueError, "dilation", lambda: heed.attend(q, k, v, dilation=0)),
    "ragged rank": (ValueError, "q: expected", lambda: heed.attend_ragged(q, k[0], v[0], np.array([0, 5]), np.array([0, 7]))),
    "offsets' end": (ValueError, "query_offsets", lambda: heed.attend_ragged(*RAGGED_ARGUMENTS, np.array([0, 4]), np.array([0, 7]))),
    "offsets' type": (ValueError, "key_offsets", lambda: heed.attend_ragged(*RAGGED_ARGUMENTS, np.array([0, 5]), np.array([0.0, 7.0], np.float32))),
    "offsets fall": (ValueError, "key_offsets", lambda: heed.attend_ragged(*RAGGED_ARGUMENTS, np.array([0, 5, 5]), np.array([0, 8, 7]))),
    "offsets with gradients": (ValueError, "key_offsets: expected int64", lambda: heed.attend_ragged(
        torch.tensor(q[0], requires_grad=True), torch.tensor(k[0]), torch.tensor(v[0]), torch.tensor([0, 5, 5]), torch.tensor([0, 8, 7]))),
    "float64": (ValueError, "q: expected dtype", lambda: heed.attend(q.astype(np.float64), k, v)),
    "complex": (ValueError, "q: expected dtype", lambda: heed.attend(torch.zeros(1, 2, 3, 4, dtype=torch.complex64), k, v)),
    "big-endian": (ValueError, "q: expected dtype", lambda: heed.attend(q.astype(">f4"), k, v)),
    "text as array": (TypeError, "k: expected an array", lambda: heed.attend(q, "k", v)),
    "list as array": (TypeError, "v: expected an array", lambda: heed.attend(q, k, [1.0])),
    "none as array": (TypeError, "k: expected an array", lambda: heed.attend(q, None, v)),
    "number as bool": (TypeError, "causal: expected True or False", lambda: heed.attend(q, k, v, causal=1)),
    "text as number": (TypeError, "softcap: expected a number", lambda: heed.attend(q, k, v, softcap="2")),
    "window of one": (ValueError, "window", lambda: heed.attend(q, k, v, window=(3,))),
    "rank": (ValueError, "q", lambda: heed.attend(q[0], k, v)),
    "rank 9": (ValueError, "x: expected at most 8", lambda: heed.ops.exp(np.zeros([1] * 9, np.float32))),
    "shape": (ValueError, "v", lambda: heed.attend(q, k, v[:, :3])),
    "nan scale": (ValueError, "scale: expected a finite", lambda: heed.attend(q, k, v, scale=float("nan"))),
    "weighting": (ValueError, "weighting: expected one of", lambda: heed.attend(q, k, v, weighting="max")),
    "sparse": (ValueError, "x: expected a dense tensor", lambda: heed.ops.exp(torch.eye(3).to_sparse())),
    "meta": (ValueError, "x: expected a dense tensor", lambda: heed.ops.exp(torch.zeros(2, device="meta"))),
    "isa": (ValueError, "isa: expected one of", lambda: heed.attend(q, k, v, isa="mmx")),
    "threads": (ValueError, "threads", lambda: heed.attend(q, k, v, threads=-1)),
    "slug": (ValueError, "mechanism: expected a slug", lambda: heed.run("no-such", {})),
    "slug type": (TypeError, "slug: expected text", lambda: heed.run(3, {})),
    "tensors": (TypeError, "tensors: expected a dictionary", lambda: heed.run("exact", [q])),
    "outputs": (TypeError, "outputs: expected a list", lambda: heed.run("exact", {"q": q}, outputs="out")),
    "missing input": (ValueError, "input k: expected a tensor of shape", lambda: heed.run("exact", {"q": q})),
    "tensor type": (TypeError, "input q: expected an array", lambda: heed.run("exact", {"q": "q"})),
    "parameter": (ValueError, "parameter nope", lambda: heed.run("exact", {"q": q, "k": k, "v": v}, nope=1)),
    "parameter type": (ValueError, "parameter causal: expected true", lambda: heed.run("exact", {"q": q, "k": k, "v": v}, causal=1)),
    "nan parameter": (ValueError, "parameter scale: expected a finite", lambda: heed.run("exact", {"q": q, "k": k, "v": v}, scale=float("nan"))),
    "argument": (TypeError, "unexpected keyword argument 'foo'", lambda: heed.exact(q=q, k=k, v=v, foo=1)),
    "missing tensor": (TypeError, "missing the tensor 'v'", lambda: heed.exact(q=q, k=k)),
    "op argument": (TypeError, "missing weight", lambda: heed.ops.linear(q)),
    "op keyword": (TypeError, "unexpected keyword argument 'w'", lambda: heed.ops.linear(q, q, w=1)),
    "op list": (TypeError, "tensors: expected a list", lambda: heed.ops.concat(q, 0)),
    "op item": (TypeError, r"tensors\[1\]: expected an array", lambda: heed.ops.concat([q, 3], 0)),
    "op value": (ValueError, "sizes", lambda: heed.ops.split(q, 1, [1, 1])),
    "attribute": (AttributeError, "no attribute 'frobnicate'", lambda: heed.frobnicate),
    "key": (TypeError, "a name of the inputs: expected text, got int", lambda: heed.run("exact", {1: q})),
    "surrogate": (ValueError, "weighting: expected text, got lone surrogates", lambda: heed.attend(q, k, v, weighting="\ud800")),
    "surrogate key": (ValueError, "a name of the inputs: expected text, got lone", lambda: heed.run("exact", {"\ud800": q})),
    "surrogate slug": (ValueError, "slug: expected text, got lone", lambda: heed.run("\ud800", {})),
    "threads of many bits": (ValueError, "threads: expected a 64-bit integer, got 1180591620717411303424", lambda: heed.attend(q, k, v, threads=2**70)),
    "seed of many bits": (ValueError, "seed: expected a 64-bit integer", lambda: heed.run("exact", {"q": q, "k": k, "v": v}, seed=2**64)),
    "array as integer": (TypeError, "threads: expected an integer, got numpy.ndarray", lambda: heed.attend(q, k, v, threads=np.array([1, 2]))),
    "window of an array": (ValueError, "window: expected", lambda: heed.attend(q, k, v, window=np.array([1, 2, 3]))),
    "nan inside": (ValueError, "parameters: expected finite", lambda: heed.run("exact", {"q": q, "k": k, "v": v}, window=[float("nan"), 0])),
    "circle": (ValueError, "parameters: expected finite", lambda: heed.run("exact", {"q": q, "k": k, "v": v}, window=CIRCLE)),
    "outputs type": (TypeError, "outputs: expected a list of names, got int", lambda: heed.run("exact", {"q": q}, outputs=3)),
    "family": (ValueError, "family: expected one of analysis, .*, got 'none'", lambda: heed.list("none")),
    "path": (TypeError, "path: expected the name of a file, got int", lambda: heed.verify(3)),
    "read path": (TypeError, "path: expected the name of a file, got NoneType", lambda: heed.read_safetensors(None)),
    "written value": (TypeError, "tensor a: expected an array", lambda: heed.write_safetensors("x", {"a": 3})),
    "metadata": (TypeError, "metadata a: expected text, got int", lambda: heed.write_safetensors("x", {"a": q}, {"a": 3})),
    "traced": (ValueError, "without storage of its own", lambda: torch.vmap(lambda x: heed.ops.exp(x))(torch.ones(2, 3))),
    "memory": (MemoryError, "memory: expected .* MiB for a tensor", lambda: heed.ops.concat([torch.ones(1).expand(2**44)] * 2, 0)),
    "case file": (ValueError, "no-such-file", lambda: heed.verify("no-such-file.safetensors")),
}


@pytest.mark.parametrize("name", WRONG)
def test_errors_name_the_argument(name):
    kind, message, call = WRONG[name]
    with pytest.raises(kind, match=message):
        call()


def test_lists_of_numbers_come_as_arrays():
    want = heed.attend(q, k, v, window=(1, 0))
    for window in ([1, 0], np.array([1, 0]), torch.tensor([1, 0]), (np.int64(1), 0)):
        assert np.array_equal(heed.attend(q, k, v, window=window), want)


def test_after_a_fork():
    """OpenMP's threads do not come along: the child computes with one, the same bits, and does not wait for them."""
    x = np.random.default_rng(0).standard_normal((1, 300, 4, 64), dtype=np.float32)
    want = heed.attend(x, x, x, threads=2)

    def differs():
        signal.alarm(30)
        return not np.array_equal(heed.attend(x, x, x, threads=2), want)

    def forked(work):
        child = os.fork()
        if child == 0:
            try:
                os._exit(work())
            finally:
                os._exit(2)
        return os.waitpid(child, 0)[1] != 0

    assert not forked(lambda: differs() or forked(differs))
    assert not differs()
    signal.alarm(0)


def test_calls_run_beside_each_other():
    """The interpreter's lock is released: another Python thread moves on while heed computes."""
    x = np.ones((600, 600), np.float32)
    moved, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            moved[0] += 1

    thread = threading.Thread(target=count)
    thread.start()
    results = [heed.ops.matmul(x, x, threads=1) for _ in range(5)]
    stop.set()
    thread.join()
    assert moved[0] > 0 and all(np.all(r == 600) for r in results)


def test_catalogue():
    rows = heed.list()
    assert [row["slug"] for row in rows] == sorted(row["slug"] for row in rows)
    assert {"slug", "family", "kind", "tier", "paper"} <= set(rows[0])
    assert all(row["family"] == "local" for row in heed.list("local")) and heed.list("local")
    heed.info("exact")["inputs"].clear()  # the caller's own
    assert heed.info("exact")["inputs"][0]["name"] == "q"
    assert heed.doctor(measure=False)["threads"] >= 1
    assert all(row["passed"] for row in heed.verify(CASES[0]))
    assert "sliding_window" in dir(heed) and "causal" in inspect.signature(heed.sliding_window).parameters


def test_safetensors_round_trip(tmp_path):
    tensors = {"a": torch.arange(6.0).reshape(2, 3).T, "b": np.arange(4), "c": torch.ones(3, dtype=torch.bool)}
    heed.write_safetensors(tmp_path / "x.safetensors", tensors)
    assert heed.read_safetensors(tmp_path / "x.safetensors")[1] == {}
    heed.write_safetensors(str(tmp_path / "x.safetensors"), tensors, {"note": "here"})
    back, metadata = heed.read_safetensors(str(tmp_path / "x.safetensors"))
    assert metadata == {"note": "here"}
    for name, tensor in tensors.items():
        assert np.array_equal(back[name], np.asarray(tensor))
    back["a"] += 1  # memory of its own


@pytest.mark.parametrize("order", ["heed, torch", "torch, heed"])
def test_one_pool_of_threads(order):
    """heed names libgomp.so.1 as torch does, so whichever comes first serves both."""
    code = f"import {order}; print(len({{l.split()[-1] for l in open('/proc/self/maps') if 'libgomp' in l}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.stdout.strip() == "1", done.stderr


def heed_program(*arguments):
    return subprocess.run([sys.executable, "-m", "heed", *map(str, arguments)], capture_output=True, text=True,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})


def test_program(tmp_path):
    assert json.loads(heed_program("list", "--json").stdout) == heed.list()
    assert json.loads(heed_program("info", "exact").stdout) == heed.info("exact")
    out = tmp_path / "out.safetensors"
    done = heed_program("run", "exact", "--in", next(p for p in CASES if p.stem == "exact"), "--out", out, "-p", "causal=true")
    assert done.returncode == 0, done.stderr
    assert "out.out" in heed.read_safetensors(str(out))[0]
    assert heed_program("verify", *CASES[:2]).returncode == 0
    wrong = heed_program("run", "no-such", "--in", CASES[0])
    assert wrong.returncode == 2 and wrong.stderr.count("\n") == 1 and "slug" in wrong.stderr
