# SPDX-License-Identifier: Apache-2.0
"""Mechanisms as torch modules."""
import re

import torch

from . import _catalogue, _heed
from .mechanisms import entry_of, pattern


class Module(torch.nn.Module):
    """A mechanism whose weights are parameters under the names of the official state dict.

        m = heed.nn.Module("mqa", hidden_size=64, num_attention_heads=4)
        m.load_state_dict(official.state_dict())
        out = m(x=x)                         # or m(x=x, outputs=["out", "weights"])["weights"]

    Weights begin as `heed.initial_weights` says (`seed`), or as `weights`, a dictionary of arrays. Where shapes depend on the
    inputs, `example` holds inputs of the shapes to come. Other keyword arguments are the mechanism's parameters. Weights that
    have no gradient are buffers. `out` has the dtype of the first tensor of floats, as modules of torch do; other outputs are
    float32.
    """

    def __init__(self, slug, *, example=None, weights=None, seed=0, **params):
        super().__init__()
        self._slug, self._seed = slug, seed
        self._params = {_catalogue._plain(name): value for name, value in params.items()}
        self._declaration = _catalogue._info(slug, self._params)
        text = _catalogue._json(self._params)
        if weights is None:
            weights = _heed.initial_weights(slug, _catalogue._tensors("example", example or {}), text, seed, True)
        for name, value in weights.items():
            self._add(name, torch.as_tensor(value).detach().clone())
        self.register_load_state_dict_pre_hook(self._before_loading)

    def _entry(self, name):
        return entry_of(self._declaration["weights"], name)

    def _ignored(self, name):
        return any(re.fullmatch(pattern(each), name) for each in self._declaration["ignored"])

    def _owner(self, name):
        """The submodule of a dotted name, made where it is missing, and the last part of the name."""
        *path, last = name.split(".")
        owner = self
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, torch.nn.Module())
            owner = owner._modules[part]
        return owner, last

    def _add(self, name, value):
        entry = self._entry(name)
        if entry is None:
            raise ValueError(f"weight {name}: expected a weight of {self._slug}, got an unknown name")
        owner, last = self._owner(name)
        if entry["gradient"] and value.is_floating_point():
            owner.register_parameter(last, torch.nn.Parameter(value))
        else:
            owner.register_buffer(last, value)

    def _before_loading(self, module, state, prefix, *_):
        """Drops what carries nothing here; takes up weights that are optional or depend on the number of layers."""
        have = {*dict(self.named_parameters()), *dict(self.named_buffers())}
        for key in [key for key in state if key.startswith(prefix)]:
            name = key[len(prefix):]
            if name in have:
                continue
            if self._ignored(name):
                del state[key]
            elif self._entry(name):
                self._add(name, torch.empty_like(state[key]))

    def _weights(self):
        """All weights by name."""
        return {**dict(self.named_parameters()), **dict(self.named_buffers())}

    def forward(self, *, outputs=None, threads=0, precision=None, isa=None, **tensors):
        results = _catalogue._run(self._slug, tensors, self._weights(), outputs, self._params, (threads, precision, isa, self._seed))
        dtype = next((t.dtype for t in tensors.values() if isinstance(t, torch.Tensor) and t.is_floating_point()), torch.float32)

        def chained(out):
            return out.to(dtype) if isinstance(out, torch.Tensor) and out.is_floating_point() else out

        return chained(results) if outputs is None else {name: chained(t) if name == "out" else t for name, t in results.items()}

    def extra_repr(self):
        return ", ".join([repr(self._slug), *(f"{name}={value!r}" for name, value in self._params.items())])
