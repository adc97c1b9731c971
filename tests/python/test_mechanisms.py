# SPDX-License-Identifier: Apache-2.0
"""Every catalogue entry on every case file: kinds of arrays, layouts, 16-bit inputs, the generated functions."""
import inspect
import json

import numpy as np
import pytest
import torch
from conftest import CASES, TESTS, check, load, strided, to_torch

import heed
from heed.mechanisms import entry_of

SLUGS = [row["slug"] for row in heed.list()]


def test_from_numpy(case):
    results = case.run()
    assert set(results) == set(case.outputs)
    for name, want in case.outputs.items():
        assert isinstance(results[name], np.ndarray)
        check(results[name], want, case.rtol, case.atol, name)


def test_from_torch_strided(case):
    results = case.run(lambda array: to_torch(strided(array)))
    for name, want in case.outputs.items():
        assert isinstance(results[name], torch.Tensor)
        check(results[name], want, case.rtol, case.atol, name)


def test_same_bits_for_any_threads(case):
    one, two = case.run(strided, threads=1), case.run(strided, threads=2)
    for name in one:
        assert np.array_equal(one[name], two[name], equal_nan=True), name


@pytest.mark.parametrize("dtype,bound", [(torch.bfloat16, 2**-7), (torch.float16, 2**-9)], ids=["bf16", "f16"])
def test_16_bits_against_strict(case, dtype, bound):
    """CONTRACTS, Precision: heed's own strict result on the rounded inputs, within a share of the largest |out|."""
    def rounded(array):
        return to_torch(array).to(dtype) if array.dtype == np.float32 else to_torch(array)

    def widened(array):
        return rounded(array).float() if array.dtype == np.float32 else to_torch(array)

    floats = [name for name, want in case.outputs.items() if want.dtype.kind == "f"]
    got, want = case.run(rounded), case.run(widened)
    for name in floats:
        a, b = got[name].double(), want[name].double()
        same = a == b
        off = torch.where(same, 0.0, (a - b).abs()).max() if a.numel() else 0.0
        largest = b[b.isfinite()].abs().max() if b.isfinite().any() else 0.0
        assert off <= bound * largest, name


def recorded(case, outputs=("out",)):
    """The tensors of a case with every float that has a gradient asked for it; results; (inputs, weights)."""
    d = heed.info(case.slug, **case.params)

    def tensors(given, entries):
        def has_gradient(name):
            return entry_of(entries, name)["gradient"]
        return {name: to_torch(a.copy()).requires_grad_(a.dtype == np.float32 and has_gradient(name)) for name, a in given.items()}

    inputs, weights = tensors(case.inputs, d["inputs"]), tensors(case.weights, d["weights"])
    return case.start(inputs, weights, outputs), inputs, weights


def needs_gradient(case):
    entries = heed.info(case.slug, **case.params)
    return any(e["gradient"] for e in entries["inputs"] + entries["weights"]) and case.outputs["out"].dtype == np.float32


def test_gradients_of_the_case_file(case):
    if not case.cotangents:
        pytest.skip("no gradients in the file")
    results, inputs, weights = recorded(case, case.cotangents)
    sum((results[name] * to_torch(c)).sum() for name, c in case.cotangents.items()).backward()
    for name, want in case.input_grads.items():
        check(inputs[name].grad, want, case.rtol, case.atol, f"grad.in.{name}")
    for name, want in case.weight_grads.items():
        check(weights[name].grad, want, case.rtol, case.atol, f"grad.weight.{name}")


def not_the_slope(case):
    """Why the gradients are not slopes by design, or None. What they are instead is compared with torch."""
    if case.slug == "hyperzzw" and case.params.get("kind") == "L":
        return "learns through a part of its kernel's network alone, as the released code does"
    if case.slug == "bibert-bi-attention":
        return "signs, which pass gradients where |value| < 1"
    return None


def test_gradients_through_signs():
    """BiBERT in torch: a step forwards, a clamp backwards."""
    def through(value, x):
        soft = x.clamp(-1, 1)
        return soft + (value - soft).detach()

    torch.manual_seed(0)
    q, k, v, cotangent = (torch.randn(2, 9, 3, 8) for _ in range(4))
    tensors = [t.requires_grad_() for t in (q, k, v)]
    heed.run("bibert-bi-attention", {"q": q, "k": k, "v": v}, num_attention_heads=3).mul(cotangent).sum().backward()
    doubles = [t.detach().double().requires_grad_() for t in tensors]
    a, b, c = (through(t.sign(), t).transpose(1, 2) for t in doubles)
    scores = a @ b.transpose(2, 3) / 8**0.5
    ((through((scores > 0).double(), scores) @ c).transpose(1, 2) * cotangent).sum().backward()
    for got, want in zip(tensors, doubles):
        assert want.grad.norm() > 1
        torch.testing.assert_close(got.grad.double(), want.grad, rtol=1e-5, atol=1e-5)


# An output that says what was chosen: where it differs between two ends, their difference is a jump and no slope.
CHOICE = {"sdim": "hits"}


def test_gradients_by_differences(case):
    """Every tensor at once: the slope of sum(out * c) along random directions, by central differences."""
    if not needs_gradient(case):
        pytest.skip("declares no gradients")
    if why := not_the_slope(case):
        assert case.cotangents or case.slug == "bibert-bi-attention"
        pytest.skip(why)
    rng = np.random.default_rng(5)
    results, inputs, weights = recorded(case)
    out = results["out"]
    if not out.requires_grad:
        pytest.skip("this variant has no gradients")
    cotangent = torch.from_numpy(rng.standard_normal(out.shape)).double()
    (out.double() * cotangent).sum().backward()
    choice = [CHOICE[case.slug]] if case.slug in CHOICE else []
    moved = {("in", k): t for k, t in inputs.items() if t.requires_grad} | {("weight", k): t for k, t in weights.items() if t.requires_grad}
    for (group, name), tensor in moved.items():
        if name == "mask":  # zeros and ones times a huge number: no step is small enough
            continue
        if name == "x" and case.meta["note"].endswith("[near-zero]"):  # nor here; the file has this gradient in double
            continue
        gradient = tensor.grad.double()
        norm = gradient.norm()
        # Along the gradient itself and a random direction: a missing term shows in one of them.
        random = torch.from_numpy(rng.standard_normal(tensor.shape))
        random /= max(random.norm(), 1e-9)
        for direction in (gradient / norm if norm > 0 else random, random):
            def at(moved_by):
                with torch.no_grad():
                    into = {"in": dict(inputs), "weight": dict(weights)}
                    into[group][name] = (tensor.double() + moved_by * direction).float()
                    results = case.start(into["in"], into["weight"], ["out", *choice])
                return float((results["out"].double() * cotangent).sum()), [results[name] for name in choice]

            want, off = float((gradient * direction).sum()), []
            # The smaller steps where a choice (a largest) turns within the larger; the last one for tensors that choose and do no
            # more, whose gradient is 0: there the results are the same to the bit, without an allowance for rounding.
            for share in [1e-2, 1e-3] + [1e-4] * bool(choice) + [1e-5] * (norm == 0):
                step = share * max(1.0, float(tensor.detach().norm()) / 8)
                noise = 1e-6 * float((out.detach().double().abs() * cotangent.abs()).sum()) / step if share > 1e-5 else 0.0
                (above, chosen), (below, other) = at(step), at(-step)
                if not all(torch.equal(a, b) for a, b in zip(chosen, other)):
                    continue
                off.append(abs((above - below) / (2 * step) - want) / (0.03 * float(norm) + noise + 1e-4))
                if off[-1] <= 1:
                    break
            assert off, f"{group}.{name}: the choice turns within the smallest step"
            assert off[-1] <= 1, f"{group}.{name}: {want} by the tape, off by {off} times what is allowed"


@pytest.mark.parametrize("slug", SLUGS)
def test_has_a_case_file(slug):
    assert any(load(path).slug == slug for path in CASES)


@pytest.mark.parametrize("slug", SLUGS)
def test_generated_function(slug):
    function = getattr(heed, slug.replace("-", "_"))
    case = next(load(path) for path in CASES if load(path).slug == slug)
    signature, d = inspect.signature(function), heed.info(slug)
    repeated = any(e["repeated"] for e in d["inputs"])  # any number of names: **tensors
    kinds = {p.kind for p in signature.parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY} | ({inspect.Parameter.VAR_KEYWORD} if repeated else set())
    settings = {"weights", "outputs", "threads", "precision", "isa", "seed"}
    tensors = {e["name"] + "_" * (e["name"] in settings) for e in d["inputs"] if not e["repeated"]}
    assert tensors <= set(signature.parameters)
    arguments = {name + "_" * (name in settings): array for name, array in case.inputs.items()}
    for p in d["params"]:
        name = p["name"] + "_" * (p["name"] in tensors | settings)
        assert signature.parameters[name].default == p["default"]
        assert p["name"] in function.__doc__ and p["doc"] in function.__doc__
        if p["name"] in case.params:
            arguments[name] = case.params[p["name"]]
    results = function(weights=case.weights, outputs=list(case.outputs), **arguments)
    for name, want in case.outputs.items():
        check(results[name], want, case.rtol, case.atol, name)


@pytest.mark.parametrize("path", sorted((TESTS / "interfaces").glob("*.json")), ids=lambda path: path.stem)
def test_interface_is_accepted(path):
    """The names, shapes and types of the tables: the declaration takes the inputs and gives the outputs."""
    text = json.loads(path.read_text())
    rng, types = np.random.default_rng(0), {"I64": np.int64, "BOOL": np.bool_, "U8": np.uint8, "I32": np.int32}

    def shape_of(described):
        return described.split(" ")[0], json.loads(described.split(" ", 1)[1])

    file = TESTS / "cases" / f"{text['mechanism']}.safetensors"
    stored = load(file).inputs if file.exists() else {}

    def made(described, name=None):
        kind, shape = shape_of(described)
        if kind == "I64" and name in stored and list(stored[name].shape) == shape:  # sizes and edges must be sound
            return stored[name]
        return rng.standard_normal(shape).astype(np.float32) if kind == "F32" else np.ones(shape, types[kind])

    results = heed.run(text["mechanism"], {k: made(v, k) for k, v in text["inputs"].items()},
                       weights={k: made(v) for k, v in text["weights"].items()}, outputs=list(text["outputs"]), **text["params"])
    for name, described in text["outputs"].items():
        kind, shape = shape_of(described)
        assert list(results[name].shape) == shape, name
        assert results[name].dtype == types.get(kind, np.float32), name


@pytest.mark.parametrize("path", sorted((TESTS / "interfaces").glob("*.json")), ids=lambda path: path.stem)
def test_further_names_are_declared(path):
    """Names of the tables that belong to other parameters: further ones, those of a case file, another choice, or a layer more."""
    text = json.loads(path.read_text())
    slug, params = text["mechanism"], text["params"]
    declared = heed.info(slug)["params"]
    further = text.get("further params", {})
    assert set(further) <= {p["name"] for p in declared}
    tried = [params, {**params, **further}, *({**params, name: value} for name, value in further.items()),
             *(load(p).params for p in CASES if load(p).slug == slug)]
    for p in declared:
        value = params.get(p["name"], p["default"])
        others = p.get("choices", [])
        if isinstance(value, (bool, int)):
            others = [not value] if isinstance(value, bool) else [value + 1, value + 2]
        tried += [{**params, p["name"]: other} for other in others]
    groups = {"in.": "inputs", "weight.": "weights", "out.": "outputs"}
    missing = set(text.get("further tensors", []))
    for each in tried:
        try:
            d = heed.info(slug, **each)
        except ValueError:  # out of range
            continue
        missing -= {name for name in missing for prefix, group in groups.items()
                    if name.startswith(prefix) and entry_of(d[group], name.removeprefix(prefix))}
    assert not missing
