# SPDX-License-Identifier: Apache-2.0
"""Attention on CPUs: one engine, every mechanism of the catalogue, for numpy arrays and torch tensors.

Arrays go in and out without copying; results are of the kind of the first array. Errors in values are ValueErrors, objects of
the wrong kind are TypeErrors; both name the argument. Every call takes `threads` (0: as many as OpenMP would use), `precision`
("strict", "split", "fast", "int8") and `isa` ("avx2", "avx512", "avx512-bf16", "amx", or an emulated one).

    import heed
    out = heed.attend(q, k, v, causal=True)                          # q: B, N, H, D
    out = heed.run("sliding-window", {"q": q, "k": k, "v": v}, window=[128, 0])
    out = heed.sliding_window(q=q, k=k, v=v, window=[128, 0])        # the same; help(heed.sliding_window)
"""
from ._attend import attend, attend_ragged, why
from ._catalogue import doctor, info, initial_weights, list, read_safetensors, run, verify, write_safetensors  # noqa: A004
from ._heed import ops

__version__ = "0.1.0"
__all__ = ["attend", "attend_ragged", "doctor", "info", "initial_weights", "list", "mechanisms", "ops", "read_safetensors", "run", "verify", "why",
           "write_safetensors"]


def __getattr__(name):
    import importlib
    if name in ("mechanisms", "nn"):
        return importlib.import_module(f".{name}", __name__)
    from . import mechanisms
    return getattr(mechanisms, name)


def __dir__():
    from . import mechanisms
    return sorted({*globals(), *dir(mechanisms), "nn"})
