// SPDX-License-Identifier: Apache-2.0
// AutoInt (Song et al., 2019): the fields of a record attend to each other, weights acting from the right,
//   out_m = relu(concat_h sum_k softmax_k(<x_m W_Q, x_k W_K>_h) x_k W_V + x_m W_Res)
#include <algorithm>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct Autoint : Mechanism {
  struct Layer {
    Tensor query, key, value, residual;
  };
  Tensor x, out, weights;
  std::vector<Layer> layers{3};
  std::optional<std::int64_t> embedding_size, att_layer_num;
  std::int64_t head_num = 2;
  bool use_res = true, scaling = false;

  void describe(Declaration& d) override {
    d.param("embedding_size", embedding_size, "d, of a field").least(1).computed("from x");
    d.param("head_num", head_num, "heads, column blocks of d/head_num").least(1);
    d.param("use_res", use_res, "x W_Res is added");
    d.param("scaling", scaling, "scores are divided by sqrt(d/head_num)");
    d.param("att_layer_num", att_layer_num, "layers one after another, their weights named {l}.")
        .least(1)
        .most(1000)
        .computed("one, without a prefix");
    d.input("x", x, "B M d", "embedded fields");
    const auto layer = [&](const std::string& prefix, Layer& one, bool present, const std::string& text) {
      d.weight(prefix + "W_Query", one.query, "d d").when(present, text);
      d.weight(prefix + "W_key", one.key, "d d").when(present, text);
      d.weight(prefix + "W_Value", one.value, "d d").when(present, text);
      d.weight(prefix + "W_Res", one.residual, "d d").when(present && use_res, text + " and use_res");
    };
    const auto count = std::size_t(att_layer_num.value_or(0));
    layers.resize(std::max<std::size_t>(count, 3));
    layer("", layers[0], count == 0, "no att_layer_num");
    for (std::size_t l = 0; l < layers.size(); ++l)
      layer(std::to_string(l) + ".", layers[l], l < count, "att_layer_num > " + std::to_string(l));
    if (embedding_size) d.size("d", "embedding_size");
    d.output("out", out, "B M d");
    d.output("weights", weights, "B head_num M M").when(!att_layer_num, "a single layer");
  }

  void run(Ops& ops) override {
    AttendOptions o;
    if (!scaling) o.scale = 1.0f;
    out = x;
    layers.resize(std::size_t(att_layer_num.value_or(1)));
    for (const Layer& layer : layers) {
      const auto heads = [&](const Tensor& w) { return split_heads(ops.matmul(out, w), head_num); };
      const Tensor read =
          join_heads(attend_into(ops, heads(layer.query), heads(layer.key), heads(layer.value), o, wants(weights) ? &weights : nullptr));
      out = ops.relu(use_res ? ops.add(read, ops.matmul(out, layer.residual)) : read);
    }
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(autoint, Autoint, "autoint", "recsys", "module", 2,
               "AutoInt: Automatic Feature Interaction Learning via Self-Attentive Neural Networks")
