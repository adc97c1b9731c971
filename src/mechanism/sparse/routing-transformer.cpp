// SPDX-License-Identifier: Apache-2.0
// Routing Transformer (Roy et al., 2021): every centroid of a head takes the queries and the keys nearest to it (L2-normalised), which
// attend to each other; a query taken by several clusters gets the mean of its results, one taken by none 0.
//   module=SelfAttention: the first heads are local (own chunk and the ones beside it, rotary), the others route
#include <algorithm>
#include <cmath>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

constexpr float hidden = -1e30f, self = -5e4f;  ///< added to scores

struct RoutingTransformer : Mechanism {
  Tensor q, k, v, x, context, means, mem_key, mem_value, local_weight, local_bias, to_q, to_k, to_v, to_out, out;
  std::optional<std::int64_t> num_clusters, context_window_size, num_heads, head_dim, dim, max_seq_len, dim_head, local_attn_window_size;
  std::int64_t window_size = 64, num_mem_kv = 0, heads = 8, local_attn_heads = 0;
  bool causal = false, receives_context = false, rel_pos_emb = true;
  std::optional<bool> shared_qk;
  std::optional<std::string> module;

  bool shared() const { return shared_qk.value_or(module.has_value()); }
  std::int64_t memories() const { return std::max<std::int64_t>(num_mem_kv, causal && !shared() ? 1 : 0); }

  void describe(Declaration& d) override {
    const bool whole = module.has_value(), global = !whole || local_attn_heads < heads;
    d.param("num_clusters", num_clusters, "c, centroids a head").least(1).computed("from kmeans.means");
    d.param("window_size", window_size, "queries a centroid takes").least(1);
    d.param("context_window_size", context_window_size, "keys a centroid takes of a context; of the module, as released, window_size")
        .least(1)
        .computed("window_size");
    d.param("num_heads", num_heads, "H").least(1).computed("from q");
    d.param("head_dim", head_dim, "D").least(1).computed("from q");
    d.param("causal", causal, "keys at or before the query");
    d.param("shared_qk", shared_qk, "keys are the queries, L2-normalised, and a token sees itself only where it must")
        .computed("true with module");
    d.param("num_mem_kv", num_mem_kv, "learned keys a cluster; at least 1 if causal and not shared_qk").least(0);
    d.param("receives_context", receives_context, "keys are of another sequence");
    d.param("module", module, "the attention layer of the model").one_of({"SelfAttention"}).computed("none: q, k, v are given");
    d.param("dim", dim, "width of x").least(1).computed("from the weights");
    d.param("max_seq_len", max_seq_len, "max_seq_len/window_size centroids a head").least(1).computed("from kmeans.means");
    d.param("heads", heads, "of the module").least(1);
    d.param("local_attn_heads", local_attn_heads, "local heads among them, the first ones").least(0);
    d.param("dim_head", dim_head, "D of the module").least(1).computed("dim/heads");
    d.param("local_attn_window_size", local_attn_window_size, "tokens a chunk of the local heads").least(1).computed("window_size");
    d.param("rel_pos_emb", rel_pos_emb, "of the local heads; as released they rotate their queries and keys either way");
    d.input("q", q, "B N H D", "queries").when(!whole, "no module");
    d.input("k", k, "B M H D", "keys").when(!whole, "no module");
    d.input("v", v, "B M H D", "values").when(!whole, "no module");
    d.input("x", x, "B N C", "tokens").when(whole, "module");
    d.input("context", context, "B M C", "tokens that keys are made of").when(whole && receives_context, "module and receives_context");
    const auto clusters = [&](const std::string& prefix, const std::string& size, const std::string& width, const std::string& count,
                              bool present, const std::string& text) {
      const std::string memory = size + " c " + std::to_string(memories()) + " " + width;
      d.weight(prefix + "kmeans.means", means, size + " " + count + " " + width).when(present, text).no_gradient();
      d.weight(prefix + "mem_key", mem_key, memory).when(present, text).required = memories() > 0;
      d.weight(prefix + "mem_value", mem_value, memory).when(present, text).required = memories() > 0;
      d.ignore(prefix + "kmeans.initted");
    };
    clusters("", "H", "D", num_clusters ? "num_clusters" : "c", !whole, "no module");
    clusters("global_attn.", "heads-local_attn_heads", dim_head ? "dim_head" : "C//heads", max_seq_len ? "max_seq_len//window_size" : "c",
             whole && global, "module and a head that routes");
    const std::string own = dim_head ? "dim_head" : "(C//heads)", routed = "(heads-local_attn_heads)*" + own,
                      local = "3*local_attn_heads*" + own;
    d.weight("local_to_qkv.weight", local_weight, local + " C").when(whole && local_attn_heads > 0, "local_attn_heads");
    d.weight("local_to_qkv.bias", local_bias, local).when(whole && local_attn_heads > 0, "local_attn_heads");
    d.weight("to_q.weight", to_q, routed + " C").when(whole, "module");
    d.weight("to_k.weight", to_k, routed + " C", "keys").when(whole && !shared(), "module and not shared_qk");
    d.weight("to_v.weight", to_v, routed + " C").when(whole, "module");
    d.weight("to_out.weight", to_out, "C heads*" + own).when(whole, "module");
    d.size("c", "max(N//window_size,1)");
    if (num_heads) d.size("H", "num_heads");
    if (head_dim) d.size("D", "head_dim");
    d.output("out", out, whole ? "B N C" : "B N H D");
  }

  /// The tokens nearest to each centroid: positions (B, c, window, H), and their rows in (B N H).
  struct Chosen {
    Tensor positions, rows;
  };
  Chosen choose(const Ops& ops, const Tensor& tokens, std::int64_t window) const {
    const auto B = tokens.extent(0), N = tokens.extent(1), H = tokens.extent(2), c = means.extent(1);
    const Tensor near =
        ops.matmul(ops.l2_normalise(ops.no_gradient(tokens, "choice of a cluster"), -1).permute({0, 2, 1, 3}), means.transpose(1, 2));
    const Tensor best = ops.topk(near, window, 2).second.permute({0, 3, 2, 1}).dense();
    Tensor rows(DType::i64, {best.count()});
    for (std::int64_t n = 0; n < best.count(); ++n)
      rows.data<std::int64_t>()[n] = (n / (c * window * H) * N + best.data<std::int64_t>()[n]) * H + n % H;
    return {best.reshape({B, c, window, H}), rows};
  }

  /// (B, N, H, D): the heads that route.
  Tensor route(const Ops& ops, const Tensor& queries, Tensor keys, const Tensor& values) const {
    const auto B = queries.extent(0), N = queries.extent(1), H = queries.extent(2), D = queries.extent(3), M = keys.extent(1),
               c = means.extent(1);
    const auto window = std::min(window_size, N),
               taken = std::min(receives_context && !module ? context_window_size.value_or(window_size) : window_size, M);
    const bool same = shared() && !receives_context;
    if (same && M != N) fail("input k", std::to_string(N) + " keys with shared_qk", std::to_string(M));
    const Chosen from = choose(ops, queries, window), to = same ? from : choose(ops, keys, taken);
    if (same) keys = ops.l2_normalise(keys, -1);
    const auto pick = [&](const Tensor& t, const Chosen& chosen) {
      return ops.index_select(t.reshape({t.extent(0) * t.extent(1) * H, D}), 0, chosen.rows)
          .reshape({B * c, chosen.positions.extent(2), H, D});
    };
    const auto m = memories();
    const auto with_memory = [&](const Tensor& t, const Tensor& memory) {
      if (m == 0) return t;
      return ops.concat({memory.permute({1, 2, 0, 3}).broadcast({B, c, m, H, D}).reshape({B * c, m, H, D}), t}, 1);
    };
    ScoreTerms terms;
    if (causal || shared()) terms.bias = places(from.positions, to.positions, m);
    AttendOptions o;
    const Tensor got =
        ops.attend(pick(queries, from), with_memory(pick(keys, to), mem_key), with_memory(pick(values, to), mem_value), o, 0, terms).out;
    const Tensor sums = ops.index_add(got.reshape({B * c * window * H, D}), 0, from.rows, B * N * H);
    const Tensor counts = ops.index_add(ops.full({B * c * window * H, 1}, 1), 0, from.rows, B * N * H);
    return ops.div(sums, ops.shift(counts, 1e-5f)).reshape({B, N, H, D});
  }

  /// (B c, H, window, m + window): added to the scores.
  Tensor places(const Tensor& from, const Tensor& to, std::int64_t m) const {
    const auto clusters = from.extent(0) * from.extent(1), W = from.extent(2), T = to.extent(2), H = from.extent(3);
    Tensor bias = Tensor::zeros(DType::f32, {clusters, H, W, m + T});
    for (std::int64_t b = 0; b < clusters; ++b)
      for (std::int64_t h = 0; h < H; ++h)
        for (std::int64_t i = 0; i < W; ++i)
          for (std::int64_t j = 0; j < T; ++j) {
            const auto p = from.data<std::int64_t>()[(b * W + i) * H + h], at = to.data<std::int64_t>()[(b * T + j) * H + h];
            bias.data<float>()[((b * H + h) * W + i) * (m + T) + m + j] = shared() && p == at ? self : causal && at > p ? hidden : 0;
          }
    return bias;
  }

  /// (B, N, local heads, D): own chunk and the one before; the one after too where not causal.
  Tensor near(const Ops& ops, std::int64_t D) const {
    const auto N = x.extent(1), chunk = local_attn_window_size.value_or(window_size), blocks = (N + chunk - 1) / chunk;
    const auto parts =
        ops.split(ops.linear(x, local_weight, local_bias), 2, {local_attn_heads * D, local_attn_heads * D, local_attn_heads * D});
    Tensor a = split_heads(parts[0], local_attn_heads), b = split_heads(parts[1], local_attn_heads);
    if (D % 2 != 0) fail("parameter dim_head", "an even width, which rotates", std::to_string(D));
    const auto rotated = [&](const Tensor& t, std::int64_t first) {
      const Tensor cos(DType::f32, {N, D / 2}), sin(DType::f32, {N, D / 2});
      for (std::int64_t i = 0; i < N; ++i)
        for (std::int64_t f = 0; f < D / 2; ++f) {
          const double angle = double(first + i) * std::pow(10000.0, -2.0 * double(f) / double(D));
          cos.data<float>()[i * (D / 2) + f] = float(std::cos(angle)), sin.data<float>()[i * (D / 2) + f] = float(std::sin(angle));
        }
      return ops.rope(t, cos, sin);
    };
    a = rotated(a, causal ? 0 : chunk), b = rotated(b, 0);  // as released: queries turn as if they were the last of the chunks they see
    const Tensor keep = Tensor::zeros(DType::boolean, {1, 1, blocks, blocks});
    for (std::int64_t i = 0; i < blocks; ++i)
      for (std::int64_t j = std::max<std::int64_t>(0, i - 1); j <= (causal ? i : std::min(i + 1, blocks - 1)); ++j)
        keep.data<std::uint8_t>()[i * blocks + j] = 1;
    AttendOptions o;
    o.causal = causal;
    o.blocks = BlockMask{keep, chunk, chunk};
    return ops.attend(a, b, split_heads(parts[2], local_attn_heads), o).out;
  }

  void run(Ops& ops) override {
    if (!module) {
      out = route(ops, q, k, v);
      return;
    }
    const auto D = dim_head.value_or(x.extent(2) / heads), routed = heads - local_attn_heads;
    if (receives_context && local_attn_heads > 0)
      fail("parameter local_attn_heads", "0 with receives_context", std::to_string(local_attn_heads));
    std::vector<Tensor> parts;
    if (local_attn_heads > 0) parts.push_back(near(ops, D));
    if (routed > 0) {
      const Tensor& from = receives_context ? context : x;
      const Tensor queries = split_heads(ops.linear(x, to_q), routed), values = split_heads(ops.linear(from, to_v), routed);
      const Tensor keys = !shared()          ? split_heads(ops.linear(from, to_k), routed)
                          : receives_context ? split_heads(ops.linear(from, to_q), routed)
                                             : queries;
      parts.push_back(route(ops, queries, keys, values));
    }
    out = ops.linear(join_heads(ops.concat(parts, 2)), to_out);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(routing_transformer, RoutingTransformer, "routing-transformer", "sparse", "module", 1,
               "Efficient Content-Based Sparse Attention with Routing Transformers")
