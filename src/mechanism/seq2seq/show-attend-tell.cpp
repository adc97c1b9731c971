// SPDX-License-Identifier: Apache-2.0
// Show, attend and tell (Xu et al., 2015): an LSTM writes a caption and looks at the features a_i before each word,
//   alpha = softmax_i(v . tanh(W a_i + U h)),  z = beta * sum alpha a_i,  beta = sigmoid(f h), a gate for each channel
#include "mechanism/scores.h"

namespace heed::mechanism {
namespace {

struct ShowAttendTell : Mechanism {
  Tensor features, hidden_state, u_w, u_b, w_w, w_b, v_w, v_b, h_w, h_b, c_w, c_b, beta_w, beta_b, embedding, input, recurrent, input_bias,
      recurrent_bias, deep_w, deep_b;
  Tensor out, weights, beta, gated_context, tokens;
  std::optional<std::int64_t> encoder_dim, hidden, attention_dim, vocabulary_size;
  std::int64_t steps = 20;
  bool greedy = true, attention_only = false;

  void describe(Declaration& d) override {
    const bool whole = !attention_only;
    const std::string prefix = whole ? "attention." : "";
    d.param("encoder_dim", encoder_dim, "De").least(1).computed("from features");
    d.param("hidden", hidden, "h").least(1).computed("from the weights");
    d.param("attention_dim", attention_dim, "a").least(1).computed("from the weights");
    d.param("vocabulary_size", vocabulary_size, "V").least(1).computed("from the weights");
    d.param("steps", steps, "T, words").least(1);
    d.param("greedy", greedy, "the best word is the next input; teacher forcing is not built");
    d.param("attention_only", attention_only, "one look with a given state");
    d.input("features", features, "B L De", "of the image");
    d.input("hidden", hidden_state, "B h", "decoder state").when(!whole, "attention_only");
    d.linear(prefix + "U", u_w, u_b, "a", "h");
    d.linear(prefix + "W", w_w, w_b, "a", "De");
    d.linear(prefix + "v", v_w, v_b, "1", "a");
    if (whole) {
      d.linear("init_h", h_w, h_b, "h", "De");
      d.linear("init_c", c_w, c_b, "h", "De");
      d.linear("f_beta", beta_w, beta_b, "De", "h");
      d.weight("embedding.weight", embedding, "V h");
      d.weight("lstm.weight_ih", input, "4*h h+De");
      d.weight("lstm.weight_hh", recurrent, "4*h h");
      d.weight("lstm.bias_ih", input_bias, "4*h");
      d.weight("lstm.bias_hh", recurrent_bias, "4*h");
      d.linear("deep_output", deep_w, deep_b, "V", "h");
    }
    d.size("L", "196");
    d.size("De", encoder_dim ? "encoder_dim" : "512");
    d.size("h", hidden ? "hidden" : "512");
    d.size("a", attention_dim ? "attention_dim" : "512");
    d.size("V", vocabulary_size ? "vocabulary_size" : "10000");
    d.output("out", out, whole ? "B steps V" : "B De", "logits; attention_only: the context");
    d.output("weights", weights, whole ? "B steps L" : "B L");
    d.output("beta", beta, "B steps De", "gates").when(whole, "not attention_only");
    d.output("gated_context", gated_context, "B steps De", "z").when(whole, "not attention_only");
    d.output("tokens", tokens, "B steps", "the best words").of(DType::i64).when(whole, "not attention_only");
  }

  /// Weights (B, 1, L) for a state (B, h).
  Tensor look(const Ops& ops, const Tensor& keys, const Tensor& state) const {
    const Tensor query = ops.linear(state, u_w, u_b).reshape({state.extent(0), 1, u_w.extent(0)});
    return ops.softmax(additive_scores(ops, query, keys, v_w, v_b), 2);
  }

  void run(Ops& ops) override {
    const auto B = features.extent(0), L = features.extent(1), De = features.extent(2);
    const Tensor keys = ops.linear(features, w_w, w_b);
    if (!greedy) fail("parameter greedy", "true, no words are given", "false");
    if (attention_only) {
      const Tensor alpha = look(ops, keys, hidden_state);
      weights = alpha.reshape({B, L});
      out = ops.matmul(alpha, features).reshape({B, De});
      return;
    }
    const Tensor mean = ops.mean(features, {1});
    Tensor h = ops.tanh(ops.linear(mean, h_w, h_b)), c = ops.tanh(ops.linear(mean, c_w, c_b)), word = Tensor::zeros(DType::i64, {B});
    std::vector<Tensor> logits, alphas, gates, contexts;
    tokens = Tensor(DType::i64, {B, steps});
    for (std::int64_t t = 0; t < steps; ++t) {
      alphas.push_back(look(ops, keys, h));
      gates.push_back(ops.sigmoid(ops.linear(h, beta_w, beta_b)));
      contexts.push_back(ops.mul(gates.back(), ops.matmul(alphas.back(), features).reshape({B, De})));
      const auto next = ops.lstm_cell(ops.concat({ops.embedding(embedding, word), contexts.back()}, 1), h, c, input, recurrent, input_bias,
                                      recurrent_bias);
      h = next.first, c = next.second;
      logits.push_back(ops.linear(h, deep_w, deep_b));
      const Tensor best = ops.argmax(ops.no_gradient(logits.back(), "choice of a word"), 1);
      for (std::int64_t b = 0; b < B; ++b) tokens.data<std::int64_t>()[b * steps + t] = best.data<std::int64_t>()[b];
      word = best;
    }
    out = ops.stack(logits, 1);
    weights = ops.concat(alphas, 1);
    beta = ops.stack(gates, 1);
    gated_context = ops.stack(contexts, 1);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(show_attend_tell, ShowAttendTell, "show-attend-tell", "seq2seq", "module", 1,
               "Show, Attend and Tell: Neural Image Caption Generation with Visual Attention")
