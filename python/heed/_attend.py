# SPDX-License-Identifier: Apache-2.0
"""attend() and why(), with signatures that Python can show."""
from . import _heed


def attend(q, k, v, *, causal=False, window=(-1, -1), scale=None, softcap=0.0, bias=None, mask=None, alibi_slopes=None,
           sink=None, key_lengths=None, query_lengths=None, weighting="softmax", blocks=None, block_size=(64, 64),
           return_lse=False, return_row_max=False, return_column_sums=False, return_weights=False, threads=0, precision=None,
           isa=None):
    """Exact attention: out = weigh(scale q·k, capped, + bias - slope |p - j|, masked) v, where p = i + M - N.

    q: (B, N, H, D); k: (B, M, G, D); v: (B, M, G, E); H a multiple of G, query head h reads head h // (H / G). float32,
    bfloat16 or float16, any strides. Returns out (B, N, H, E) of the dtype of q; a query that sees no key gives zeros.

    causal: query i sees keys j <= p. window: (left, right) keeps p - left <= j <= p + right; -1 is unlimited.
    scale: 1 / sqrt(D) unless given. softcap: c tanh(s / c) before anything is added; 0 is none.
    bias: float32, mask: bool, true where a query may look; both broadcast to (B, H, N, M).
    alibi_slopes: float32 (H). sink: float32 (H), one more logit a head, neither scaled nor capped.
    key_lengths, query_lengths: int64 (B). weighting: softmax, sigmoid, relu (max(s, 0) / keys) or softmax_plus_one.
    blocks: bool, broadcasts to (B, H, ceil(N / block_size[0]), ceil(M / block_size[1])): which tiles are looked at.
    return_lse (B, H, N), return_row_max (B, H, N), return_column_sums (B, H, M), return_weights (B, H, N, M): the result is
    then a tuple of out and these, in this order, float32.
    precision: strict for float32, fast for 16-bit inputs, unless given.
    """
    return _heed.attend((q, k, v), (causal, window, scale, softcap, bias, mask, alibi_slopes, sink, key_lengths, query_lengths,
                                    weighting, blocks, block_size), (threads, precision, isa),
                        return_lse + 2 * return_row_max + 4 * return_column_sums + 8 * return_weights)


def why(q, k, v, *, causal=False, window=(-1, -1), scale=None, softcap=0.0, bias=None, mask=None, alibi_slopes=None, sink=None,
        key_lengths=None, query_lengths=None, weighting="softmax", blocks=None, block_size=(64, 64), threads=0, precision=None,
        isa=None):
    """What attend() would run with these arguments, and why a faster way was refused, as one line."""
    return _heed.why((q, k, v), (causal, window, scale, softcap, bias, mask, alibi_slopes, sink, key_lengths, query_lengths,
                                 weighting, blocks, block_size), (threads, precision, isa))
