// SPDX-License-Identifier: Apache-2.0
// HyperZZW (Zhang, 2024): products of a map with a kernel that another network makes.
//   G   out[b, c] = hk[c] x[b, c], a matrix product a channel
//   2E  out = (x * hk) * x
//   L   a small network over the taps' coordinates, modulated by x1 pooled over the whole batch, makes one depthwise kernel for x2;
//       then a 1x1 convolution, the batch's standardisation, GELU and a bias
#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct HyperZzw : Mechanism {
  struct Linear {
    Tensor weight, bias;
  };
  Tensor hk, x, x1, x2, fast_bias, tap_bias, out, kernel;
  Linear reduce, first, last, mixer;
  std::vector<Linear> filters, linears, modulations;
  std::string kind = "G";
  std::optional<std::int64_t> in_channels;
  std::int64_t kernel_size = 7, no_hidden = 16, num_layers = 2;

  void describe(Declaration& d) override {
    d.param("kind", kind, "G: matrix product, 2E: two products of elements, L: local kernel").one_of({"G", "2E", "L"});
    d.param("in_channels", in_channels, "L: channels").computed("C");
    d.param("kernel_size", kernel_size, "L: taps a side").least(1);
    d.param("no_hidden", no_hidden, "L: hidden channels of the network").least(1);
    d.param("num_layers", num_layers, "L: its layers").least(1).most(1000);
    const bool local = kind == "L";
    d.input("hk", hk, "1 C H W", "kernel").when(!local, "kind=G|2E");
    d.input("x", x, kind == "G" ? "B C W V" : "B C H W", "map").when(!local, "kind=G|2E");
    d.input("x1", x1, "B in_channels H W", "what the kernel is made from").when(local, "kind=L");
    d.input("x2", x2, "B in_channels P Q", "what is convolved").when(local, "kind=L");
    filters.resize(std::size_t(num_layers) + 1);
    linears.resize(std::size_t(num_layers));
    modulations.resize(std::size_t(num_layers));
    const auto linear = [&](const std::string& name, Linear& l, const std::string& out_channels, const std::string& from) {
      d.weight(name + ".weight", l.weight, out_channels + " " + from + " 1 1").when(local, "kind=L");
      d.weight(name + ".bias", l.bias, out_channels).when(local, "kind=L");
    };
    const std::string net = "slow_net.Kernel.";
    d.weight("fast_bias", fast_bias, "1", "added to the result").init(Init::zeros).when(local, "kind=L");
    d.weight(net + "bias_pk", tap_bias, "1 1 kernel_size kernel_size", "added to every layer, a number a tap")
        .init(Init::zeros)
        .when(local, "kind=L");
    for (std::size_t i = 0; i < filters.size(); ++i) linear(net + "filters." + std::to_string(i) + ".linear", filters[i], "no_hidden", "2");
    for (std::size_t i = 0; i < linears.size(); ++i) {
      linear(net + "linears." + std::to_string(i), linears[i], "no_hidden", "no_hidden");
      linear(net + "fast_linears_x." + std::to_string(i), modulations[i], "no_hidden", "no_hidden");
    }
    linear(net + "fast_reduce", reduce, "no_hidden", "in_channels");
    linear(net + "fast_fc1", first, "no_hidden", "no_hidden");
    linear(net + "output_linear", last, "in_channels", "no_hidden");
    linear("local_conv.channel_mixer", mixer, "in_channels", "in_channels");
    d.ignore("slow_net.train_length");
    d.size("V", "W");
    d.size("P", "H");
    d.size("Q", "W");
    d.output("out", out, local ? "B in_channels P Q" : kind == "G" ? "B C H V" : "B C H W");
    d.output("kernel", kernel, "in_channels 1 kernel_size kernel_size", "one for the whole batch").when(local, "kind=L");
  }

  void run(Ops& ops) override {
    if (kind == "G") return void(out = ops.matmul(hk, x));
    if (kind == "2E") return void(out = ops.mul(ops.mul(x, hk), x));
    const auto K = kernel_size, m = no_hidden;
    const auto apply = [&](const Linear& l, const Tensor& map) { return ops.conv(map, l.weight, l.bias); };
    const Tensor taps(DType::f32, {1, 2, K, K});
    for (std::int64_t i = 0; i < K * K; ++i) {
      const auto at = [&](std::int64_t place) { return K == 1 ? -1.0f : float(-1 + 2 * double(place) / double(K - 1)); };
      taps.data<float>()[i] = at(i / K), taps.data<float>()[K * K + i] = at(i % K);
    }
    const Tensor pooled = ops.mean(apply(reduce, ops.adaptive_average_pool(x1, {K, K})), {0}, true);
    const Tensor seen = ops.gelu(apply(first, pooled));
    Tensor o = ops.sin(apply(filters[0], taps));
    for (std::size_t i = 0; i < linears.size(); ++i) {
      o = ops.add(ops.mul(ops.sin(apply(filters[i + 1], taps)), apply(linears[i], o)), tap_bias);
      const Tensor unit = ops.l2_normalise(o.reshape({m, K * K}), 1).reshape({1, m, K, K});
      o = ops.add(ops.no_gradient(o, "the released code learns through the direction alone"), ops.scale(unit, 0.1f));
      o = ops.mul(o, apply(modulations[i], seen));
    }
    const auto C = x2.extent(1);
    kernel = apply(last, o).reshape({C, 1, K, K});
    ConvOptions depthwise;
    depthwise.groups = C;
    depthwise.padding = {(K - 1) / 2};
    const Tensor mixed = apply(mixer, ops.conv(x2, kernel, {}, depthwise));
    out = ops.add(ops.gelu(ops.batch_norm(mixed, {}, {})), fast_bias);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(hyperzzw, HyperZzw, "hyperzzw", "spectral", "op", 2,
               "HyperZcdotZcdotW Operator Connects Slow-Fast Networks for Full Context Interaction")
