# SPDX-License-Identifier: Apache-2.0
"""attend(), attend_ragged() and why(), with signatures that Python can show."""
from . import _heed


def attend(q, k, v, *, causal=False, window=(-1, -1), first_keys=0, dilation=1, scale=None, softcap=0.0, bias=None, mask=None,
           alibi_slopes=None, sink=None, key_lengths=None, query_lengths=None, weighting="softmax", blocks=None, block_size=(64, 64),
           return_lse=False, return_row_max=False, return_column_sums=False, return_weights=False, threads=0, precision=None,
           isa=None):
    """Exact attention: out = weigh(scale q·k, capped, + bias - slope |p - j|, masked) v, where p = i + M - N.

    q: (B, N, H, D); k: (B, M, G, D); v: (B, M, G, E); H a multiple of G, query head h reads head h // (H / G). float32,
    bfloat16 or float16, any strides. Returns out (B, N, H, E) of the dtype of q; a query that sees no key gives zeros.

    causal: query i sees keys j <= p. window: (left, right) keeps p - left <= j <= p + right; -1 is unlimited.
    first_keys: keys j < first_keys are seen whatever the left side of the window says. dilation: keeps (p - j) % dilation == 0.
    scale: 1 / sqrt(D) unless given. softcap: c tanh(s / c) before anything is added; 0 is none.
    bias: float32, mask: bool, true where a query may look; both broadcast to (B, H, N, M).
    alibi_slopes: float32 (H). sink: float32 (H), one more logit a head, neither scaled nor capped.
    key_lengths, query_lengths: int64 (B). weighting: softmax, sigmoid, relu (max(s, 0) / keys) or softmax_plus_one.
    blocks: bool, broadcasts to (B, H, ceil(N / block_size[0]), ceil(M / block_size[1])): which tiles are looked at.
    return_lse (B, H, N), return_row_max (B, H, N), return_column_sums (B, H, M), return_weights (B, H, N, M): the result is
    then a tuple of out and these, in this order, float32.
    precision: strict for float32, fast for 16-bit inputs, unless given.
    Torch tensors that require gradients get them through torch.autograd: q, k, v, bias, alibi_slopes and sink.
    """
    return _heed.attend((q, k, v), (causal, window, scale, softcap, bias, mask, alibi_slopes, sink, key_lengths, query_lengths,
                                    weighting, blocks, block_size, first_keys, dilation), (threads, precision, isa),
                        return_lse + 2 * return_row_max + 4 * return_column_sums + 8 * return_weights)


def attend_ragged(q, k, v, query_offsets, key_offsets=None, *, causal=False, window=(-1, -1), first_keys=0, dilation=1, scale=None,
                  softcap=0.0, alibi_slopes=None, sink=None, weighting="softmax", return_lse=False, threads=0, precision=None, isa=None):
    """attend() of sequences of different lengths that lie one after another without gaps.

    q: (T, H, D); k: (S, G, D); v: (S, G, E). query_offsets: int64 (B + 1), from 0 to T, never falling: sequence b has the queries
    query_offsets[b] to query_offsets[b + 1] - 1; key_offsets alike, up to S, those of the queries unless given. Returns out (T, H, E),
    and lse (H, T) with return_lse. Gradients as attend() gives them.
    """
    return _heed.attend_ragged((q, k, v), (query_offsets, query_offsets if key_offsets is None else key_offsets),
                               (causal, window, scale, softcap, None, None, alibi_slopes, sink, None, None, weighting, None, (64, 64),
                                first_keys, dilation), (threads, precision, isa), return_lse)


def why(q, k, v, *, causal=False, window=(-1, -1), first_keys=0, dilation=1, scale=None, softcap=0.0, bias=None, mask=None,
        alibi_slopes=None, sink=None, key_lengths=None, query_lengths=None, weighting="softmax", blocks=None, block_size=(64, 64),
        threads=0, precision=None, isa=None):
    """What attend() would run with these arguments, and why a faster way was refused, as one line."""
    return _heed.why((q, k, v), (causal, window, scale, softcap, bias, mask, alibi_slopes, sink, key_lengths, query_lengths,
                                 weighting, blocks, block_size, first_keys, dilation), (threads, precision, isa))
