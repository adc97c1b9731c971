# SPDX-License-Identifier: Apache-2.0
"""heed.nn.Module: official names, loading, training."""
import copy

import pytest
import torch
from conftest import CASES, check, load, to_torch

import heed
import heed.nn
from heed.mechanisms import entry_of

WITH_WEIGHTS = [path for path in CASES if load(path).weights]


@pytest.mark.parametrize("path", WITH_WEIGHTS, ids=lambda path: path.stem)
def test_official_state_dict(path):
    """A module takes the case's weights by name, computes the same, and gives the names back."""
    case = load(path)
    state = {name: to_torch(array) for name, array in case.weights.items()}
    module = heed.nn.Module(case.slug, weights={name: torch.zeros_like(t) for name, t in state.items()}, **case.params)
    module.load_state_dict(state)
    assert set(module.state_dict()) == set(state)
    results = module(outputs=list(case.outputs), **{name: to_torch(array) for name, array in case.inputs.items()})
    for name, want in case.outputs.items():
        check(results[name].detach() if isinstance(results[name], torch.Tensor) else results[name], want, case.rtol, case.atol, name)
    entries = heed.info(case.slug, **case.params)["weights"]
    for name, tensor in state.items():
        assert (name in dict(module.named_parameters())) == (entry_of(entries, name)["gradient"] and tensor.is_floating_point()), name


def test_beginning_is_seeded():
    def make(seed):
        return heed.nn.Module("mqa", hidden_size=16, num_attention_heads=4, seed=seed).state_dict()

    one, same, other = make(1), make(1), make(2)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["c_attn.weight"], other["c_attn.weight"])
    assert {"c_attn.weight", "c_attn.bias", "c_proj.weight", "c_proj.bias"} == set(one)


def test_shapes_from_an_example():
    with pytest.raises(ValueError, match="weight q_norm.weight"):
        heed.nn.Module("qk-norm")
    q = torch.randn(1, 3, 2, 8)
    module = heed.nn.Module("qk-norm", example={"q": q, "k": q, "v": q})
    assert module.q_norm.weight.shape == (8,)
    assert torch.equal(copy.deepcopy(module)(q=q, k=q, v=q), module(q=q, k=q, v=q))


@pytest.mark.parametrize("slug", ["autoint", "biformer-bra", "duo-attention", "gat", "gatv2", "multi-token-attention", "nope", "pointer-network", "show-attend-tell",
                                  "supergat", "value-residual", "variational-attention"])
def test_shapes_from_parameters(slug):
    """No example and no weights: the parameters of the official constructor settle every shape."""
    case = next(load(p) for p in WITH_WEIGHTS if p.stem == slug)
    module = heed.nn.Module(slug, **case.params)
    module.load_state_dict({name: to_torch(array) for name, array in case.weights.items()})
    out = module(**{name: to_torch(array) for name, array in case.inputs.items()})
    assert torch.allclose(out, to_torch(case.outputs["out"]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_16_bits_chain_with_other_modules(dtype):
    module, head = heed.nn.Module("mqa", hidden_size=16, num_attention_heads=4), torch.nn.Linear(16, 3)
    x = torch.randn(2, 5, 16)
    want = head(module(x=x)).detach()
    module.to(dtype), head.to(dtype)
    out = head(module(x=x.to(dtype)))
    assert out.dtype == dtype and torch.allclose(out.float(), want, atol=0.05 * want.abs().max().item())
    out.sum().backward()
    assert all(p.grad is not None and p.grad.dtype == dtype for p in module.parameters())
    assert module(x=x.to(dtype), outputs=["out"])["out"].dtype == dtype


def test_arrays_of_numpy_train_too():
    module = heed.nn.Module("mqa", hidden_size=16, num_attention_heads=4)
    x = torch.randn(2, 5, 16)
    module(x=x.numpy()).sum().backward()
    found = module.c_attn.weight.grad.clone()
    module.zero_grad()
    module(x=x).sum().backward()
    assert torch.equal(found, module.c_attn.weight.grad)


def test_loading_takes_up_optional_weights_and_refuses_unknown_ones():
    case = next(load(p) for p in CASES if load(p).slug == "kdgqa")
    required = {k: torch.as_tensor(v) for k, v in case.weights.items() if k.endswith(".weight")}
    module = heed.nn.Module("kdgqa", weights=required, **case.params)
    full = {**required, "q.bias": torch.ones(required["q.weight"].shape[0])}
    module.load_state_dict(full)
    assert torch.equal(module.q.bias, full["q.bias"])
    with pytest.raises(RuntimeError, match="Unexpected key.*nonsense"):
        module.load_state_dict({**full, "nonsense": torch.ones(1)})
    with pytest.raises(RuntimeError, match="size mismatch"):
        module.load_state_dict({**full, "q.bias": torch.ones(3)})


def test_training_lowers_the_loss():
    """Each token is a key and a value; the last one asks for a key, and the answer is the value that stands with it."""
    torch.manual_seed(0)
    module = heed.nn.Module("mqa", hidden_size=16, num_attention_heads=4)
    head = torch.nn.Linear(16, 4)
    optimiser = torch.optim.Adam([*module.parameters(), *head.parameters()], lr=0.02)
    name = heed.info("mqa")["inputs"][0]["name"]

    def batch():
        keys = torch.stack([torch.randperm(4) for _ in range(64)])
        values = torch.randint(0, 4, (64, 4))
        x = torch.zeros(64, 5, 16)
        x[:, :4, :4] = 3 * torch.nn.functional.one_hot(keys, 4)
        x[:, :4, 4:8] = 3 * torch.nn.functional.one_hot(values, 4)
        asked = torch.randint(0, 4, (64,))
        rows = torch.arange(64)
        x[rows, 4, 8 + keys[rows, asked]] = 3
        return x, values[rows, asked]

    losses = []
    for _ in range(150):
        x, answer = batch()
        loss = torch.nn.functional.cross_entropy(head(module(**{name: x}, threads=1)[:, 4]), answer)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert all(p.grad is not None for p in module.parameters())
    assert sum(losses[:5]) / 5 > 1.2 and sum(losses[-5:]) / 5 < 0.6, losses[::10]


def test_no_gradient_is_a_clear_error():
    none = [(row["slug"], e["name"]) for row in heed.list() for e in heed.info(row["slug"])["inputs"] if not e["gradient"] and e["dtype"] == "f32"]
    for slug, name in none:
        case = next(load(p) for p in CASES if load(p).slug == slug)
        if name not in case.inputs:
            continue
        inputs = {k: to_torch(v.copy()) for k, v in case.inputs.items()}
        inputs[name].requires_grad_()
        with pytest.raises(ValueError, match="gradient"):
            case.start(inputs, case.weights)
