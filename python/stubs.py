# SPDX-License-Identifier: Apache-2.0
"""Writes heed's type stubs: stubs.py PACKAGE BINARY OUT, the folders of heed's Python files, of the built _heed and of the stubs.

mechanisms.pyi has a function a mechanism, with the signature that the catalogue's declaration gives it; ops.pyi one an op.
"""
import importlib.util
import inspect
import re
import sys
from pathlib import Path

HEADER = '''# Written by python/stubs.py when heed was built.
from typing import Any

Array = Any  # a numpy array, a torch tensor, or anything else with a buffer or DLPack
'''
PACKAGE = HEADER + '''
import os

from . import mechanisms as mechanisms
from . import nn as nn
from . import ops as ops
from .mechanisms import *

__version__: str
_Pair = tuple[int, int] | "builtins.list[int]"

def list(family: str | None = None) -> "builtins.list[dict[str, Any]]": ...
def info(slug: str, /, **params: Any) -> dict[str, Any]: ...
def doctor(measure: bool = True) -> dict[str, Any]: ...
def verify(path: str | os.PathLike[str], *, threads: int = 0, precision: str | None = None, isa: str | None = None) -> "builtins.list[dict[str, Any]]": ...
def run(slug: str, tensors: dict[str, Array], *, weights: dict[str, Array] | None = None, outputs: "builtins.list[str] | None" = None, threads: int = 0, precision: str | None = None, isa: str | None = None, seed: int = 0, **params: Any) -> Any: ...
def initial_weights(slug: str, tensors: dict[str, Array] | None = None, *, seed: int = 0, **params: Any) -> dict[str, Array]: ...
def read_safetensors(path: str | os.PathLike[str]) -> tuple[dict[str, Array], dict[str, str]]: ...
def write_safetensors(path: str | os.PathLike[str], tensors: dict[str, Array], metadata: dict[str, str] | None = None) -> None: ...
'''
ATTEND = {"q": "Array", "k": "Array", "v": "Array", "query_offsets": "Array", "key_offsets": "Array | None", "causal": "bool", "window": "_Pair",
          "block_size": "_Pair", "first_keys": "int", "dilation": "int", "scale": "float | None", "softcap": "float", "weighting": "str",
          "threads": "int", "precision": "str | None", "isa": "str | None"}
SETTINGS = {"weights": "dict[str, Array] | None", "outputs": "list[str] | None", "threads": "int", "precision": "str | None", "isa": "str | None",
            "seed": "int"}
PLAIN = {"bool": "bool", "int": "int", "float": "float", "text": "str"}


def load(package, binary):
    """heed out of its source folder, with _heed out of another."""
    spec = importlib.util.spec_from_file_location("heed", package / "__init__.py", submodule_search_locations=[str(package), str(binary)])
    module = sys.modules["heed"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def annotation(kind):
    """Python's form of a parameter's type in heed.info(): "list of int or null"."""
    if kind.endswith(" or null"):
        return annotation(kind.removesuffix(" or null")) + " | None"
    if kind.startswith("list of "):  # a list takes a single value too
        inner = annotation(kind.removeprefix("list of "))
        return f"list[{inner}] | {inner}"
    if kind.startswith("map of "):
        return f"dict[str, {annotation(kind.removeprefix('map of '))}]"
    return " | ".join(PLAIN[part] for part in kind.split(" or "))


def function(name, signature, types, doc, result="Any"):
    """One stub; a parameter of unknown type has none."""
    parts, star = [], False
    for p in signature.parameters.values():
        if p.kind is p.KEYWORD_ONLY and not star:
            parts.append("*")
            star = True
        mark = "**" if p.kind is p.VAR_KEYWORD else ""
        default = "" if p.default is p.empty else f" = {p.default!r}"
        kind = types.get(p.name)
        parts.append(f"{mark}{p.name}" + (f": {kind}" if kind else "") + (default if kind else default.replace(" = ", "=")))
    text = re.sub(r'("""|\\)', r"\\\1", doc or "").replace("\n", "\n    ")
    return f'def {name}({", ".join(parts)}) -> {result}:\n    """{text}"""\n'.replace("\n    \n", "\n\n")


def mechanism(heed, slug):
    """The stub of a mechanism's function, by its declaration."""
    from heed import mechanisms
    name = slug.replace("-", "_")
    made, d = getattr(mechanisms, name), heed.info(slug)
    signature, arguments = mechanisms._signature(d)
    types = {**SETTINGS, "tensors": "Array"}
    for e in d["inputs"]:
        types[mechanisms._argument(e["name"])] = "Array" if mechanisms._required(e) else "Array | None"
    kinds = {p["name"]: p["type"] for p in d["params"]}
    types.update({shown: annotation(kinds[plain]) for shown, plain in arguments.items()})
    return function(name, signature, types, made.__doc__)


def main(package, binary, out):
    heed = load(Path(package), Path(binary))
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    slugs = [row["slug"] for row in heed.list()]
    names = [slug.replace("-", "_") for slug in slugs]
    (out / "mechanisms.pyi").write_text(HEADER + f"\n__all__ = {names!r}\n\n" + "\n".join(mechanism(heed, slug) for slug in slugs))
    ops = [(name, op) for name, op in sorted(vars(heed.ops).items()) if type(op) is heed.ops.Op]
    (out / "ops.pyi").write_text(HEADER + "\n" + "\n".join(function(name, inspect.signature(op), {}, op.__doc__) for name, op in ops))
    attend = [function(name, inspect.signature(getattr(heed, name)), ATTEND, getattr(heed, name).__doc__, "str" if name == "why" else "Any")
              for name in ("attend", "attend_ragged", "why")]
    (out / "__init__.pyi").write_text(PACKAGE.replace("from typing", "import builtins\nfrom typing") + "\n" + "\n".join(attend))


if __name__ == "__main__":
    main(*sys.argv[1:])
