# SPDX-License-Identifier: Apache-2.0
"""lightning-attention-2: the sum over all pairs j <= i of exp(-s (i - j)) (q_i . k_j) v_j."""
import torch

from autograd import draw, run


def reference(params, inputs, weights):
    q, k, v = inputs["q"], inputs["k"], inputs["v"]
    N, H = q.shape[1], q.shape[2]
    s = inputs.get("s")
    if s is None or params.get("no_decay"):
        s = torch.zeros(H, dtype=q.dtype)
    i = torch.arange(N, dtype=q.dtype)
    pair = torch.exp(-s[:, None, None] * (i[:, None] - i[None, :])) * (i[:, None] >= i[None, :])
    return {"out": torch.einsum("bihd,bjhd,hij,bjhe->bihe", q, k, pair, v)}


def io(seed, B=2, N=21, H=3, D=8, E=12, slopes=True):
    a = draw(seed, q=(B, N, H, D), k=(B, N, H, D), v=(B, N, H, E))
    if slopes:
        a["s"] = abs(draw(seed + 100, s=(H,))["s"])
    return a


run("lightning-attention-2", reference, [
    ("wide-values", {"num_heads": 3}, io(1), {}),
    ("no-decay", {"no_decay": True}, io(2), {}),
    ("no-slopes", {}, io(3, N=70, slopes=False), {}),
    ("long", {"layer_idx": 1, "num_layers": 12}, io(4, N=130, D=5, E=3), {}),
], "all pairs")
