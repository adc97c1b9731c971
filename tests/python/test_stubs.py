# SPDX-License-Identifier: Apache-2.0
"""The stubs that the build writes: what they say is what is there."""
import ast
import inspect
import pathlib

import pytest

import heed

PACKAGE = pathlib.Path(heed.__file__).parent
NAMES = [row["slug"].replace("-", "_") for row in heed.list()]


def functions(name):
    tree = ast.parse((PACKAGE / name).read_text())
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def signature_of(node):
    """Names, kinds and defaults of a stub's function, as inspect has them."""
    P = inspect.Parameter
    a = node.args
    plain = a.posonlyargs + a.args
    padded = [None] * (len(plain) - len(a.defaults)) + a.defaults
    made = [(p.arg, P.POSITIONAL_ONLY if p in a.posonlyargs else P.POSITIONAL_OR_KEYWORD, d) for p, d in zip(plain, padded)]
    made += [(p.arg, P.KEYWORD_ONLY, d) for p, d in zip(a.kwonlyargs, a.kw_defaults)]
    made += [(a.kwarg.arg, P.VAR_KEYWORD, None)] if a.kwarg else []
    return [(name, kind, P.empty if d is None else ast.literal_eval(d)) for name, kind, d in made]


def same(node, function):
    assert signature_of(node) == [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]


def test_marker():
    assert (PACKAGE / "py.typed").exists()


MECHANISMS = functions("mechanisms.pyi")


def test_every_mechanism_and_no_other():
    assert sorted(MECHANISMS) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_signature_of_a_mechanism(name):
    node = MECHANISMS[name]
    same(node, getattr(heed, name))
    assert all(p.annotation is not None for p in node.args.kwonlyargs)
    assert ast.get_docstring(node, clean=False).split()[0] == name.replace("_", "-")


def test_types_of_parameters():
    args = {p.arg: ast.unparse(p.annotation) for p in MECHANISMS["sliding_window"].args.kwonlyargs}
    assert args["q"] == "Array" and args["bias"] == "Array | None"
    assert args["causal"] == "bool" and args["scale"] == "float | None" and args["softcap"] == "float"
    assert args["window"] == "list[int] | int" and args["weighting"] == "str" and args["weights"] == "dict[str, Array] | None"


@pytest.mark.parametrize("name", ["attend", "attend_ragged", "why", "info", "list", "doctor", "verify", "run", "initial_weights"])
def test_functions_of_the_package(name):
    same(functions("__init__.pyi")[name], getattr(heed, name))


def test_everything_public_is_in_the_stub():
    text = (PACKAGE / "__init__.pyi").read_text()
    assert all(f" {name}" in text for name in heed.__all__)


def test_ops():
    stubs = functions("ops.pyi")
    there = {name for name, op in vars(heed.ops).items() if type(op) is heed.ops.Op}
    assert set(stubs) == there
    for name, node in stubs.items():
        same(node, getattr(heed.ops, name))
