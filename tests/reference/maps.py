# SPDX-License-Identifier: Apache-2.0
"""Cases of layers of image networks: random tensors by name and shape."""
import numpy as np

import autograd


def numbers(seed, shapes):
    """Random tensors by name; variances are positive, weights small enough that nothing saturates."""
    rng = np.random.default_rng(seed)
    made = {}
    for name, shape in shapes.items():
        x = rng.standard_normal(shape)
        if name.endswith("running_var"):
            x = 0.5 + rng.random(shape)
        elif len(shape) > 1 and "." in name:
            x /= np.sqrt(np.prod(shape[1:]))
        made[name] = x.astype(np.float32)
    return made


def batch_norm(name, channels):
    return {f"{name}.{part}": (channels,) for part in ("weight", "bias", "running_mean", "running_var")}


def layer(name, *shape, bias=True):
    return {name + ".weight": shape} | ({name + ".bias": shape[:1]} if bias else {})


def run(slug, reference, cases, note, rtol="2e-4", atol="5e-5"):
    """cases: (name, params, input shapes, weight shapes). reference(params, inputs, weights) -> outputs by name, as in autograd.py."""
    made = [(name, params, numbers((number, 0), inputs), numbers((number, 1), weights)) for number, (name, params, inputs, weights) in enumerate(cases)]
    statistics = {n for *_, weights in made for n in weights if n.endswith(("running_mean", "running_var", "conv4.weight"))}
    autograd.run(slug, reference, made, note, no_gradient=statistics, rtol=rtol, atol=atol)
