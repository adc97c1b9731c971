# SPDX-License-Identifier: Apache-2.0
"""exact: scaled dot-product attention with every common option. Names, shapes and defaults: common.py.

No weights. No sink with softmax_plus_one, sigmoid or relu.
"""
import numpy as np

from common import io, preset, qkv, rand, run

q, k, v = qkv(1)
rng = np.random.default_rng(100)
bias, sink = rand(101, 1, 4, 5, 9), rand(102, 4)
mask = rng.random((2, 1, 5, 9)) < 0.6
mask[0, 0, 2] = False  # a row that sees nothing
slopes = np.array([0.5, 0.25, 0.125, 0.0625], np.float32)
kl, ql = np.array([9, 4], np.int64), np.array([3, 5], np.int64)
long = qkv(2, N=7, M=4)
cases = [
    ("", {}, io(q, k, v), {}),
    ("causal", {"causal": True}, io(q, k, v), {}),
    ("causal-more-queries", {"causal": True}, io(*long), {}),
    ("causal-more-queries-sink", {"causal": True}, io(*long, sink=sink), {}),
    ("window", {"window": [2, 1]}, io(q, k, v), {}),
    ("window-causal", {"window": [3, -1], "causal": True}, io(q, k, v), {}),
    ("window-right", {"window": [-1, 0]}, io(q, k, v), {}),
    ("scale", {"scale": 0.7}, io(q, k, v), {}),
    ("softcap", {"softcap": 1.5, "scale": 1.0}, io(q, k, v), {}),
    ("softcap-bias", {"softcap": 1.5}, io(q, k, v, bias=bias), {}),
    ("bias", {}, io(q, k, v, bias=bias), {}),
    ("bias-batch", {}, io(q, k, v, bias=rand(103, 2, 1, 1, 9)), {}),
    ("mask", {}, io(q, k, v, mask=mask), {}),
    ("mask-causal", {"causal": True}, io(q, k, v, mask=mask), {}),
    ("alibi", {}, io(q, k, v, alibi_slopes=slopes), {}),
    ("sink", {}, io(q, k, v, sink=sink), {}),
    ("sink-softcap", {"softcap": 2.0, "causal": True, "window": [3, 0]}, io(q, k, v, sink=sink * 3), {}),
    ("key-lengths", {}, io(q, k, v, key_lengths=kl), {}),
    ("lengths-causal", {"causal": True}, io(q, k, v, key_lengths=kl, query_lengths=ql), {}),
    ("everything", {"causal": True, "window": [4, 0], "softcap": 3.0, "scale": 0.5},
     io(q, k, v, bias=bias, mask=mask, alibi_slopes=slopes, sink=sink, key_lengths=kl, query_lengths=ql), {}),
] + [(w.replace("_", "-") + end, dict(weighting=w, **p), io(q, k, v, **more), {})
     for w in ("sigmoid", "relu", "softmax_plus_one")
     for end, p, more in (("", {}, {}), ("-causal", {"causal": True}, {"bias": bias}),
                          ("-lengths", {"causal": True}, {"key_lengths": kl, "mask": mask}))]

run("exact", preset(), cases, "exact attention, row by row in float64")
