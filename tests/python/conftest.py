# SPDX-License-Identifier: Apache-2.0
"""What the tests share: the case files, and arrays in every kind and layout."""
import functools
import json
import os
import pathlib

# Before OpenMP starts: waiting threads that spin make small calls slow where others use the machine too.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np  # noqa: E402
import pytest
import torch

import heed

TESTS = pathlib.Path(__file__).resolve().parent.parent
CASES = sorted((TESTS / "cases").glob("*.safetensors"))


class Case:
    """A case file: its mechanism and the groups of its tensors as numpy arrays."""

    def __init__(self, path):
        tensors, self.meta = heed.read_safetensors(str(path))
        self.slug, self.params = self.meta["mechanism"], json.loads(self.meta["params"])
        self.rtol, self.atol = float(self.meta["rtol"]), float(self.meta["atol"])
        groups = {"in.": {}, "weight.": {}, "out.": {}, "cotangent.": {}, "grad.in.": {}, "grad.weight.": {}}
        for name, array in tensors.items():
            prefix = max((p for p in groups if name.startswith(p)), key=len)
            groups[prefix][name[len(prefix):]] = array
        self.inputs, self.weights, self.outputs, self.cotangents, self.input_grads, self.weight_grads = groups.values()

    def run(self, convert=lambda array: array, **settings):
        """The named outputs as numpy arrays, `convert` applied to all that goes in."""
        return self.start({k: convert(v) for k, v in self.inputs.items()}, {k: convert(v) for k, v in self.weights.items()}, **settings)

    def start(self, inputs, weights, outputs=None, **settings):
        return heed.run(self.slug, inputs, weights=weights, outputs=list(outputs or self.outputs), **settings, **self.params)


load = functools.cache(Case)


def case_id(path):
    return path.stem


@pytest.fixture(params=CASES, ids=case_id)
def case(request):
    return load(request.param)


def strided(array):
    """The same elements in column-major order inside a larger block."""
    block = np.zeros([n + 1 for n in array.shape[::-1]], array.dtype).T
    view = block[tuple(slice(0, n) for n in array.shape)]
    view[...] = array
    return view


def to_torch(array):
    """A torch tensor over the same memory, strides kept."""
    return torch.from_numpy(array)


def check(got, want, rtol, atol, what):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, what
    if want.dtype.kind != "f":
        assert np.array_equal(got.astype(np.int64), want.astype(np.int64)), what
        return
    both = got == want  # infinities
    with np.errstate(invalid="ignore"):
        off = np.where(both, 0, np.abs(got.astype(np.float64) - want))
    assert np.all(off <= atol + rtol * np.where(both, 0, np.abs(want))), f"{what}: off by {np.nanmax(off)}"
