// SPDX-License-Identifier: Apache-2.0
// Transformer attribution (Chefer et al., 2021) of one class of a vision transformer: relevance R goes back through every part, the
// class's gradient through the attention weights A; with R_A at the softmax's output,
//   Abar_l = I + mean_h max(dA R_A, 0),   out = (Abar_last ... Abar_start)[CLS, patches]
// The methods it is compared with: rollout, the same of R_A alone; one map [CLS, patches], positive parts averaged over the heads:
// last_layer and second_layer of R_A, last_layer_attn of A.
// With S(a, b) = a / (b + 1e-9), 0 where b = 0: linear x+ (S(R, Z) W+) + x- (S(R, Z) W-), Z = x+ W+ + x- W-; product of two: half of
// X dZ/dX S each; sum of two: a S(R, a + b), rescaled so that the totals keep the shares |sum a| : |sum b|; norms, GELU, softmax: R.
#include <array>
#include <cmath>

#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct TransformerAttribution : Mechanism {
  struct Layer {
    Tensor w1, b1, w_qkv, b_qkv, w_proj, b_proj, w2, b2, w_fc1, b_fc1, w_fc2, b_fc2;          // weights
    Tensor x, normed, q, k, v, dots, a, merged, attended, middle, normed2, hidden, expanded;  // of the forward pass
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

  Tensor forward(const Ops& ops, const Tensor& from, Tensor& last) {
    const auto side = img_size / patch_size, C = embed_dim, H = num_heads, P = patch_size, N = side * side + 1;
    const Tensor cut = from.slice(2, 0, side * P).slice(3, 0, side * P).reshape({3, side, P, side, P}).permute({1, 3, 0, 2, 4});
    const Tensor patches = ops.linear(cut.reshape({1, side * side, 3 * P * P}), w_patch.reshape({C, 3 * P * P}), b_patch);
    Tensor x = ops.add(ops.concat({cls, patches}, 1), pos);
    for (Layer& y : layers) {
      y.x = x;
      y.normed = ops.layer_norm(x, y.w1, y.b1, 1e-6f);
      const Tensor qkv = ops.linear(y.normed, y.w_qkv, y.b_qkv).reshape({N, 3, H, C / H}).permute({1, 2, 0, 3});
      const auto part = [&](std::int64_t i) { return qkv.slice(0, i, 1); };
      y.q = part(0), y.k = part(1), y.v = part(2);
      y.dots = ops.matmul(y.q, y.k.transpose(2, 3));
      y.a = ops.softmax(ops.scale(y.dots, 1 / std::sqrt(float(C / H))), 3);
      y.merged = ops.matmul(y.a, y.v);
      y.attended = ops.linear(y.merged.permute({0, 2, 1, 3}).reshape({1, N, C}), y.w_proj, y.b_proj);
      y.middle = ops.add(x, y.attended);
      y.normed2 = ops.layer_norm(y.middle, y.w2, y.b2, 1e-6f);
      y.hidden = ops.gelu(ops.linear(y.normed2, y.w_fc1, y.b_fc1));
      y.expanded = ops.linear(y.hidden, y.w_fc2, y.b_fc2);
      x = ops.add(y.middle, y.expanded);
    }
    last = ops.layer_norm(x, w_norm, b_norm, 1e-5f).slice(1, 0, 1).reshape({1, C});
    return ops.linear(last, w_head, b_head);
  }

  static Tensor divide(const Ops& ops, const Tensor& a, const Tensor& b) {
    const Tensor none = ops.full({}, 0);
    return ops.where(ops.equal(b, none), none, ops.div(a, ops.shift(b, 1e-9f)));
  }

  Tensor through_linear(const Ops& ops, const Tensor& x, const Tensor& w, const Tensor& r) const {
    const Tensor none = ops.full({}, 0);
    const Tensor px = ops.maximum(x, none), nx = ops.minimum(x, none), pw = ops.maximum(w, none), nw = ops.minimum(w, none);
    const auto part = [&](const Tensor& of_positive, const Tensor& of_negative) {
      const Tensor s = divide(ops, r, ops.add(ops.linear(px, of_positive), ops.linear(nx, of_negative)));
      return ops.add(ops.mul(px, ops.matmul(s, of_positive)), ops.mul(nx, ops.matmul(s, of_negative)));
    };
    const Tensor active = part(pw, nw);
    return alpha == 1 ? active : ops.sub(ops.scale(active, float(alpha)), ops.scale(part(nw, pw), float(alpha - 1)));
  }

  /// Of a b, each half.
  static std::array<Tensor, 2> through_product(const Ops& ops, const Tensor& a, const Tensor& b, const Tensor& product, const Tensor& r) {
    const Tensor s = divide(ops, r, product);
    return {ops.scale(ops.mul(a, ops.matmul(s, b.transpose(2, 3))), 0.5f), ops.scale(ops.mul(b, ops.matmul(a.transpose(2, 3), s)), 0.5f)};
  }

  static std::array<Tensor, 2> through_sum(const Ops& ops, const Tensor& a, const Tensor& b, const Tensor& r) {
    const auto total = [&](const Tensor& x) { return ops.sum(x.reshape({x.count()}), {0}); };
    const Tensor s = divide(ops, r, ops.add(a, b)), of_a = ops.mul(a, s), of_b = ops.mul(b, s);
    const Tensor all = ops.add(ops.abs(total(of_a)), ops.abs(total(of_b)));
    const auto rescaled = [&](const Tensor& part) {
      const Tensor sum = total(part), share = ops.mul(divide(ops, ops.abs(sum), all), total(r));
      return ops.mul(part, divide(ops, share, sum));
    };
    return {rescaled(of_a), rescaled(of_b)};
  }

  void run(Ops& ops) override {
    if (embed_dim % num_heads) fail("parameter num_heads", "a divisor of embed_dim", std::to_string(num_heads));
    if (index >= num_classes) fail("parameter index", "below num_classes", std::to_string(index));
    if (method == "second_layer" && depth < 2) fail("parameter depth", "at least 2 with method=second_layer", std::to_string(depth));
    if (start_layer >= depth) fail("parameter start_layer", "below depth", std::to_string(start_layer));
    // The weights of every block as results on the way of one graph: the class's gradient at all of them at once.
    Tensor last;
    const Tensor chosen = ops.one_hot(ops.full({1}, float(index)).to(DType::i64), num_classes);
    const Tensor scores = forward(Ops(ops.context(), true), leaf(image), last);
    std::vector<Tensor> maps;
    for (const Layer& y : layers) maps.push_back(y.a);
    const auto slopes = heed::gradients(Ops(ops.context(), false), {scores}, {chosen}, maps);
    logits = scores.with_origin(nullptr);
    for (Layer& y : layers)
      for (Tensor* t :
           {&y.x, &y.normed, &y.q, &y.k, &y.v, &y.dots, &y.a, &y.merged, &y.attended, &y.middle, &y.normed2, &y.hidden, &y.expanded})
        *t = t->with_origin(nullptr);
    const auto N = layers[0].x.extent(1), C = embed_dim, H = num_heads;
    Tensor r = ops.pad(through_linear(ops, last.with_origin(nullptr), w_head, chosen).reshape({1, 1, C}), 1, 0, N - 1);
    std::vector<Tensor> relevances(layers.size());
    for (std::size_t l = layers.size(); l-- > 0;) {
      const Layer& y = layers[l];
      const auto [skipped, expanded] = through_sum(ops, y.middle, y.expanded, r);
      r = ops.add(skipped, through_linear(ops, y.normed2, y.w_fc1, through_linear(ops, y.hidden, y.w_fc2, expanded)));
      const auto [kept, attended] = through_sum(ops, y.x, y.attended, r);
      const Tensor merged = through_linear(ops, y.merged.permute({0, 2, 1, 3}).reshape({1, N, C}), y.w_proj, attended);
      const auto [of_a, of_v] = through_product(ops, y.a, y.v, y.merged, merged.reshape({1, N, H, C / H}).permute({0, 2, 1, 3}));
      const auto [of_q, of_k] = through_product(ops, y.q, y.k.transpose(2, 3), y.dots, of_a);
      const Tensor qkv = ops.concat({of_q, of_k.transpose(2, 3), of_v}, 0).permute({2, 0, 1, 3}).reshape({1, N, 3 * C});
      r = ops.add(kept, through_linear(ops, y.normed, y.w_qkv, qkv));
      relevances[l] = of_a;
    }
    attentions = ops.stack(
        [&] {
          std::vector<Tensor> list;
          for (const Layer& y : layers) list.push_back(y.a);
          return list;
        }(),
        0);
    attn_relevance = ops.stack(relevances, 0), attn_gradients = ops.stack(slopes, 0);
    const auto positive = [&](const Tensor& t) { return ops.mean(ops.relu(t), {0, 1}); };
    Tensor joint;
    if (method == "last_layer" || method == "second_layer") {
      joint = positive(method == "last_layer" ? relevances.back() : relevances[1]);
    } else if (method == "last_layer_attn") {
      joint = positive(layers.back().a);
    } else {
      for (auto l = std::size_t(start_layer); l < layers.size(); ++l) {
        const Tensor seen = positive(method == "rollout" ? relevances[l] : ops.mul(slopes[l], relevances[l]));
        const Tensor map = ops.add(seen, ops.one_hot(ops.arange(0, N), N));
        joint = joint.defined() ? ops.matmul(map, joint) : map;
      }
    }
    out = joint.slice(0, 0, 1).slice(1, 1, N - 1).reshape({N - 1});
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(transformer_attribution, TransformerAttribution, "transformer-attribution", "analysis", "analysis", 1,
               "Transformer Interpretability Beyond Attention Visualization")
