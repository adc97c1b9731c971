# SPDX-License-Identifier: Apache-2.0
"""References in torch float64, whose gradients come from torch.autograd: case files with `cotangent.out` and `grad.*`."""
import os
import sys

import numpy as np
import torch

from casefile import write_case


def draw(seed, scale=1.0, **shapes):
    """Named f32 normal arrays; a tuple (shape, scale, shift) in place of a shape says more."""
    result = {}
    for i, (name, shape) in enumerate(shapes.items()):
        size, shift = scale, 0.0
        if shape and isinstance(shape[0], tuple):
            shape, size, shift = shape
        result[name] = (np.random.default_rng([seed, i]).standard_normal(shape) * size + shift).astype(np.float32)
    return result


def rand(seed, *shape, std=1.0):
    return (np.random.default_rng(seed).standard_normal(shape) * std).astype(np.float32)


def run(slug, reference, cases, note, no_gradient=(), rtol="2e-4", atol="2e-5"):
    """cases: (name or "", params, inputs, weights); reference(params, inputs, weights) -> dict of outputs, `out` among them. The
    tensors in `no_gradient` have none; where nothing has one there is no cotangent."""
    os.makedirs(sys.argv[1], exist_ok=True)
    for number, (name, params, inputs, weights) in enumerate(cases):
        wide = [{n: torch.tensor(a, dtype=torch.float64, requires_grad=n not in no_gradient) if a.dtype == np.float32 else torch.tensor(a) for n, a in group.items()}
                for group in (inputs, weights)]
        outs = reference(dict(params), *wide)
        tensors = {}
        if outs["out"].requires_grad:
            tensors["cotangent.out"] = np.random.default_rng([99, number]).standard_normal(outs["out"].shape).astype(np.float32)
            (outs["out"] * torch.tensor(tensors["cotangent.out"], dtype=torch.float64)).sum().backward()
        for prefix, group, source in (("in.", wide[0], inputs), ("weight.", wide[1], weights)):
            for n, a in group.items():
                tensors[prefix + n] = source[n]
                if a.requires_grad and outs["out"].requires_grad:
                    tensors["grad." + prefix + n] = (torch.zeros_like(a) if a.grad is None else a.grad).numpy().astype(np.float32)
        for n, a in outs.items():
            a = a.detach().numpy()
            assert np.isfinite(a).all(), (slug, name, n)
            tensors["out." + n] = a.astype(np.float32) if a.dtype == np.float64 else a
        assert np.abs(tensors["out.out"]).max() > 1e-3
        path = os.path.join(sys.argv[1], slug + ("--" + name if name else "") + ".safetensors")
        write_case(path, slug, params, tensors, "tests/reference/" + os.path.basename(sys.argv[0]), note + (" [" + name + "]" if name else ""), rtol, atol)
