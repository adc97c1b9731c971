# SPDX-License-Identifier: Apache-2.0
"""The catalogue: what there is, what each entry takes, and the call that runs one by its name."""
import copy
import functools
import json
import math
import os
from collections.abc import Iterable

from . import _heed


def info(slug, /, **params):
    """The declaration of a mechanism: a dictionary of slug, family, kind, tier, paper, inputs, weights, params, outputs.

    Tensors may depend on parameters: those given here settle which there are.
    """
    return copy.deepcopy(_info(slug, {_plain(name): value for name, value in params.items()}))


def _info(slug, params):
    return _declaration(_text("slug", slug), _json(params))


@functools.lru_cache(1024)
def _declaration(slug, params):
    """Shared: not to be changed."""
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
    return _heed.verify(_path(path), threads, precision, isa)


def read_safetensors(path):
    """The tensors of a file by name, as numpy arrays, and its metadata, a dictionary of text."""
    return _heed.read_safetensors(_path(path))


def write_safetensors(path, tensors, metadata=None):
    """Writes arrays by name, and text by name. The file is there whole or not at all."""
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata: expected a dictionary of text by name, got {type(metadata).__name__}")
    _heed.write_safetensors(_path(path), _tensors("tensors", tensors), metadata)


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
    results = _heed.run(slug, _tensors("tensors", tensors), _tensors("weights", {} if weights is None else weights), _json(params), _names(outputs),
                        *settings)
    return results["out"] if outputs is None else results


def initial_weights(slug, tensors=None, *, seed=0, **params):
    """The weights that a mechanism begins with, by name: numpy arrays. `tensors` where the inputs settle shapes."""
    given = {_plain(name): value for name, value in params.items()}
    return _heed.initial_weights(_text("slug", slug), _tensors("tensors", {} if tensors is None else tensors), _json(given), seed, False)


def _text(name, value):
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected text, got {type(value).__name__}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{name}: expected text, got lone surrogates, which UTF-8 lacks") from None
    return value


def _path(path):
    try:
        return _text("path", os.fsdecode(path))
    except TypeError:
        raise TypeError(f"path: expected the name of a file, got {type(path).__name__}") from None


def _plain(name):
    """A parameter's own name: `hidden_` stands for `hidden`."""
    return name[:-1] if name.endswith("_") else name


def _names(outputs):
    if outputs is None:
        return ["out"]
    if isinstance(outputs, str) or not isinstance(outputs, Iterable):
        raise TypeError(f"outputs: expected a list of names, got {type(outputs).__name__}")
    return [_text("outputs", name) for name in outputs]


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
        if isinstance(value, str):
            _text(f"parameter {name}", value)
    try:
        return json.dumps(params, default=plain, allow_nan=False)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"parameters: expected finite numbers, text, and lists and dictionaries of them, got: {error}") from None
