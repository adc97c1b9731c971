// SPDX-License-Identifier: Apache-2.0
// Titans (Behrouz et al., 2024): a memory that is a small network and learns while it reads. With k, v, q of the tokens:
//   S_c = eta_c S_{c-1} - grad_M sum_t lr_t mean |M(k_t) - v_t|^2,   M_c = (1 - alpha_c) M_{c-1} + S_c,   out_t = M_c(q_t)
// chunk by chunk: the gradient of a chunk is taken at the memory of the last batch boundary, a token reads after the chunks that end
// at or before it. M(z) = LayerNorm(MLP z) (gamma + 1) + z. part=SegmentedAttention is the attention beside it: causal within a
// segment, or over the last segment_len tokens, and over learned persistent keys.
#include <cmath>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct Titans : Mechanism {
  Tensor x, store_norm, retrieve_norm, q_weight, k_weight, v_weight, step_weight, step_bias, momentum_weight, momentum_bias, decay_weight,
      decay_bias, q_gamma, k_gamma, read_gamma, combine, gate, pool_weight, pool_bias, out;
  Tensor norm_weight, qkv_weight, out_weight, persistent_memory;
  std::vector<Tensor> memory = std::vector<Tensor>(17), updates = std::vector<Tensor>(17);
  std::string part = "NeuralMemory";
  std::optional<std::int64_t> dim, batch_size, dim_head, heads;
  std::int64_t chunk_size = 1, depth = 2, momentum_order = 1, segment_len = 128, num_persist_mem_tokens = 0, num_longterm_mem_tokens = 0;
  double expansion_factor = 4, default_step_transform_max_lr = 1;
  std::optional<double> max_grad_norm;
  bool momentum = true, mem_model_norm_add_residual = true, qk_rmsnorm = false, post_rmsnorm = false, attn_pool_chunks = false,
       sliding = false;

  void describe(Declaration& d) override {
    d.param("part", part, "which part").one_of({"NeuralMemory", "SegmentedAttention"});
    d.param("dim", dim, "width of x").least(1).computed("C");
    d.param("chunk_size", chunk_size, "tokens that make one update").least(1);
    d.param("batch_size", batch_size, "tokens between the memories that gradients are taken at; a multiple of chunk_size")
        .least(1)
        .computed("all");
    d.param("dim_head", dim_head, "width of a head").least(1).computed("dim; of the attention 64");
    d.param("heads", heads, "memories").least(1).computed("1; of the attention 8");
    d.param("depth", depth, "layers of the memory").least(1).most(16);
    d.param("expansion_factor", expansion_factor, "width of its hidden layers over dim_head").least(0);
    d.param("momentum", momentum, "whether surprise lasts");
    d.param("momentum_order", momentum_order, "how often it is smoothed").least(1);
    d.param("mem_model_norm_add_residual", mem_model_norm_add_residual, "norm and residual around the memory");
    d.param("qk_rmsnorm", qk_rmsnorm, "norms of queries and keys");
    d.param("post_rmsnorm", post_rmsnorm, "a norm of what is read");
    d.param("attn_pool_chunks", attn_pool_chunks, "a chunk's summary by attention; false: its mean");
    d.param("default_step_transform_max_lr", default_step_transform_max_lr, "the largest learning rate").least(0);
    d.param("max_grad_norm", max_grad_norm, "where gradients level off").computed("none");
    d.param("segment_len", segment_len, "tokens of a segment").least(1);
    d.param("num_persist_mem_tokens", num_persist_mem_tokens, "persistent keys").least(0);
    d.param("num_longterm_mem_tokens", num_longterm_mem_tokens, "tokens of a segment that are memory").least(0);
    d.param("sliding", sliding, "a window in place of segments");
    const std::string C = dim ? "dim" : "C";
    d.input("x", x, "B N " + C, "tokens");
    d.size("N", "128");
    d.size("C", "D");
    part == "NeuralMemory" ? describe_memory(d, C) : describe_attention(d, C);
  }

  void describe_memory(Declaration& d, const std::string& C) {
    const std::string H = heads ? "heads" : "1", D = dim_head ? "dim_head" : C, HD = H + "*" + D,
                      hidden = "int(" + D + "*expansion_factor)";
    const std::string order = "momentum_order*" + H;
    const bool many = heads.value_or(1) > 1, residual = mem_model_norm_add_residual;
    d.weight("store_norm.weight", store_norm, C);
    d.weight("retrieve_norm.weight", retrieve_norm, C);
    d.weight("to_queries.weight", q_weight, HD + " " + C);
    d.weight("to_keys.weight", k_weight, HD + " " + C);
    d.weight("to_values.weight", v_weight, HD + " " + C);
    d.linear("to_adaptive_step.0", step_weight, step_bias, H, C);
    if (momentum) d.linear("to_momentum.0", momentum_weight, momentum_bias, order, C);
    d.linear("to_decay_factor.0", decay_weight, decay_bias, H, C);
    d.weight("q_norm.gamma", q_gamma, H + " 1 " + D).init(Init::zeros).when(qk_rmsnorm, "qk_rmsnorm");
    d.weight("k_norm.gamma", k_gamma, H + " 1 " + D).init(Init::zeros).when(qk_rmsnorm, "qk_rmsnorm");
    d.weight("multihead_rmsnorm.gamma", read_gamma, H + " 1 " + D).init(Init::zeros).when(post_rmsnorm, "post_rmsnorm");
    d.weight("combine_heads.weight", combine, C + " " + HD).when(many, "heads > 1");
    d.weight("retrieve_gate.0.weight", gate, H + " " + C).when(many, "heads > 1");
    d.weight("reduce_to_chunk_rep.to_attn_logits.weight", pool_weight, C + " " + C)
        .init(Init::zeros)
        .when(attn_pool_chunks, "attn_pool_chunks");
    d.weight("reduce_to_chunk_rep.to_attn_logits.bias", pool_bias, C).init(Init::zeros).when(attn_pool_chunks, "attn_pool_chunks");
    d.output("out", out, "B N " + C);
    const auto entry = [&](std::size_t i, const std::string& name, const std::string& shape) -> TensorEntry& {
      d.output("updates." + name, updates[i], "B*" + H + " " + shape, "the memory after the last whole chunk");
      return d.weight("memory_model_parameters." + std::to_string(i), memory[i], H + " " + shape, name + " at the start");
    };
    if (residual) entry(0, "norm.gamma", D).init(Init::zeros);
    for (std::int64_t layer = 0; layer < depth; ++layer)
      entry(std::size_t(layer + residual), (residual ? "model.weights." : "weights.") + std::to_string(layer),
            (layer == 0 ? D : hidden) + " " + (layer + 1 == depth ? D : hidden));
    d.ignore("memory_model.*");
  }

  void describe_attention(Declaration& d, const std::string& C) {
    const std::string H = heads ? "heads" : "8", D = dim_head ? "dim_head" : "64", HD = H + "*" + D;
    d.weight("norm.weight", norm_weight, C);
    d.weight("to_qkv.weight", qkv_weight, "3*" + HD + " " + C);
    d.weight("to_out.weight", out_weight, C + " " + HD);
    d.weight("persistent_memory", persistent_memory, "2 " + H + " num_persist_mem_tokens " + D, "keys, values").init(Init::zeros);
    d.ignore("rotary_emb.*");
    d.output("out", out, "B N " + C);
  }

  static constexpr float tiny = 1.1920929e-7f;  ///< what torch's RMSNorm adds

  /// The memory with parameters (B*H, n, ...) on z (B*H, n, tokens, D).
  Tensor recall(const Ops& ops, const std::vector<Tensor>& parameters, const Tensor& z) const {
    const bool residual = mem_model_norm_add_residual;
    Tensor y = z;
    for (std::size_t i = residual; i < parameters.size(); ++i) y = ops.matmul(i > std::size_t(residual) ? ops.gelu(y) : y, parameters[i]);
    if (!residual) return y;
    const Tensor& gamma = parameters[0];
    const Tensor factor = ops.shift(gamma.reshape({gamma.extent(0), gamma.extent(1), 1, gamma.extent(2)}), 1);
    return ops.add(ops.mul(ops.layer_norm(y), factor), z);
  }

  static Tensor head_norm(const Ops& ops, const Tensor& y, const Tensor& gamma) {  // y (B, H, N, D)
    return gamma.defined() ? ops.mul(ops.rms_norm(y, {}, tiny), ops.shift(gamma, 1)) : y;
  }

  /// x with the extents from axis 2 on made 1, so that it multiplies a parameter (B*H, n, ...).
  static Tensor per_chunk(const Tensor& factors, const Tensor& parameter) {
    std::vector<std::int64_t> shape(std::size_t(parameter.rank()), 1);
    shape[0] = factors.extent(0), shape[1] = factors.extent(1);
    return factors.reshape(Shape(shape));
  }

  /// x_t = a_t x_{t-1} + b_t along axis 1 from x = first (B*H, 1, ...), which leads the result.
  static Tensor carry_on(const Ops& ops, const Tensor& a, const Tensor& first, const Tensor& b) {
    return ops.recurrence(ops.pad(per_chunk(a, b), 1, 1, 0), ops.concat({first, b}, 1), 1);
  }

  /// Minus the gradient of every chunk's loss at the memory `at` (B*H, 1, ...): (B*H, n, ...) each.
  std::vector<Tensor> surprise(const Ops& ops, const std::vector<Tensor>& at, const Tensor& keys, const Tensor& values,
                               const Tensor& rates) const {
    const auto n = keys.extent(1);
    std::vector<Tensor> copies;
    for (const Tensor& p : at) copies.push_back(ops.repeat(p, 1, n));
    const auto loss = [&](const Ops& inner, const std::vector<Tensor>& parameters) {
      const Tensor error = inner.mean(inner.square(inner.sub(recall(inner, parameters, keys), values)), {3});
      return inner.sum(inner.mul(error, rates), {0, 1, 2});
    };
    std::vector<Tensor> result;
    for (const Tensor& g : ops.gradient(loss, copies)) {
      Tensor bounded = g;
      if (max_grad_norm) {
        std::vector<int> inside;
        for (int a = 2; a < g.rank(); ++a) inside.push_back(a);
        const float half = float(*max_grad_norm / 2);
        const Tensor norm = ops.sqrt(ops.sum(ops.square(g), inside, true));
        bounded = ops.mul(g, ops.div(ops.shift(ops.scale(ops.tanh(ops.scale(norm, 1 / half)), half), half), norm));
      }
      result.push_back(ops.neg(bounded));
    }
    return result;
  }

  void run(Ops& ops) override { part == "NeuralMemory" ? run_memory(ops) : run_attention(ops); }

  void run_memory(const Ops& ops) {
    const auto B = x.extent(0), N = x.extent(1), C = x.extent(2), H = heads.value_or(1), D = q_weight.extent(0) / H, c = chunk_size,
               chunks = N / c;
    if (H == 1 && D != C) fail("parameter dim_head", "dim where there is one head", std::to_string(D));
    if (batch_size && *batch_size % c != 0)
      fail("parameter batch_size", "a multiple of chunk_size " + std::to_string(c), std::to_string(*batch_size));
    const auto by_head = [&](const Tensor& y) { return split_heads(y, H).transpose(1, 2); };  // (B, H, N, D)
    const Tensor stored = ops.rms_norm(x.slice(1, 0, chunks * c), store_norm, tiny);
    const auto in_chunks = [&](const Tensor& y) { return y.reshape({B * H, chunks, c, D}); };
    const Tensor keys = in_chunks(head_norm(ops, by_head(ops.linear(stored, k_weight)), k_gamma));
    const Tensor values = in_chunks(by_head(ops.linear(stored, v_weight)));
    const Tensor rates = ops.scale(ops.sigmoid(ops.linear(stored, step_weight, step_bias)), float(default_step_transform_max_lr))
                             .transpose(1, 2)
                             .reshape({B * H, chunks, c});
    // What a chunk decides once: how much lasts and how much is forgotten.
    Tensor pooled = stored.reshape({B, chunks, c, C});
    if (attn_pool_chunks)
      pooled = ops.sum(ops.mul(pooled, ops.softmax(ops.linear(pooled, pool_weight, pool_bias), 2)), {2});
    else
      pooled = ops.mean(pooled, {2});
    const Tensor kept =
        ops.shift(ops.neg(ops.sigmoid(ops.linear(pooled, decay_weight, decay_bias))), 1).transpose(1, 2).reshape({B * H, chunks});
    Tensor lasting;  // (order, B*H, chunks)
    if (momentum)
      lasting = ops.sigmoid(ops.linear(pooled, momentum_weight, momentum_bias))
                    .reshape({B, chunks, H, momentum_order})
                    .permute({3, 0, 2, 1})
                    .reshape({momentum_order, B * H, chunks});

    const std::size_t tensors = std::size_t(depth + mem_model_norm_add_residual);
    std::vector<Tensor> at;                                              // the memory gradients are taken at: (B*H, 1, ...)
    std::vector<std::vector<Tensor>> states(tensors), momenta(tensors);  // memories after each chunk, pieces of a batch; S by order
    for (std::size_t i = 0; i < tensors; ++i) {
      std::vector<std::int64_t> shape = memory[i].shape().vector();
      shape.insert(shape.begin(), B);
      const Tensor first = memory[i].broadcast(Shape(shape));
      shape.erase(shape.begin());
      shape[0] = B * H;
      shape.insert(shape.begin() + 1, 1);
      at.push_back(first.reshape(Shape(shape)));
      states[i] = {at[i]};
      momenta[i] = std::vector<Tensor>(std::size_t(momentum ? momentum_order : 0), Tensor::zeros(DType::f32, Shape(shape)));
    }
    const auto batch = batch_size ? *batch_size / c : std::max<std::int64_t>(chunks, 1);
    for (std::int64_t from = 0; from < chunks; from += batch) {
      const auto n = std::min(batch, chunks - from);
      const auto piece = [&](const Tensor& y) { return y.slice(1, from, n); };
      const auto steps = surprise(ops, at, piece(keys), piece(values), piece(rates));
      for (std::size_t i = 0; i < tensors; ++i) {
        Tensor update = steps[i];
        for (std::size_t o = 0; o < momenta[i].size(); ++o) {
          const Tensor eta = piece(lasting.slice(0, std::int64_t(o), 1).reshape({B * H, chunks}));
          update = carry_on(ops, eta, momenta[i][o], update).slice(1, 1, n);
          momenta[i][o] = update.slice(1, n - 1, 1);
        }
        const Tensor last = states[i].back().slice(1, states[i].back().extent(1) - 1, 1);
        states[i].push_back(carry_on(ops, piece(kept), last, update).slice(1, 1, n));
        at[i] = states[i].back().slice(1, n - 1, 1);
      }
    }

    std::vector<Tensor> after;  // (B*H, chunks + 1, ...)
    for (std::size_t i = 0; i < tensors; ++i) {
      after.push_back(ops.concat(states[i], 1));
      auto shape = after[i].shape().vector();
      shape.erase(shape.begin() + 1);
      updates[i] = after[i].slice(1, chunks, 1).reshape(Shape(shape));
    }
    const Tensor read = ops.rms_norm(x, retrieve_norm, tiny);
    const Tensor q = ops.pad(head_norm(ops, by_head(ops.linear(read, q_weight)), q_gamma), 2, 1, (chunks + 1) * c - N - 1);
    const Tensor answers = recall(ops, after, q.reshape({B * H, chunks + 1, c, D})).reshape({B, H, (chunks + 1) * c, D});
    Tensor found = head_norm(ops, answers.slice(2, 1, N), read_gamma);
    if (H > 1) found = ops.mul(found, ops.sigmoid(ops.linear(read, gate)).transpose(1, 2).reshape({B, H, N, 1}));
    out = join_heads(found.transpose(1, 2));
    if (H > 1) out = ops.linear(out, combine);
  }

  void run_attention(const Ops& ops) {
    const auto B = x.extent(0), N = x.extent(1), H = persistent_memory.extent(1), D = persistent_memory.extent(3),
               P = persistent_memory.extent(2);
    if (D % 2 != 0) fail("parameter dim_head", "an even width, which rotates", std::to_string(D));
    const auto T = segment_len + num_longterm_mem_tokens, segments = (N + T - 1) / T, padded = sliding ? N : segments * T;
    const Tensor cos(DType::f32, {padded, D / 2}), sin(DType::f32, {padded, D / 2});
    for (std::int64_t t = 0; t < padded; ++t)
      for (std::int64_t i = 0; i < D / 2; ++i) {
        const double angle = double(t) * std::pow(1e4, -2 * double(i) / double(D));
        cos.data<float>()[t * (D / 2) + i] = float(std::cos(angle));
        sin.data<float>()[t * (D / 2) + i] = float(std::sin(angle));
      }
    const Tensor normed = ops.rms_norm(ops.pad(x, 1, 0, padded - N), norm_weight, tiny);
    const auto qkv = ops.split(ops.linear(normed, qkv_weight), 2, {H * D, H * D, H * D});
    const Tensor q = ops.rope(split_heads(qkv[0], H), cos, sin, true), k = ops.rope(split_heads(qkv[1], H), cos, sin, true),
                 v = split_heads(qkv[2], H);
    AttendOptions o;
    o.causal = true;
    Attended near;
    if (sliding) {
      o.window_left = T;
      near = ops.attend(q, k, v, o, want_lse);
    } else {
      const auto fold = [&](const Tensor& y) { return y.reshape({B * segments, T, H, D}); };
      near = ops.attend(fold(q), fold(k), fold(v), o, want_lse);
      near.out = near.out.reshape({B, padded, H, D});
      near.lse = near.lse.reshape({B, segments, H, T}).transpose(1, 2).reshape({B, H, padded});
    }
    if (P > 0) {  // what every token sees, as a partial result of its own
      const auto persistent = [&](std::int64_t i) {
        return persistent_memory.slice(0, i, 1).reshape({1, H, P, D}).transpose(1, 2).broadcast({B, P, H, D});
      };
      near = ops.merge(near, ops.attend(q, persistent(0), persistent(1), {}, want_lse));
    }
    out = ops.linear(join_heads(near.out.slice(1, 0, N)), out_weight);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(titans, Titans, "titans", "linear", "block", 1, "Titans: Learning to Memorize at Test Time")
