// SPDX-License-Identifier: Apache-2.0
// MInference 1.0 (Jiang et al., 2024), causal prefill under one of three sparse patterns:
//   vertical_and_slash  columns and diagonals of the largest sums in the exact softmax of the last rows, as the kernel rounds
//   block_sparse        the top_k blocks a row of blocks, by products of block means
//   a_shape             0 <= i - j < n_local or j < n_init
#include <algorithm>
#include <limits>
#include <numeric>

#include "heed/gathered.h"
#include "mechanism/heads.h"
#include "mechanism/mixer.h"

namespace heed::mechanism {
namespace {

/// The indices of the `count` largest; equals by lower index.
std::vector<std::int64_t> largest(const std::vector<double>& values, std::int64_t count) {
  std::vector<std::int64_t> order(values.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return values[std::size_t(a)] > values[std::size_t(b)]; });
  order.resize(std::size_t(std::min<std::int64_t>(count, std::int64_t(order.size()))));
  return order;
}

struct Minference : Mechanism, PromptMixer {
  Tensor q, k, v, out, vertical_indices, slash_indices, key_counts;
  std::string pattern = "vertical_and_slash";
  std::int64_t vertical_size = 1000, slash_size = 6096, last_q = 64, block_size = 64, top_k = 100, n_init = 1024, n_local = 4096;

  void describe(Declaration& d) override {
    const bool lines = pattern == "vertical_and_slash";
    d.param("pattern", pattern, "which keys a query sees").one_of({"vertical_and_slash", "block_sparse", "a_shape"});
    d.param("vertical_size", vertical_size, "columns, the first 30 among them").least(0);
    d.param("slash_size", slash_size, "diagonals, the nearest 100 among them").least(0);
    d.param("last_q", last_q, "rows whose softmax is taken").least(1);
    d.param("block_size", block_size, "tokens a block").least(1);
    d.param("top_k", top_k, "blocks a row of blocks").least(1);
    d.param("n_init", n_init, "first keys").least(0);
    d.param("n_local", n_local, "nearest keys").least(1);
    d.input("q", q, "1 N H D", "queries");
    d.input("k", k, "1 N H D", "keys");
    d.input("v", v, "1 N H D", "values");
    d.output("out", out, "1 N H D");
    d.output("vertical_indices", vertical_indices, "H vs", "columns, ascending").of(DType::i64).when(lines, "vertical_and_slash");
    d.output("slash_indices", slash_indices, "H ss", "query - key, descending").of(DType::i64).when(lines, "vertical_and_slash");
    d.output("key_counts", key_counts, "H N", "keys each query sees").of(DType::i64).when(pattern != "a_shape", "not a_shape");
  }

  Tensor read_prompt(const Tensor& queries, const Tensor& keys, const Tensor& values, DType kept, Ops& ops) override {
    q = queries, k = keys, v = values;
    if (pattern != "vertical_and_slash") {
      const auto share = q.extent(2) / k.extent(2);
      k = ops.repeat(k, 2, share), v = ops.repeat(v, 2, share);
      run(ops);
      return out;
    }
    choose_lines(ops);
    const auto N = q.extent(1), H = q.extent(2), nb = (N + block_size - 1) / block_size;
    std::vector<std::int64_t> offsets{0}, index;
    std::vector<std::uint8_t> sees;
    for (std::int64_t h = 0; h < H; ++h)
      for (std::int64_t r = 0; r < nb; ++r) {
        sees.assign(std::size_t(std::min(N, (r + 1) * block_size)), 0);
        mark(h, (r + 1) * block_size, sees.data(), std::int64_t(sees.size()));
        for (std::size_t j = 0; j < sees.size(); ++j)
          if (sees[j]) index.push_back(std::int64_t(j));
        offsets.push_back(std::int64_t(index.size()));
      }
    AttendOptions o;
    o.causal = true;
    const auto rounded = [&](const Tensor& x) { return cache::rounded(x, kept, ops.context()); };
    const auto list = [](std::vector<std::int64_t>& x) { return dense_view(x.data(), DType::i64, {std::int64_t(x.size())}); };
    out = Tensor(DType::f32, {1, N, H, v.extent(3)});
    attend_gathered(rounded(q), rounded(k), rounded(v), out, {list(offsets), list(index), block_size}, o, {}, ops.context());
    return out;
  }

  void choose_lines(const Ops& ops) {
    const auto N = q.extent(1), H = q.extent(2), rows = std::min(last_q, N);
    AttendOptions o;
    o.causal = true;
    const Tensor last = ops.no_gradient(q.slice(1, N - rows, rows), "chosen lines"), seen = ops.no_gradient(k, "chosen lines");
    const Tensor weights = ops.attend(last, seen, seen, o, want_weights).weights;
    const auto columns = std::min(N, std::max<std::int64_t>(vertical_size, 30)),
               offsets = std::min(N, std::max<std::int64_t>(slash_size, 50));
    vertical_indices = Tensor(DType::i64, {H, columns});
    slash_indices = Tensor(DType::i64, {H, offsets});
    for (std::int64_t h = 0; h < H; ++h) {
      std::vector<double> by_column(std::size_t(N), 0.0), by_offset(std::size_t(N), 0.0);
      for (std::int64_t r = 0; r < rows; ++r) {
        const float* row = weights.data<float>() + (h * rows + r) * N;
        for (std::int64_t j = 0, i = N - rows + r; j <= i; ++j) {
          by_column[std::size_t(j)] += row[j];
          by_offset[std::size_t(i - j)] += row[j];
        }
      }
      const double forced = std::numeric_limits<double>::infinity();
      std::fill_n(by_column.begin(), std::min<std::int64_t>(N, 30), forced);
      std::fill_n(by_offset.begin(), std::min<std::int64_t>(N, 100), forced);
      auto vertical = largest(by_column, columns), slash = largest(by_offset, offsets);
      std::sort(vertical.begin(), vertical.end());
      std::sort(slash.rbegin(), slash.rend());
      std::copy(vertical.begin(), vertical.end(), vertical_indices.data<std::int64_t>() + h * columns);
      std::copy(slash.begin(), slash.end(), slash_indices.data<std::int64_t>() + h * offsets);
    }
  }

  /// The columns that the kernel reads for the block of rows that ends before `end`: whole ranges, then single columns.
  void mark(std::int64_t h, std::int64_t end, std::uint8_t* sees, std::int64_t length) const {
    const std::int64_t* slash = slash_indices.data<std::int64_t>() + h * slash_indices.extent(1);
    const std::int64_t* vertical = vertical_indices.data<std::int64_t>() + h * vertical_indices.extent(1);
    std::int64_t last = std::numeric_limits<std::int64_t>::min() / 2;
    for (std::int64_t n = 0; n < slash_indices.extent(1); ++n) {
      if (slash[n] >= end) continue;
      const auto stop = std::max(end - slash[n], block_size);
      if (stop <= last) continue;
      const auto begin = stop > last + block_size ? stop - block_size : last;
      last = begin + block_size;
      std::fill(sees + std::min(begin, length), sees + std::min(last, length), std::uint8_t{1});
    }
    for (std::int64_t n = 0; n < vertical_indices.extent(1); ++n)
      if (vertical[n] < std::min(last, length)) sees[vertical[n]] = 1;
  }

  /// Blocks of rows as a batch: each has its own columns, and as many keys as its end.
  void lines(const Ops& ops) {
    choose_lines(ops);
    const auto N = q.extent(1), H = q.extent(2), D = q.extent(3), nb = (N + block_size - 1) / block_size, length = nb * block_size;
    const Tensor mask = Tensor::zeros(DType::boolean, {nb, H, 1, length}), keep(DType::boolean, {nb, H, 1, nb}), ends(DType::i64, {nb});
    key_counts = Tensor(DType::i64, {H, N});
    for (std::int64_t r = 0; r < nb; ++r)
      for (std::int64_t h = 0; h < H; ++h) {
        auto* sees = mask.data<std::uint8_t>() + (r * H + h) * length;
        mark(h, (r + 1) * block_size, sees, length);
        for (std::int64_t c = 0; c < nb; ++c)
          keep.data<std::uint8_t>()[(r * H + h) * nb + c] =
              c <= r && std::any_of(sees + c * block_size, sees + (c + 1) * block_size, [](auto s) { return s != 0; });
        std::int64_t seen = std::accumulate(sees, sees + r * block_size, std::int64_t{0});
        for (auto i = r * block_size; i < std::min(N, (r + 1) * block_size); ++i)
          key_counts.data<std::int64_t>()[h * N + i] = seen += sees[i];
        ends.data<std::int64_t>()[r] = (r + 1) * block_size;
      }
    AttendOptions o;
    o.causal = true;
    o.mask = mask.view();
    o.key_lengths = ends.view();
    o.blocks = BlockMask{keep, block_size, block_size};
    const auto padded = [&](const Tensor& x) { return length == N ? x : ops.pad(x, 1, 0, length - N); };
    const auto shared = [&](const Tensor& x) { return padded(x).broadcast({nb, length, H, D}); };
    out = ops.attend(padded(q).reshape({nb, block_size, H, D}), shared(k), shared(v), o).out.reshape({1, length, H, D}).slice(1, 0, N);
  }

  void blocks(const Ops& ops) {
    const auto N = q.extent(1), H = q.extent(2), D = q.extent(3), nb = (N + block_size - 1) / block_size, length = nb * block_size;
    const auto means = [&](const Tensor& x) { return ops.mean(ops.pad(x, 1, 0, length - N).reshape({nb, block_size, H, D}), {1}); };
    const Tensor scores = ops.no_gradient(ops.matmul(means(q).permute({1, 0, 2}), means(k).permute({1, 2, 0})), "chosen blocks").dense();
    const Tensor keep = Tensor::zeros(DType::boolean, {1, H, nb, nb});
    key_counts = Tensor::zeros(DType::i64, {H, N});
    for (std::int64_t h = 0; h < H; ++h)
      for (std::int64_t r = 0; r < nb; ++r) {
        const float* row = scores.data<float>() + (h * nb + r) * nb;
        for (const auto c : largest({row, row + r + 1}, top_k)) {
          keep.data<std::uint8_t>()[(h * nb + r) * nb + c] = 1;
          for (auto i = r * block_size; i < std::min(N, (r + 1) * block_size); ++i)
            key_counts.data<std::int64_t>()[h * N + i] += std::min(block_size, i + 1 - c * block_size);
        }
      }
    AttendOptions o;
    o.causal = true;
    o.blocks = BlockMask{keep, block_size, block_size};
    out = ops.attend(q, k, v, o).out;
  }

  void run(Ops& ops) override {
    if (pattern == "vertical_and_slash") return lines(ops);
    if (pattern == "block_sparse") return blocks(ops);
    AttendOptions o;
    o.causal = true;
    o.window_left = n_local - 1;
    o.first_keys = n_init;
    out = ops.attend(q, k, v, o).out;
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(minference, Minference, "minference", "sparse", "algorithm", 1,
               "MInference 1.0: Accelerating Pre-filling for Long-Context LLMs via Dynamic Sparse Attention")
