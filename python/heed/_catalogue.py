# SPDX-License-Identifier: Apache-2.0
"""The catalogue: what there is, what each entry takes, and the call that runs one by its name."""
import builtins
import functools
import json
import math
import os

from . import _heed


def info(slug, /, **params):
    """The declaration of a mechanism: a dictionary of slug, family, kind, tier, paper, inputs, weights, params, outputs.

    Tensors may depend on parameters: those given here settle which there are.
    """
    return _info(_text("slug", slug), _json({_plain(name): value for name, value in params.items()}))


@functools.lru_cache(1024)
def _info(slug, params):
    return json.loads(_heed.describe_mechanism(slug, params))


def list(family=None):
    """Every mechanism, sorted by slug: dictionaries of slug, family, kind, tier and paper."""
    rows = _heed.list_mechanisms()
    families = sorted({row["family"] for row in rows})
    if family is not None and _text("family", family) not in families:
        raise ValueError(f"family: expected one of {', '.join(families)}, got '{family}'")
    return [row for row in rows if family in (None, row["family"])]


def doctor(measure=True):
    """What this machine is and can do: cpu, isa, isas, threads and, measured in two seconds, peaks (GFLOP/s, GB/s)."""
    return _heed.doctor(measure)


def verify(path, *, threads=0, precision=None, isa=None):
    """Runs a case file; for each output a dictionary of output, max_absolute, max_relative and passed."""
    return _heed.verify(os.fspath(path), threads, precision, isa)


def run(slug, tensors, *, weights=None, outputs=None, threads=0, precision=None, isa=None, seed=0, **params):
    """Runs the mechanism `slug` (`heed.list()`; what each takes: `heed.info(slug)`).

    tensors, weights: dictionaries of arrays by name. outputs: names, among which `out` need not be. A parameter whose name
    is also an argument here may be written with a trailing underscore. Returns `out`, or where outputs are named a dictionary
    of these. Results are of the kind of the first tensor.

    A mechanism with weights of which none are given begins with seeded ones (`heed.initial_weights`; `seed`). Inputs and weights
    that are torch tensors and require gradients get them; asking a mechanism that declares none is a ValueError.
    """
    return _run(_text("slug", slug), tensors, weights, outputs, {_plain(name): value for name, value in params.items()},
                (threads, precision, isa, seed))


def _run(slug, tensors, weights, outputs, params, settings):
    results = _heed.run(slug, _tensors("tensors", tensors), _tensors("weights", weights or {}), _json(params), _names(outputs),
                        *settings)
    return results["out"] if outputs is None else results


def initial_weights(slug, tensors=None, *, seed=0, **params):
    """The weights that a mechanism begins with, by name: numpy arrays. `tensors` where the inputs settle shapes."""
    given = {_plain(name): value for name, value in params.items()}
    return _heed.initial_weights(_text("slug", slug), _tensors("tensors", tensors or {}), _json(given), seed, False)


def _text(name, value):
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected text, got {type(value).__name__}")
    return value


def _plain(name):
    """A parameter's own name: `hidden_` stands for `hidden`."""
    return name[:-1] if name.endswith("_") else name


def _names(outputs):
    if outputs is None:
        return ["out"]
    if isinstance(outputs, str) or not all(isinstance(name, str) for name in outputs):
        raise TypeError("outputs: expected a list of names")
    return builtins.list(outputs)


def _tensors(name, tensors):
    if not isinstance(tensors, dict):
        raise TypeError(f"{name}: expected a dictionary of arrays by name, got {type(tensors).__name__}")
    return {key: value for key, value in tensors.items() if value is not None}


def _json(params):
    if not params:
        return "{}"

    def plain(value):
        if hasattr(value, "tolist"):  # scalars and arrays of numpy and torch
            return value.tolist()
        raise TypeError(f"parameters: expected numbers, text, lists or dictionaries, got {type(value).__name__}")

    for name, value in params.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"parameter {name}: expected a finite number, got {value}")
    return json.dumps(params, default=plain)
