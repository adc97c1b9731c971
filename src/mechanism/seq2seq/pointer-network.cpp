// SPDX-License-Identifier: Apache-2.0
// Pointer networks (Vinyals et al., 2015): an LSTM reads the points, another writes their order,
//   u_j = V . tanh(W_1 e_j + W_2 h_t),  row t of out = softmax of u over the points not yet chosen; the chosen point is the next input
// The next hidden state is tanh(W_o [sum_j p_j W_1 e_j; h_t]), a glimpse that the port adds.
#include <algorithm>
#include <limits>

#include "mechanism/scores.h"

namespace heed::mechanism {
namespace {

struct PointerNetwork : Mechanism {
  struct Direction {
    Tensor input, hidden, input_bias, hidden_bias;
  };
  Tensor x, embed_w, embed_b, start, in_w, in_b, hid_w, hid_b, out_w, out_b, att_v, att_w, att_b, context_w, context_b, out, indices;
  std::vector<Direction> encoder{4};
  std::optional<std::int64_t> embedding_dim, hidden_dim;
  std::int64_t lstm_layers = 1;
  bool bidir = false;

  void describe(Declaration& d) override {
    d.param("embedding_dim", embedding_dim, "e").least(1).computed("from the weights");
    d.param("hidden_dim", hidden_dim, "h").least(1).computed("from the weights");
    d.param("lstm_layers", lstm_layers, "of the encoder").least(1).most(1000);
    d.param("bidir", bidir, "the encoder reads both ways, h/2 each");
    d.input("x", x, "B N 2", "points");
    d.linear("embedding", embed_w, embed_b, "e", "2");
    encoder.resize(std::size_t(2 * std::max<std::int64_t>(lstm_layers, 2)));  // forward and backward of each layer
    for (std::size_t n = 0; n < encoder.size(); ++n) {
      const bool back = n % 2, present = std::int64_t(n / 2) < lstm_layers && (bidir || !back);
      const std::string layer = std::to_string(n / 2), end = "_l" + layer + (back ? "_reverse" : ""),
                        text = "lstm_layers > " + layer + (back ? " and bidir" : "");
      const std::string gates = bidir ? "2*h" : "4*h", from = n / 2 ? "h" : "e", width = bidir ? "h//2" : "h";
      Direction& one = encoder[n];
      d.weight("encoder.lstm.weight_ih" + end, one.input, gates + " " + from).when(present, text);
      d.weight("encoder.lstm.weight_hh" + end, one.hidden, gates + " " + width).when(present, text);
      d.weight("encoder.lstm.bias_ih" + end, one.input_bias, gates).when(present, text);
      d.weight("encoder.lstm.bias_hh" + end, one.hidden_bias, gates).when(present, text);
    }
    d.weight("decoder_input0", start, "e");
    d.linear("decoder.input_to_hidden", in_w, in_b, "4*h", "e");
    d.linear("decoder.hidden_to_hidden", hid_w, hid_b, "4*h", "h");
    d.linear("decoder.hidden_out", out_w, out_b, "h", "2*h");
    d.weight("decoder.att.V", att_v, "h");
    d.linear("decoder.att.input_linear", att_w, att_b, "h", "h");
    d.weight("decoder.att.context_linear.weight", context_w, "h h 1");
    d.weight("decoder.att.context_linear.bias", context_b, "h");
    d.ignore("encoder.h0");
    d.ignore("encoder.c0");
    d.ignore("decoder.mask");
    d.ignore("decoder.runner");
    d.ignore("decoder.att._inf");
    d.size("N", "100");
    d.size("e", embedding_dim ? "embedding_dim" : "128");
    d.size("h", hidden_dim ? "hidden_dim" : "128");
    d.output("out", out, "B N N", "probabilities of the points at each step");
    d.output("indices", indices, "B N", "the points chosen").of(DType::i64);
  }

  void run(Ops& ops) override {
    const auto B = x.extent(0), N = x.extent(1);
    const std::size_t ways = bidir ? 2 : 1;
    if (N < 1) fail("input x", "a point or more", x.shape().text());
    const Tensor points = ops.linear(x, embed_w, embed_b);
    const auto e = points.extent(2);
    Tensor states = points, h, c;
    for (std::size_t layer = 0; layer < std::size_t(lstm_layers); ++layer) {
      std::vector<Tensor> all, last, cells;
      for (std::size_t way = 0; way < ways; ++way) {
        const Direction& one = encoder[2 * layer + way];
        const auto [every, cell] = ops.lstm(states, {}, {}, one.input, one.hidden, one.input_bias, one.hidden_bias, way == 1);
        all.push_back(every), cells.push_back(cell);
        last.push_back(every.slice(1, way == 1 ? 0 : N - 1, 1).reshape({B, every.extent(2)}));
      }
      states = ops.concat(all, 2), h = ops.concat(last, 1), c = ops.concat(cells, 1);
    }
    const auto H = h.extent(1);
    const Tensor context = ops.linear(states, context_w.reshape({H, H}), context_b),
                 none = ops.full({}, -std::numeric_limits<float>::infinity());
    Tensor input = start.reshape({1, e}).broadcast({B, e});
    const Tensor open(DType::boolean, {B, 1, N});
    std::fill_n(open.data<std::uint8_t>(), B * N, std::uint8_t(1));
    indices = Tensor(DType::i64, {B, N});
    std::vector<Tensor> rows;
    for (std::int64_t t = 0; t < N; ++t) {
      const auto [hidden, cell] = ops.lstm_cell(input, h, c, in_w, hid_w, in_b, hid_b);
      c = cell;
      const Tensor scores = additive_scores(ops, ops.linear(hidden, att_w, att_b).reshape({B, 1, H}), context, att_v);
      const Tensor p = ops.softmax(ops.where(copy(open), scores, none), 2);
      rows.push_back(p);
      const Tensor glimpse = ops.matmul(p, context).reshape({B, H});
      h = ops.tanh(ops.linear(ops.concat({glimpse, hidden}, 1), out_w, out_b));
      const Tensor best = ops.argmax(ops.no_gradient(p, "choice of a point"), 2), place(DType::i64, {B});
      for (std::int64_t b = 0; b < B; ++b) {
        const auto j = best.data<std::int64_t>()[b];
        open.data<std::uint8_t>()[b * N + j] = 0;
        indices.data<std::int64_t>()[b * N + t] = j;
        place.data<std::int64_t>()[b] = b * N + j;
      }
      input = ops.index_select(points.reshape({B * N, e}), 0, place);
    }
    out = ops.concat(rows, 1);
  }

  /// What an op keeps must not change.
  static Tensor copy(const Tensor& mask) {
    const Tensor same(DType::boolean, mask.shape());
    std::copy_n(mask.data<std::uint8_t>(), mask.count(), same.data<std::uint8_t>());
    return same;
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(pointer_network, PointerNetwork, "pointer-network", "seq2seq", "op", 2, "Pointer Networks")
