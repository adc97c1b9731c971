// SPDX-License-Identifier: Apache-2.0
// The engine of scan(). Within a chunk that begins with the state S_0, let G_t be the sum of the log decays after its first token:
//   S_t = diag(e^G_t) (S_0 + sum_{j<=t} k~_j u_j^T),   k~_j = e^-G_j k_j,   q^_t = e^G_t q_t,   k^_t = e^G_t k_t
//   out = q^ S_0 + tril(q^ k~^T) u,   u = v, or with the delta rule (I + beta tril(k^ k~^T, -1)) u = beta (v - k^ S_0)
// Everything is then a product without decays. A chunk ends before |G| exceeds growth_limit in some channel, so that nothing
// overflows or is divided by a tiny number; a token that forgets everything (g = -inf) begins a chunk.
#pragma once
#include <vector>

#include "engine/tiles.h"
#include "heed/scan.h"
#include "kernel/scan.h"

namespace heed::engine {

inline constexpr int scan_chunk = 48, most_scan_chunk = 64;
inline constexpr float growth_limit = 60;

inline std::int64_t up16(std::int64_t n) { return (n + 15) / 16 * 16; }

/// A call, checked. Planes are in the order (B, N, H, D).
struct ScanCall {
  View q, k, v;
  ScanOptions options;
  Context context;
  const kernel::Table* table = nullptr;
  const kernel::ScanTable* loops = nullptr;
  std::int64_t B = 0, N = 0, H = 0, G = 0, D = 0, E = 0, share = 1;  ///< share: query heads that read one key head
  bool decays = false, channels = false, delta = false;              ///< channels: a decay for each channel of the keys
  bool sum = false;  ///< a column of ones after the values: its state is the sum of the keys
  int chunk = scan_chunk;
  Plane decay, beta;
  std::vector<std::int64_t> lengths;

  std::int64_t depth() const { return up16(D); }
  std::int64_t length(std::int64_t b) const { return lengths[std::size_t(b)]; }
};

/// Throw heed::Error for everything that does not fit; touch no output. `sum`: whether somebody asks for sums of keys.
ScanCall check_scan(const View& q, const View& k, const View& v, const ScanOptions& options, bool sum, const Context& context);
/// An optional f32 view of that shape; a result has elements of its own.
void check_f32(const char* name, const std::optional<View>& view, const Shape& shape, bool result);

/// Heads of one sequence, walked from its first token or its last, a chunk at a time. Values are the columns [first, last).
class Walk {
 public:
  Walk(const ScanCall& call, std::int64_t first, std::int64_t last, bool sum);

  void open(std::int64_t b, bool reverse);
  /// Goes on with a head; `carry` [depth], of zeros at first, keeps the growth of its chunks from one to the next.
  void turn(std::int64_t h, float* carry);
  /// Reads a chunk of at most `most` tokens that begins with the s-th.
  void load(std::int64_t s, int most);
  /// Asks for the rows of some tokens to come, token by token as they lie: the rows of one head are too far apart for the processor to
  /// foresee.
  void foresee(std::int64_t from, std::int64_t to, std::int64_t first_head, std::int64_t last_head) const;
  /// The next token's place in the walk; the chunk's growth is carried.
  std::int64_t advance();

  /// S = diag(start()) S.
  void begin(float* state) const;
  /// The delta rule's u in place of v, given S_0; `bracket` (may be null) gets v - k^ S_0 - ... before beta.
  void solve(const float* state, float* bracket);
  /// score(): scores of `left` (q^ or -k^) with k~, zeros above the diagonal, and on it where strict.
  void score(const float* left, bool strict, float* to) const;
  /// o = q^ S_0 + scores u.
  void read(const float* state, bool exclusive, float* o);
  /// S = S + k~^T u.
  void absorb(float* state) const;

  const ScanCall& call;
  const std::int64_t first, columns, width, depth, stride,
      rows;  ///< columns that hold values, all of them padded; of a key; of scores; of a chunk's buffers
  const bool sum;
  std::int64_t b = 0, h = 0, place = 0;
  int count = 0;
  bool reversed = false;
  /// q [count][depth]: scale q^; k: k~; back: -k^; u [count][width]; start [depth]: decay of S by the first token and by what was carried.
  Buffer q, k, back, keys, u, scores, solver, start, ups, downs;
  std::vector<float> betas;
  std::vector<float> growth;  ///< G [count][depth or 1]
  float* carry = nullptr;     ///< G of the last chunk's end

  std::int64_t token(int i) const { return reversed ? call.length(b) - 1 - place - i : place + i; }
  std::int64_t per_token() const { return call.channels ? depth : 1; }
  const float* up(int i) const { return ups.get() + i * per_token(); }      ///< e^G of a token
  const float* down(int i) const { return downs.get() + i * per_token(); }  ///< e^-G
  void times(const float* x, const float* factors, float* to) const;        ///< a row of a key by the factors of a token

 private:
  int grow(std::int64_t s, int most);
};

/// Element offset of (b, n, h) in a view (B, N, H, ...), or (b, h) in (B, H, ...).
inline std::int64_t at(const View& view, std::int64_t x, std::int64_t y, std::int64_t z) {
  return x * view.strides[0] + y * view.strides[1] + z * view.strides[2];
}
inline std::int64_t at(const View& view, std::int64_t x, std::int64_t y) { return x * view.strides[0] + y * view.strides[1]; }

/// A state's columns from (B, H, D, E) and, after them, (B, H, D); zeros where absent.
void read_state(const Walk& walk, const std::optional<View>& state, const std::optional<View>& sum, float* to);
void write_state(const Walk& walk, const std::optional<View>& state, const std::optional<View>& sum, const float* from);

}  // namespace heed::engine
