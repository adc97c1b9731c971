// SPDX-License-Identifier: Apache-2.0
// Attention over views: out = weigh(score(q, k)) v. Conventions of scores: docs/conventions.md.
#pragma once
#include <optional>
#include <string>

#include "heed/context.h"
#include "heed/tensor.h"

namespace heed {
inline namespace v0 {

/// softmax; sigmoid (1/(1+exp(-s))); relu (max(s, 0)/n, n = the sequence's key length); softmax_plus_one (a sink of 0).
enum class Weighting : std::uint8_t { softmax, sigmoid, relu, softmax_plus_one };

/// Which tiles of keys a tile of queries visits (block-sparse). Rows of `keep` are tiles of queries.
struct BlockMask {
  View keep;  ///< bool, broadcastable to (B, H, ceil(N/query_block), ceil(M/key_block))
  std::int64_t query_block = 64, key_block = 64;
};

/// Each option combines with each, except: a sink, lse or row_max with sigmoid or relu, and a sink with softmax_plus_one.
struct AttendOptions {
  bool causal = false;                               ///< query i stands at p = i + M - N and sees keys j <= p
  std::int64_t window_left = -1, window_right = -1;  ///< p - left <= j <= p + right; -1: unlimited
  std::int64_t first_keys = 0;                       ///< keys j < first_keys are seen whatever window_left says
  std::int64_t dilation = 1;                         ///< keeps (p - j) % dilation == 0
  std::optional<float> scale;                        ///< 1/sqrt(D)
  float softcap = 0;                                 ///< s = softcap * tanh(s / softcap) before anything is added; 0: none
  Weighting weighting = Weighting::softmax;
  std::optional<View> bias;           ///< f32, broadcastable to (B, H, N, M), added after the softcap
  std::optional<View> mask;           ///< bool, broadcastable to (B, H, N, M), true where a query may look
  std::optional<View> alibi_slopes;   ///< f32 (H): adds -slope * |p - j|
  std::optional<View> sink;           ///< f32 (H): one more logit, neither scaled nor capped
  std::optional<View> key_lengths;    ///< i64 (B): keys at and after it do not exist; p is counted from it
  std::optional<View> query_lengths;  ///< i64 (B): rows at and after it give zeros; p is counted from it
  std::optional<BlockMask> blocks;
};

/// Outputs computed only where given. All f32, any strides.
struct AttendExtras {
  std::optional<View> lse;          ///< (B, H, N) natural log-sum-exp, sink included; -inf for a row without keys and sink
  std::optional<View> row_max;      ///< (B, H, N) largest visible score, sink not included; -inf for an empty row
  std::optional<View> column_sums;  ///< (B, H, M) sums of the weights over the queries
  std::optional<View> weights;      ///< (B, H, N, M)
};

/// q (B, N, H, D); k (B, M, G, D); v (B, M, G, E), H % G == 0, query head h reads h / (H / G); out (B, N, H, E).
/// q, k, v of one dtype among f32, bf16, f16; out of that dtype or f32. Sums are f32; a query without keys gives zeros.
/// The same bits for any number of threads. Throws heed::Error naming the argument.
void attend(const View& q, const View& k, const View& v, const View& out, const AttendOptions& options = {},
            const AttendExtras& extras = {}, const Context& context = {});

/// Sequences of different lengths, one after another without gaps: q (T, H, D), k (S, G, D), v (S, G, E), out (T, H, E).
/// Sequence b has the queries [query_offsets[b], query_offsets[b + 1]) and the keys of key_offsets alike: i64 (B + 1), from 0
/// to T and S, never falling. Each is attended to on its own, as attend() does; lse, where given, is f32 (H, T). Options that
/// speak of batches or of pairs (lengths, bias, mask, blocks) are refused.
void attend_ragged(const View& q, const View& k, const View& v, const View& query_offsets, const View& key_offsets, const View& out,
                   const AttendOptions& options = {}, const std::optional<View>& lse = {}, const Context& context = {});

/// Where attend_backward() writes; each is computed only where given, and written whole. Of q's dtype or f32, no stride of 0.
struct AttendGradients {
  std::optional<View> q{}, k{}, v{};           ///< of their shapes
  std::optional<View> bias{};                  ///< of its own shape: summed over the axes it was stretched along
  std::optional<View> alibi_slopes{}, sink{};  ///< (H)
  bool part = false;                           ///< k and v are a part of the keys that out and lse are of (a block of a ring)
};

/// Gradients of the sum of out * out_gradient. `out` and `lse` (not read for sigmoid and relu) are what attend() gave for the
/// same arguments (with all keys, where k and v are a part); out_gradient has the shape of out; both of q's dtype or f32. Products are
/// strict whatever the context says; probabilities are computed again, tile by tile. The same bits for any number of threads. Throws
/// heed::Error naming the argument.
void attend_backward(const View& q, const View& k, const View& v, const View& out, const View& lse, const View& out_gradient,
                     const AttendGradients& gradients, const AttendOptions& options = {}, const Context& context = {});

/// What attend() would run with these arguments and why a faster way was refused: "tiles/avx2 strict: f32, 192 queries x 256 keys; ...".
std::string why(const View& q, const View& k, const View& v, const AttendOptions& options = {}, const AttendExtras& extras = {},
                const Context& context = {});

/// `log` gets what why() says, once for every attend() that follows, in any thread; null ends it. The library prints nothing.
void set_plan_log(void (*log)(const std::string& plan));

}  // namespace v0
}  // namespace heed
