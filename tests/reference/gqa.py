# SPDX-License-Identifier: Apache-2.0
"""gqa: grouped-query attention; query head h reads key/value head h // (H/G). Options and defaults: common.py. No weights."""
from common import combined, io, preset, qkv, run

run("gqa", preset(), [
    ("", {}, io(*qkv(10, H=6, G=2)), {}),
    ("causal", {"causal": True}, io(*qkv(11, H=6, G=3)), {}),
    ("one-kv-head", {"causal": True}, io(*qkv(12, H=4, G=1)), {}),
    ("each-its-own", {}, io(*qkv(13, H=3, G=3)), {}),
] + combined(14), "grouped-query attention")
