# SPDX-License-Identifier: Apache-2.0
"""Every op against torch: values and gradients, float64 there, float32 here. Cases: op_cases_*.py, a line an op."""
import gc
import importlib
import pathlib
import re
import sys
import weakref

import pytest
import torch
from conftest import TESTS, strided

import heed

CASES = {}
for file in sorted(pathlib.Path(__file__).parent.glob("op_cases_*.py")):
    CASES.update(importlib.import_module(file.stem).CASES)
CALLS = [pytest.param(name, number, id=f"{name}-{number}") for name, calls in CASES.items() for number in range(len(calls))]
# Not values of tensors: what a derivative is made of, and the oracle of attend.
NOT_BOUND = {"no_gradient", "gradient", "record", "context", "recording", "wanted", "attend", "attend_plain", "attend_lists_plain", "scan_plain"}


def make(spec, generator, layout):
    if isinstance(spec, torch.Tensor):
        return spec.to(torch.float32) if spec.is_floating_point() else spec
    shape, low, high = spec if isinstance(spec[0], tuple) else (spec, -2.0, 2.0)
    x = low + (high - low) * torch.rand(shape, generator=generator)
    return layout(x).requires_grad_()


LAYOUTS = {"dense": lambda x: x, "strided": lambda x: torch.from_numpy(strided(x.numpy()))}


def as_list(results):
    return list(results) if isinstance(results, (tuple, list)) else [results]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name,number", CALLS)
def test_value_and_gradient(name, number, layout):
    call, reference, specs = CASES[name][number]
    generator = torch.Generator().manual_seed(sum(map(ord, name)) + number)
    inputs = [make(spec, generator, LAYOUTS[layout]) for spec in specs]
    doubles = [x.detach().double().requires_grad_() if x.is_floating_point() else x for x in inputs]
    got, want = as_list(call(heed.ops, *inputs)), as_list(reference(*doubles))
    assert len(got) == len(want)
    loss, wanted_loss = [], []
    for a, b in zip(got, want):
        assert a.shape == b.shape
        if not b.is_floating_point():
            assert torch.equal(a.to(b.dtype), b)
            assert not a.requires_grad
            continue
        torch.testing.assert_close(a.detach().double(), b.detach(), rtol=1e-5, atol=1e-5)
        if b.requires_grad:
            assert a.requires_grad
            cotangent = torch.randn(b.shape, generator=generator)
            loss.append((a * cotangent).sum())
            wanted_loss.append((b * cotangent.double()).sum())
    if not wanted_loss:
        return
    sum(wanted_loss).backward()
    sum(loss).backward()
    for x, y in zip(inputs, doubles):
        if x.requires_grad:
            torch.testing.assert_close(x.grad.double(), y.grad, rtol=2e-5, atol=2e-5)


def test_every_op_is_bound_and_compared():
    header = (TESTS.parent / "include" / "heed" / "ops.h").read_text()
    methods = set(re.findall(r"^  [\w:<>, ]+ (\w+)\(.*\bconst;|^  [\w:<>, ]+ (\w+)\((?=[^)]*$)", header[header.index("class Ops"):], re.M))
    methods = {a or b for a, b in methods} - NOT_BOUND - {"Ops"}
    bound = {name for name in dir(heed.ops) if isinstance(getattr(heed.ops, name), heed.ops.Op)}
    assert len(methods) > 50
    assert sorted(methods - bound) == [], "python/src/ops_*.cpp: a line an op"
    assert sorted(bound - set(CASES)) == [], "tests/python/op_cases_*.py: a line an op"


def test_gradients_follow_torchs_rules():
    x = torch.randn(4, requires_grad=True)
    with torch.no_grad():
        assert not heed.ops.exp(x).requires_grad
    y = heed.ops.exp(x)
    y += 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    constant = torch.ones(4)
    y = heed.ops.mul(x, constant)
    constant.zero_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    y = heed.ops.exp(x).sum()
    y.backward(retain_graph=True)
    once = x.grad.clone()
    y.backward()
    torch.testing.assert_close(x.grad, 2 * once)
    with pytest.raises(RuntimeError, match="gradient of a gradient"):
        torch.autograd.grad(heed.ops.exp(x).sum(), x, create_graph=True)


@pytest.mark.parametrize("seed", range(10))
def test_16_bit_gradients(seed):
    """Of their inputs' type, and off by no more than five roundings to 8 bits (of the weights in the forward and the backward pass, the
    result, the scores' gradients, the gradient) of the terms that are summed: |dP| + |delta| in place of dP - delta, whose parts may cancel."""
    torch.manual_seed(seed)
    q, k, v, g = (torch.randn(2, 2, 9, 8).bfloat16() for _ in range(4))
    given = [t.transpose(1, 2).contiguous().requires_grad_() for t in (q, k, v)]
    mine = torch.autograd.grad(heed.attend(*given, causal=True), given, g.transpose(1, 2))
    assert all(m.dtype == torch.bfloat16 for m in mine)
    exact = [t.double().requires_grad_() for t in (q, k, v)]
    want = torch.autograd.grad(torch.nn.functional.scaled_dot_product_attention(*exact, is_causal=True), exact, g.double())
    q, k, v, g = (t.double() for t in (q, k, v, g))
    weights = (q @ k.transpose(-1, -2) / 8**0.5).masked_fill(~torch.ones(9, 9, dtype=torch.bool).tril(), -torch.inf).softmax(-1)
    scores = weights * (g.abs() @ v.abs().transpose(-1, -2) + (g * (weights @ v)).abs().sum(-1, keepdim=True)) / 8**0.5
    terms = scores @ k.abs(), scores.transpose(-1, -2) @ q.abs(), weights.transpose(-1, -2) @ g.abs()
    for m, w, t in zip(mine, want, terms):
        assert ((m.transpose(1, 2).double() - w).abs() <= 5 * 2**-9 * t + 1e-6).all()


def test_graphs_are_freed():
    x, w = torch.randn(8, 64, requires_grad=True), torch.randn(64, 64, requires_grad=True)
    y = heed.ops.linear(heed.ops.exp(x), w)
    dead = weakref.ref(y)
    y.sum().backward()
    references = sys.getrefcount(w)
    del y
    gc.collect()
    assert dead() is None and sys.getrefcount(w) < references


def test_a_graph_of_heed_and_torch():
    x, w = torch.randn(3, 4, requires_grad=True), torch.randn(5, 4, requires_grad=True)
    heed.ops.softmax(torch.relu(heed.ops.linear(x, w)) * 2, 1)[:, 0].sum().backward()
    a, b = (t.detach().double().requires_grad_() for t in (x, w))
    (torch.relu(a @ b.T) * 2).softmax(1)[:, 0].sum().backward()
    torch.testing.assert_close(x.grad.double(), a.grad, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(w.grad.double(), b.grad, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"causal": True}, {"softcap": 2.0, "window": (2, 1)}, {"weighting": "sigmoid"}, {"return_lse": True}], ids=str)
def test_gradients_of_attend(options):
    torch.manual_seed(0)
    shapes = {"q": (2, 5, 4, 8), "k": (2, 7, 2, 8), "v": (2, 7, 2, 6), "bias": (4, 1, 7)}
    tensors = {name: torch.randn(shape, requires_grad=True) for name, shape in shapes.items()}
    doubles = {name: t.detach().double().requires_grad_() for name, t in tensors.items()}

    def reference(q, k, v, bias):
        s = torch.einsum("bnhd,bmhd->bhnm", q, k.repeat_interleave(2, 2)) / 8**0.5
        s = 2 * torch.tanh(s / 2) if "softcap" in options else s
        p, j = torch.arange(5)[:, None] + 2, torch.arange(7)
        left, right = options.get("window", (99, 99))
        seen = (j <= p if options.get("causal") else j >= 0) & (j >= p - left) & (j <= p + right)
        s = (s + bias).masked_fill(~seen, -torch.inf)
        w = s.sigmoid() if options.get("weighting") else s.softmax(-1)
        return torch.einsum("bhnm,bmhd->bnhd", w, v.repeat_interleave(2, 2)), s.logsumexp(-1)

    results = heed.attend(**tensors, **options)
    wanted = reference(**doubles)
    pairs = list(zip(results, wanted)) if options.get("return_lse") else [(results, wanted[0])]
    cotangents = [torch.randn(a.shape) for a, _ in pairs]
    sum((a * c).sum() for (a, _), c in zip(pairs, cotangents)).backward()
    sum((b * c).sum() for (_, b), c in zip(pairs, cotangents)).backward()
    for name in tensors:
        torch.testing.assert_close(tensors[name].grad.double(), doubles[name].grad, rtol=1e-4, atol=1e-5, msg=name)
