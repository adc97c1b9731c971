// SPDX-License-Identifier: Apache-2.0
// Every mixer: the text cut at random places gives what one read gives, and what the one-shot body gives.
#include <gtest/gtest.h>

#include <cmath>

#include "base/random.h"
#include "heed/catalogue.h"
#include "heed/model.h"
#include "heed/ops.h"
#include "mechanism/registry.h"

namespace heed {
namespace {

using mechanism::Layer;
using mechanism::Mixer;

struct Rows {
  Tensor q, k, v;
};

Rows random_rows(std::int64_t n, std::int64_t heads, std::int64_t kv_heads, std::int64_t width) {
  const auto fill = [&](std::int64_t H, std::uint64_t stream) {
    const Tensor x(DType::f32, {1, n, H, width});
    const base::Random random(7, stream);
    for (std::int64_t i = 0; i < x.count(); ++i) x.data<float>()[i] = float(random.normal(std::uint64_t(i)));
    return x;
  };
  return {fill(heads, 1), fill(kv_heads, 2), fill(kv_heads, 3)};
}

/// Reads pieces of the given lengths, one after another.
Tensor read(const Way& way, const Layer& layer, const Rows& rows, const std::vector<std::int64_t>& pieces, std::int64_t* bytes = nullptr) {
  const auto body = mechanism::configure(way.slug, way.params);
  auto& mixer = dynamic_cast<Mixer&>(*body);
  const auto state = mixer.open(layer);
  const Context context;
  Ops ops(context);
  const Tensor out(DType::f32, rows.q.shape());
  std::int64_t at = 0;
  for (const auto n : pieces) {
    mixer.read(*state, rows.q.slice(1, at, n), rows.k.slice(1, at, n), rows.v.slice(1, at, n), at, out.slice(1, at, n), ops);
    at += n;
  }
  EXPECT_EQ(at, rows.q.extent(1));
  if (bytes) *bytes = state->bytes();
  return out;
}

std::vector<std::int64_t> cuts(std::int64_t n, std::uint64_t seed) {
  std::vector<std::int64_t> pieces;
  const base::Random random(seed, 9);
  for (std::uint64_t i = 0; n > 0; ++i) {
    const auto most = random.bits(2 * i) % 3 == 0 ? 1 : random.bits(2 * i) % 3 == 1 ? 9 : 150;
    pieces.push_back(std::min<std::int64_t>(n, 1 + std::int64_t(random.bits(2 * i + 1)) % most));
    n -= pieces.back();
  }
  return pieces;
}

double largest_difference(const Tensor& a, const Tensor& b) {
  double most = 0;
  const Tensor x = a.dense(), y = b.dense();
  for (std::int64_t i = 0; i < x.count(); ++i) {
    const double off = std::abs(double(x.data<float>()[i]) - double(y.data<float>()[i]));
    if (!(off <= most)) most = off;
  }
  return most;
}

const std::vector<std::string> ways = {"exact",
                                       "exact,softcap=5",
                                       "exact,window=[20,0]",
                                       "softmax-plus-one",
                                       "sliding-window,window=[40,0]",
                                       "sliding-window,window=[0,0]",
                                       "sliding-window,window=[5000,0]",
                                       "sliding-window,window=[600,0]",
                                       "sink-window,window=[40,0]",
                                       "sink-window,window=[3,0],sinks=10",
                                       "sink-window,window=[2000,0]",
                                       "sink-window,window=[30,0],sinks=0",
                                       "dilated-window,window=8,dilation=3",
                                       "sparse-transformer,local_attn_ctx=16",
                                       "sparse-transformer,attn_mode=local,local_attn_ctx=16",
                                       "sparse-transformer,attn_mode=fixed,local_attn_ctx=16,blocksize=2,num_verts=2",
                                       "s2-attention,block_size=16,local_blocks=2,vert_stride=3"};
const std::vector<std::string> prompt_ways = {"minference,vertical_size=40,slash_size=110", "minference,pattern=block_sparse,top_k=2",
                                              "minference,pattern=a_shape,n_init=8,n_local=50", "flexprefill,gamma=0.5"};

Tensor one_shot(const Way& way, const Rows& rows) {
  std::string parameters;
  mechanism::configure(way.slug, way.params, &parameters);
  std::string params = way.params;
  if (parameters.find("\"causal\"") != std::string::npos)
    params = params == "{}" ? "{\"causal\":true}" : "{\"causal\":true," + params.substr(1);
  const bool grouped = way.slug != "sparse-transformer" && way.slug != "minference";
  const Context context;
  const Ops ops(context);
  const auto share = rows.q.extent(2) / rows.k.extent(2);
  const auto heads = [&](const Tensor& x) { return grouped ? x : ops.repeat(x, 2, share); };
  return run(way.slug, {{"q", rows.q}, {"k", heads(rows.k)}, {"v", heads(rows.v)}}, {}, params).at("out");
}

TEST(Mixer, EveryWayIsTested) {
  std::set<std::string> tested;
  for (const auto* list : {&ways, &prompt_ways})
    for (const auto& text : *list) tested.insert(parse_way(text).slug);
  for (const auto& slug : list_ways()) EXPECT_TRUE(tested.count(slug)) << slug;
}

TEST(Mixer, CutsAndTheOneShotBodyAgree) {
  constexpr std::int64_t n = 700;
  const Rows rows = random_rows(n, 6, 2, 24);
  const Layer layer{0, 6, 2, 24, 24, n, -1, DType::f32};
  for (const auto& text : ways) {
    SCOPED_TRACE(text);
    const Way way = parse_way(text);
    const Tensor whole = read(way, layer, rows, {n});
    EXPECT_LE(largest_difference(whole, one_shot(way, rows)), 2e-5);
    EXPECT_LE(largest_difference(whole, read(way, layer, rows, cuts(n, 2))), 2e-5);
    Layer half = layer;
    half.kept = DType::f16;
    EXPECT_LE(largest_difference(whole, read(way, half, rows, cuts(n, 3))), 0.02);
  }
}

TEST(Mixer, TheModelsOwnWindowHolds) {
  constexpr std::int64_t n = 300;
  const Rows rows = random_rows(n, 4, 2, 16);
  const Layer layer{0, 4, 2, 16, 16, n, 31, DType::f32};
  const Tensor windowed = one_shot(parse_way("sliding-window,window=[31,0]"), rows);
  for (const auto* text : {"exact", "sliding-window,window=[100,0]", "sparse-transformer,attn_mode=local,local_attn_ctx=100",
                           "s2-attention,block_size=16,local_blocks=100"}) {
    SCOPED_TRACE(text);
    EXPECT_LE(largest_difference(windowed, read(parse_way(text), layer, rows, {n})), 2e-5);
    EXPECT_LE(largest_difference(windowed, read(parse_way(text), layer, rows, cuts(n, 5))), 2e-5);
  }
  EXPECT_THROW(read(parse_way("minference"), layer, rows, {n}), Error);
  EXPECT_THROW(read(parse_way("sparse-transformer"), layer, rows, {n}), Error);
}

TEST(Mixer, ThePromptIsReadAtOnceAndTheRestExactly) {
  constexpr std::int64_t prompt = 900, n = 940;
  const Rows rows = random_rows(n, 6, 2, 24);
  const Layer layer{0, 6, 2, 24, 24, n, -1, DType::f32};
  const auto first = [](const Tensor& x, std::int64_t length) { return x.slice(1, 0, length); };
  const Rows begin{first(rows.q, prompt), first(rows.k, prompt), first(rows.v, prompt)};
  const Tensor exact = one_shot(parse_way("exact"), rows);
  for (const auto& text : prompt_ways) {
    SCOPED_TRACE(text);
    const Way way = parse_way(text);
    EXPECT_TRUE(dynamic_cast<Mixer&>(*mechanism::configure(way.slug, way.params)).whole_prompt());
    const Tensor got = read(way, layer, rows, {prompt, 1, 30, 9});
    EXPECT_LE(largest_difference(first(got, prompt), one_shot(way, begin)), 2e-5);
    EXPECT_LE(largest_difference(got.slice(1, prompt, n - prompt), exact.slice(1, prompt, n - prompt)), 2e-5);
    EXPECT_GT(largest_difference(first(got, prompt), first(exact, prompt)), 1e-3) << "nothing was left out";
  }
}

TEST(Mixer, AWindowHoldsFewerKeys) {
  constexpr std::int64_t n = 3000;
  const Rows rows = random_rows(n, 2, 1, 16);
  const Layer layer{0, 2, 1, 16, 16, n, -1, DType::f16};
  std::int64_t window = 0, full = 0;
  read(parse_way("sink-window,window=[255,0]"), layer, rows, {2000, 700, 1, 1, 298}, &window);
  read(parse_way("exact"), layer, rows, {n}, &full);
  EXPECT_EQ(full, n * 2 * 16 * 2);
  EXPECT_LE(window, (4 + 255 + 128) * 2 * 16 * 2);
}

TEST(Mixer, RefusesWhatItCannotDo) {
  const Rows rows = random_rows(10, 2, 1, 8);
  const Layer layer{0, 2, 1, 8, 8, 10, -1, DType::f32};
  EXPECT_THROW(read(parse_way("sink-window,weighting=sigmoid"), layer, rows, {10}), Error);
  EXPECT_THROW(read(parse_way("sliding-window,weighting=relu"), layer, rows, {10}), Error);
  EXPECT_THROW(read(parse_way("sliding-window,sinks=4"), layer, rows, {10}), Error);
  Layer small = layer;
  small.capacity = 9;
  EXPECT_THROW(read(parse_way("exact"), small, rows, {10}), Error);
}

}  // namespace
}  // namespace heed
