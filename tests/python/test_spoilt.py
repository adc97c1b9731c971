# SPDX-License-Identifier: Apache-2.0
"""Calls of the ops' table with spoilt arguments: other shapes, no elements, odd strides, other dtypes, numbers of any size. Each ends in a
result (and its gradients) or in an error of Python's that says what was expected."""
import random

import pytest
import torch
from test_ops import CASES, LAYOUTS, make

import heed

INTEGERS = [-1, 0, 1, 2, 3, 5, -2, -9, 7, 100, 2**34, 2**62, -(2**63), 2**63 - 1]
REALS = [0.0, -1.0, 2.5, 1e30, float("nan"), float("inf")]
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.uint8, torch.bool]


def spoilt_tensor(r, x):
    axis = r.randrange(x.ndim) if x.ndim else None
    ways = [lambda: x.reshape(-1), lambda: x[None], lambda: x.expand(2, *x.shape), lambda: x.to(r.choice(DTYPES)), lambda: None,
            lambda: torch.rand([r.randrange(4) for _ in range(r.randrange(6))])]
    if axis is not None:
        ways += [lambda: x.transpose(0, axis), lambda: x.narrow(axis, 0, r.randrange(x.shape[axis] + 1)), lambda: torch.cat([x, x], axis), lambda: x[..., :0]]
    if x.numel() and x.dtype != torch.bool:
        flat = x.detach().flatten().clone()
        flat[r.randrange(len(flat))] = r.choice(REALS if x.is_floating_point() else INTEGERS if x.dtype == torch.int64 else [0, 1, 100])
        ways.append(lambda: flat.reshape(x.shape))
    return r.choice(ways)()


def spoilt(r, value):
    if isinstance(value, torch.Tensor):
        return spoilt_tensor(r, value)
    if isinstance(value, bool) or value is None:
        return r.choice([True, False, None, 2, [], torch.rand(2, 3)])
    if isinstance(value, int):
        return r.choice(INTEGERS)
    if isinstance(value, float):
        return r.choice(REALS)
    if isinstance(value, str):
        return r.choice(["", "x", value + value, value[:1], "ij,jk"])
    if isinstance(value, (list, tuple)):
        items = list(value)
        if items and r.random() < 0.6:
            at = r.randrange(len(items))
            items[at] = spoilt(r, items[at])
            return items
        return r.choice([items[:-1], items + items, []])
    return r.choice([None, 0, [], torch.rand(2, 3)])


class Spoiler:
    """heed.ops, but for up to two arguments of each call."""

    def __init__(self, r):
        self.r, self.last = r, None

    def __getattr__(self, name):
        def call(*arguments, **named):
            arguments, r = list(arguments), self.r
            for _ in range(r.choice([0, 1, 1, 2])):
                at = r.choice([*range(len(arguments)), *named])
                group = arguments if isinstance(at, int) else named
                group[at] = spoilt(r, group[at])
            if r.random() < 0.05:
                named[r.choice(["threads", "seed", "isa", "precision"])] = r.choice([-1, 1, 2**40, "x", "fast", "avx2", None])
            self.last = name, arguments, named
            return getattr(heed.ops, name)(*arguments, **named)
        return call


@pytest.mark.parametrize("seed", range(4))
def test_spoilt_calls(seed):
    r = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    o = Spoiler(r)
    refused = 0
    for _ in range(1000):
        call, _, specs = r.choice(CASES[r.choice(list(CASES))])
        inputs = [make(spec, generator, LAYOUTS["dense"]) for spec in specs]
        try:
            results = call(o, *inputs)
            results = results if isinstance(results, (tuple, list)) else [results]
            loss = [x.sum() for x in results if isinstance(x, torch.Tensor) and x.requires_grad]
            if loss:
                sum(loss).backward()
        except (ValueError, TypeError, MemoryError) as error:
            refused += 1
            assert ": expected " in str(error), (o.last, error)
    assert 50 < refused < 950
