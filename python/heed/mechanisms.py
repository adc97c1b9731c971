# SPDX-License-Identifier: Apache-2.0
"""One function a mechanism, made from its declaration when it is first asked for: heed.mechanisms.sliding_window.

Tensors go by keyword, then `weights=`, `outputs=`, the parameters with the paper's names and defaults, and the settings of
every call. A tensor whose name is also an argument's gets a trailing underscore, and so does a parameter whose name is also a
tensor's or an argument's. Tensors that the parameters given bring in (`x2` of three layers) are taken too.
"""
import inspect
import re
import textwrap

from . import _catalogue, _heed

_SETTINGS = {"threads": 0, "precision": None, "isa": None, "seed": 0}
_ARGUMENTS = ("weights", "outputs", *_SETTINGS)
_KEYWORD = inspect.Parameter.KEYWORD_ONLY
_slugs = {row["slug"].replace("-", "_"): row["slug"] for row in _heed.list_mechanisms()}


def pattern(name):
    """A tensor's name as a regular expression: {i} is digits where one letter is inside, else text without a dot; * is any text."""
    parts = re.split(r"(\{[^}]*\}|\*)", name)
    return "".join(".*" if p == "*" else r"\d+" if re.fullmatch(r"\{.\}", p) else r"[^.]+" if p[:1] == "{" else re.escape(p) for p in parts)


def entry_of(entries, name):
    """Of `info(...)["inputs"]` or `["weights"]`, the one that a tensor's name belongs to under the parameters given there, or None."""
    return next((e for e in entries if e["present"] and re.fullmatch(pattern(e["name"]), name)), None)


def _required(entry):
    return entry["required"] and not entry["when"]


def _argument(name):
    """A tensor's name as an argument."""
    return name + "_" * (name in _ARGUMENTS)


def _signature(d):
    """The signature, and the names of the parameters as arguments."""
    inputs = [_argument(e["name"]) for e in d["inputs"] if not e["repeated"]]
    arguments = {p["name"] + "_" * (p["name"] in (*inputs, *_ARGUMENTS)): p for p in d["params"]}
    taken = [inspect.Parameter(_argument(e["name"]), _KEYWORD, **({} if _required(e) else {"default": None}))
             for e in d["inputs"] if not e["repeated"]]
    taken += [inspect.Parameter(name, _KEYWORD, default=None) for name in ("weights", "outputs")]
    taken += [inspect.Parameter(name, _KEYWORD, default=p["default"]) for name, p in arguments.items()]
    taken += [inspect.Parameter(name, _KEYWORD, default=value) for name, value in _SETTINGS.items()]
    if len(inputs) < len(d["inputs"]):
        taken.append(inspect.Parameter("tensors", inspect.Parameter.VAR_KEYWORD))  # names of a pattern: x0, x1, ...
    return inspect.Signature(taken), {name: p["name"] for name, p in arguments.items()}


def _doc(d, arguments):
    def tensor(e):
        notes = [e["dtype"]] * (e["dtype"] != "f32") + ["any number"] * e["repeated"] + ["optional"] * (not e["required"] and not e["repeated"]) + [f"where {e['when']}"] * bool(e["when"])
        return f"{e['name']}: ({e['shape']})" + "".join(f", {note}" for note in notes) + (f"  {e['doc']}" if e["doc"] else "")

    def parameter(name, p):
        default = p.get("computed") or repr(p["default"])
        return f"{name} = {default}  {p['doc']}" + (f" ({', '.join(map(str, p['choices']))})" if p.get("choices") else "")

    plain = {shown: next(p for p in d["params"] if p["name"] == name) for shown, name in arguments.items()}
    sections = {"Tensors": [tensor(e) for e in d["inputs"]], "Weights": [tensor(e) for e in d["weights"]],
                "Parameters": [parameter(name, p) for name, p in plain.items()], "Outputs": [tensor(e) for e in d["outputs"]]}
    lines = [f"{d['slug']} ({d['family']}): {d['paper'] or 'no paper of its own'}", ""]
    for title, rows in sections.items():
        if rows:
            lines += [f"{title}:", *(textwrap.indent(row, "  ") for row in rows), ""]
    lines.append("Returns out, or where outputs are named a dictionary of these.")
    return "\n".join(lines)


def _function(slug, name):
    d = _catalogue._info(slug, {})
    signature, parameters = _signature(d)

    def call(*, weights=None, outputs=None, threads=0, precision=None, isa=None, seed=0, **given):
        tensors, params = {}, {}
        for key, value in given.items():
            if key in parameters:
                params[parameters[key]] = value
            elif value is not None:
                tensors[key[:-1] if key[:-1] in _ARGUMENTS else key] = value
        entries = _catalogue._info(slug, params)["inputs"]
        for key in tensors:
            if _argument(key) not in signature.parameters and not entry_of(entries, key):
                raise TypeError(f"{name}() got an unexpected keyword argument '{key}'")
        for e in entries:
            if e["required"] and e["present"] and e["name"] not in tensors:
                raise TypeError(f"{name}() is missing the tensor '{_argument(e['name'])}'")
        return _catalogue._run(slug, tensors, weights, outputs, params, (threads, precision, isa, seed))

    call.__name__ = call.__qualname__ = name
    call.__module__ = __name__
    call.__signature__ = signature
    call.__doc__ = _doc(d, parameters)
    return call


def __getattr__(name):
    if name not in _slugs:
        raise AttributeError(f"module 'heed' has no attribute '{name}'")
    function = globals()[name] = _function(_slugs[name], name)
    return function


def __dir__():
    return sorted(_slugs)
