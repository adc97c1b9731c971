// SPDX-License-Identifier: Apache-2.0
// Transformer attribution (Chefer et al., 2021) of one class of a vision transformer: relevance R goes back through every part, the
// class's gradient through the attention weights A; with R_A at the softmax's output,
//   Abar_l = I + mean_h max(dA R_A, 0),   out = (Abar_last ... Abar_start)[CLS, patches]
// The methods it is compared with: rollout, the same of R_A alone; one map [CLS, patches], positive parts averaged over the heads:
// last_layer and second_layer of R_A, last_layer_attn of A.
// With S(a, b) = a / (b + 1e-9), 0 where b = 0: linear x+ (S(R, Z) W+) + x- (S(R, Z) W-), Z = x+ W+ + x- W-; product of two: half of
// X dZ/dX S each; sum of two: a S(R, a + b), rescaled so that the totals keep the shares |sum a| : |sum b|; norms, GELU, softmax: R.
// All in f64: Z and a + b may nearly vanish, and relevance times gradient is large where one of them is.
#include <array>
#include <cmath>

#include "mechanism/mechanism.h"
#include "ops/doubles.h"

namespace heed::mechanism {
namespace {

using heed::ops::DoubleOps, heed::ops::Doubles;

/// What the ways back need of a block's forward pass.
struct Seen {
  Doubles x, normed, q, k, v, dots, a, merged, attended, middle, normed2, raised, hidden, expanded;
};

struct TransformerAttribution : Mechanism {
  struct Layer {
    Tensor w1, b1, w_qkv, b_qkv, w_proj, b_proj, w2, b2, w_fc1, b_fc1, w_fc2, b_fc2;
  };
  std::vector<Layer> layers;
  Tensor image, cls, pos, w_patch, b_patch, w_norm, b_norm, w_head, b_head, out, logits, attentions, attn_relevance, attn_gradients;
  std::int64_t img_size = 224, patch_size = 16, embed_dim = 768, depth = 12, num_heads = 12, num_classes = 1000, index = 0, start_layer = 0;
  double mlp_ratio = 4, alpha = 1;
  std::string method = "transformer_attribution";

  void describe(Declaration& d) override {
    d.no_gradients("relevance is a backward pass of its own");
    d.param("img_size", img_size, "side of the image").least(1);
    d.param("patch_size", patch_size, "side of a patch").least(1);
    d.param("embed_dim", embed_dim, "width").least(1);
    d.param("depth", depth, "blocks").least(1).most(1000);
    d.param("num_heads", num_heads, "heads").least(1);
    d.param("mlp_ratio", mlp_ratio, "width of the MLP over embed_dim").least(0.01);
    d.param("num_classes", num_classes, "classes").least(1);
    d.param("index", index, "the class").least(0);
    d.param("alpha", alpha, "weight of the positive part of a linear; alpha - 1 of the negative one").least(1);
    d.param("method", method, "how relevance and gradients join; grad is the old name of transformer_attribution")
        .one_of({"transformer_attribution", "grad", "rollout", "last_layer", "last_layer_attn", "second_layer"});
    d.param("start_layer", start_layer, "the lowest block of the product").least(0);
    layers.resize(std::size_t(depth));
    const std::string tokens = "(img_size//patch_size)*(img_size//patch_size)+1";
    d.input("image", image, "1 3 img_size img_size", "image");
    d.weight("cls_token", cls, "1 1 embed_dim");
    d.weight("pos_embed", pos, "1 " + tokens + " embed_dim");
    d.weight("patch_embed.proj.weight", w_patch, "embed_dim 3 patch_size patch_size");
    d.weight("patch_embed.proj.bias", b_patch, "embed_dim");
    for (std::size_t l = 0; l < layers.size(); ++l) {
      Layer& y = layers[l];
      const std::string at = "blocks." + std::to_string(l) + ".";
      d.weight(at + "norm1.weight", y.w1, "embed_dim");
      d.weight(at + "norm1.bias", y.b1, "embed_dim");
      d.weight(at + "attn.qkv.weight", y.w_qkv, "3*embed_dim embed_dim");
      d.weight(at + "attn.qkv.bias", y.b_qkv, "3*embed_dim").optional().sample();
      d.linear(at + "attn.proj", y.w_proj, y.b_proj, "embed_dim", "embed_dim");
      d.weight(at + "norm2.weight", y.w2, "embed_dim");
      d.weight(at + "norm2.bias", y.b2, "embed_dim");
      d.linear(at + "mlp.fc1", y.w_fc1, y.b_fc1, "int(embed_dim*mlp_ratio)", "embed_dim");
      d.linear(at + "mlp.fc2", y.w_fc2, y.b_fc2, "embed_dim", "int(embed_dim*mlp_ratio)");
    }
    d.weight("norm.weight", w_norm, "embed_dim");
    d.weight("norm.bias", b_norm, "embed_dim");
    d.linear("head", w_head, b_head, "num_classes", "embed_dim");
    d.output("out", out, tokens + "-1", "relevance of each patch");
    d.output("logits", logits, "1 num_classes");
    for (auto [name, tensor] :
         {std::pair("attentions", &attentions), {"attn_relevance", &attn_relevance}, {"attn_gradients", &attn_gradients}})
      d.output(name, *tensor, "depth 1 num_heads " + tokens + " " + tokens);
  }

  Doubles heads_of(const Doubles& rows) const {
    return rows.reshape({1, rows.extent(1), num_heads, embed_dim / num_heads}).permute({0, 2, 1, 3});
  }
  Doubles rows_of(const Doubles& heads) const { return heads.permute({0, 2, 1, 3}).reshape({1, heads.extent(2), embed_dim}); }
  double scale() const { return 1 / std::sqrt(double(embed_dim / num_heads)); }

  /// What each block saw; x is what the last norm reads.
  std::vector<Seen> forward(const DoubleOps& ops, Doubles& x) const {
    const auto side = img_size / patch_size, C = embed_dim, P = patch_size;
    const Tensor cut = image.slice(2, 0, side * P).slice(3, 0, side * P).reshape({3, side, P, side, P}).permute({1, 3, 0, 2, 4});
    const Doubles patches = ops.linear(cut.reshape({1, side * side, 3 * P * P}), w_patch.reshape({C, 3 * P * P}), b_patch);
    x = ops.add(ops.concat({cls, patches}, 1), pos);
    std::vector<Seen> seen;
    for (const Layer& w : layers) {
      Seen& y = seen.emplace_back();
      y.x = x;
      y.normed = ops.layer_norm(x, w.w1, w.b1, 1e-6);
      const Doubles qkv = ops.linear(y.normed, w.w_qkv, w.b_qkv);
      y.q = heads_of(qkv.slice(2, 0, C)), y.k = heads_of(qkv.slice(2, C, C)), y.v = heads_of(qkv.slice(2, 2 * C, C));
      y.dots = ops.matmul(y.q, y.k.transpose(2, 3));
      y.a = ops.softmax(ops.scale(y.dots, scale()), 3);
      y.merged = ops.matmul(y.a, y.v);
      y.attended = ops.linear(rows_of(y.merged), w.w_proj, w.b_proj);
      y.middle = ops.add(x, y.attended);
      y.normed2 = ops.layer_norm(y.middle, w.w2, w.b2, 1e-6);
      y.raised = ops.linear(y.normed2, w.w_fc1, w.b_fc1);
      y.hidden = ops.gelu(y.raised);
      y.expanded = ops.linear(y.hidden, w.w_fc2, w.b_fc2);
      x = ops.add(y.middle, y.expanded);
    }
    return seen;
  }

  /// The gradient at the attention weights of every block; g is that of what the last block gives.
  std::vector<Doubles> gradients(const DoubleOps& ops, const std::vector<Seen>& seen, Doubles g) const {
    std::vector<Doubles> slopes(layers.size());
    for (std::size_t l = layers.size(); l-- > 0;) {
      const Layer& w = layers[l];
      const Seen& y = seen[l];
      const Doubles raised = ops.gelu_back(y.raised, ops.matmul(g, w.w_fc2));
      g = ops.add(g, ops.layer_norm_back(y.middle, w.w2, 1e-6, ops.matmul(raised, w.w_fc1)));
      const Doubles heads = heads_of(ops.matmul(g, w.w_proj)), a = slopes[l] = ops.matmul(heads, y.v.transpose(2, 3));
      const Doubles dots = ops.scale(ops.mul(y.a, ops.sub(a, ops.sum(ops.mul(a, y.a)))), scale());
      const Doubles of_q = ops.matmul(dots, y.k), of_k = ops.matmul(dots.transpose(2, 3), y.q),
                    of_v = ops.matmul(y.a.transpose(2, 3), heads);
      const Doubles qkv = ops.concat({rows_of(of_q), rows_of(of_k), rows_of(of_v)}, 2);
      g = ops.add(g, ops.layer_norm_back(y.x, w.w1, 1e-6, ops.matmul(qkv, w.w_qkv)));
    }
    return slopes;
  }

  static Doubles divide(const DoubleOps& ops, const Doubles& a, const Doubles& b) {
    return ops.zip(a, b, [](double x, double y) { return y == 0 ? 0 : x / (y + 1e-9); });
  }

  Doubles through_linear(const DoubleOps& ops, const Doubles& x, const Doubles& w, const Doubles& r) const {
    const auto positive = [&](const Doubles& t) { return ops.map(t, [](double v) { return v > 0 ? v : 0; }); };
    const Doubles px = positive(x), nx = ops.sub(x, px), pw = positive(w), nw = ops.sub(w, pw);
    const auto part = [&](const Doubles& of_positive, const Doubles& of_negative) {
      const Doubles s = divide(ops, r, ops.add(ops.linear(px, of_positive), ops.linear(nx, of_negative)));
      return ops.add(ops.mul(px, ops.matmul(s, of_positive)), ops.mul(nx, ops.matmul(s, of_negative)));
    };
    const Doubles active = part(pw, nw);
    return alpha == 1 ? active : ops.sub(ops.scale(active, alpha), ops.scale(part(nw, pw), alpha - 1));
  }

  /// Of a b, each half.
  static std::array<Doubles, 2> through_product(const DoubleOps& ops, const Doubles& a, const Doubles& b, const Doubles& product,
                                                const Doubles& r) {
    const Doubles s = ops.scale(divide(ops, r, product), 0.5);
    return {ops.mul(a, ops.matmul(s, b.transpose(2, 3))), ops.mul(b, ops.matmul(a.transpose(2, 3), s))};
  }

  static std::array<Doubles, 2> through_sum(const DoubleOps& ops, const Doubles& a, const Doubles& b, const Doubles& r) {
    const auto total = [&](const Doubles& x) { return ops.sum(x.reshape({x.count()})); };
    const auto magnitude = [&](const Doubles& x) { return ops.map(total(x), [](double v) { return std::abs(v); }); };
    const Doubles s = divide(ops, r, ops.add(a, b)), of_a = ops.mul(a, s), of_b = ops.mul(b, s);
    const Doubles all = ops.add(magnitude(of_a), magnitude(of_b));
    const auto rescaled = [&](const Doubles& part) {
      return ops.mul(part, divide(ops, ops.mul(divide(ops, magnitude(part), all), total(r)), total(part)));
    };
    return {rescaled(of_a), rescaled(of_b)};
  }

  void run(Ops& f32) override {
    if (embed_dim % num_heads) fail("parameter num_heads", "a divisor of embed_dim", std::to_string(num_heads));
    if (index >= num_classes) fail("parameter index", "below num_classes", std::to_string(index));
    if (method == "second_layer" && depth < 2) fail("parameter depth", "at least 2 with method=second_layer", std::to_string(depth));
    if (start_layer >= depth) fail("parameter start_layer", "below depth", std::to_string(start_layer));
    const DoubleOps ops(f32.context());
    const Tensor chosen = f32.one_hot(f32.full({1}, float(index)).to(DType::i64), num_classes);
    Doubles x;
    const auto seen = forward(ops, x);
    const auto N = x.extent(1), C = embed_dim;
    const auto first = [&](const Doubles& t) { return t.slice(1, 0, 1).reshape({1, C}); };
    const auto alone = [&](const Doubles& t) { return ops.concat({t.reshape({1, 1, C}), Tensor::zeros(DType::f32, {1, N - 1, C})}, 1); };
    const Doubles last = first(ops.layer_norm(x, w_norm, b_norm, 1e-5));
    const auto slopes = gradients(ops, seen, ops.layer_norm_back(x, w_norm, 1e-5, alone(ops.matmul(chosen, w_head))));
    Doubles r = alone(through_linear(ops, last, w_head, chosen));
    std::vector<Doubles> relevances(layers.size()), maps;
    for (std::size_t l = layers.size(); l-- > 0;) {
      const Layer& w = layers[l];
      const Seen& y = seen[l];
      const auto [skipped, expanded] = through_sum(ops, y.middle, y.expanded, r);
      r = ops.add(skipped, through_linear(ops, y.normed2, w.w_fc1, through_linear(ops, y.hidden, w.w_fc2, expanded)));
      const auto [kept, attended] = through_sum(ops, y.x, y.attended, r);
      const Doubles merged = heads_of(through_linear(ops, rows_of(y.merged), w.w_proj, attended));
      const auto [of_a, of_v] = through_product(ops, y.a, y.v, y.merged, merged);
      const auto [of_q, of_k] = through_product(ops, y.q, y.k.transpose(2, 3), y.dots, of_a);
      const Doubles qkv = ops.concat({rows_of(of_q), rows_of(of_k.transpose(2, 3)), rows_of(of_v)}, 2);
      r = ops.add(kept, through_linear(ops, y.normed, w.w_qkv, qkv));
      relevances[l] = of_a;
    }
    for (const Seen& y : seen) maps.push_back(y.a);
    const auto stacked = [&](const std::vector<Doubles>& list) {
      return ops.concat(list, 0).narrow().reshape({depth, 1, num_heads, N, N});
    };
    logits = ops.linear(last, w_head, b_head).narrow();
    attentions = stacked(maps), attn_relevance = stacked(relevances), attn_gradients = stacked(slopes);
    const auto positive = [&](const Doubles& t) { return f32.mean(f32.relu(t.narrow()), {0, 1}); };
    Tensor joint;
    if (method == "last_layer" || method == "second_layer") {
      joint = positive(method == "last_layer" ? relevances.back() : relevances[1]);
    } else if (method == "last_layer_attn") {
      joint = positive(maps.back());
    } else {
      for (auto l = std::size_t(start_layer); l < layers.size(); ++l) {
        const Tensor read = positive(method == "rollout" ? relevances[l] : ops.mul(slopes[l], relevances[l]));
        const Tensor map = f32.add(read, f32.one_hot(f32.arange(0, N), N));
        joint = joint.defined() ? f32.matmul(map, joint) : map;
      }
    }
    out = joint.slice(0, 0, 1).slice(1, 1, N - 1).reshape({N - 1});
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(transformer_attribution, TransformerAttribution, "transformer-attribution", "analysis", "analysis", 1,
               "Transformer Interpretability Beyond Attention Visualization")
