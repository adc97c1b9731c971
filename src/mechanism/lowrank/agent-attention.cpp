// SPDX-License-Identifier: Apache-2.0
// Agent attention (Han et al., 2023): a few agents, pooled queries, read the keys; the queries then read the agents.
//   A = pool(q),  V_A = softmax(A k^T / sqrt(d) + B1) v,  out = softmax(q A^T / sqrt(d) + B2) V_A + conv(v),  then proj
// Biases are maps of 7 x 7 resized to the grid, plus a bias a row and a bias a column.
#include <cmath>

#include "mechanism/heads.h"

namespace heed::mechanism {
namespace {

struct AgentAttention : Mechanism {
  Tensor x, wqkv, bqkv, wo, bo, w_conv, b_conv, an, na, ah, aw, ha, wa, ac, ca, out;
  std::optional<std::int64_t> dim, window;
  std::int64_t num_heads = 8, agent_num = 49;
  bool qkv_bias = false, cls_token = false;

  void describe(Declaration& d) override {
    d.param("dim", dim, "width of x").computed("C");
    d.param("num_heads", num_heads, "h, heads").least(1);
    d.param("qkv_bias", qkv_bias, "biases of qkv");
    d.param("agent_num", agent_num, "n, agents: a square").least(1);
    d.param("window", window, "tokens a side of the grid").least(1).computed("sqrt(N)");
    d.param("cls_token", cls_token, "token 0 is none of the grid: not pooled, not convolved");
    const std::string N = window ? std::string("window*window") + (cls_token ? "+1" : "") : "N", side = window      ? "window"
                                                                                                        : cls_token ? "int(sqrt(N-1))"
                                                                                                                    : "int(sqrt(N))";
    d.input("x", x, "B " + N + " dim", "tokens, the grid's row by row");
    d.linear("qkv", wqkv, bqkv, "3*dim", "dim", qkv_bias);
    d.linear("proj", wo, bo, "dim", "dim");
    d.weight("dwc.weight", w_conv, "dim 1 3 3");
    d.weight("dwc.bias", b_conv, "dim");
    const auto bias = [&](const char* name, Tensor& tensor, const std::string& shape, const char* doc) {
      return &d.weight(name, tensor, shape, doc).init(Init::normal);
    };
    bias("an_bias", an, "num_heads agent_num 7 7", "agents to keys");
    bias("na_bias", na, "num_heads agent_num 7 7", "queries to agents");
    bias("ah_bias", ah, "1 num_heads agent_num " + side + " 1", "agents to the keys' rows");
    bias("aw_bias", aw, "1 num_heads agent_num 1 " + side, "agents to the keys' columns");
    bias("ha_bias", ha, "1 num_heads " + side + " 1 agent_num", "the queries' rows to agents");
    bias("wa_bias", wa, "1 num_heads 1 " + side + " agent_num", "the queries' columns to agents");
    bias("ac_bias", ac, "1 num_heads agent_num 1", "agents to token 0")->when(cls_token, "cls_token");
    bias("ca_bias", ca, "1 num_heads 1 agent_num", "token 0 to agents")->when(cls_token, "cls_token");
    d.size("N", cls_token ? "1025" : "1024");
    d.output("out", out, "B " + N + " dim");
  }

  static std::int64_t root(std::int64_t n, const char* argument) {
    const auto side = std::int64_t(std::lround(std::sqrt(double(n))));
    if (side * side != n) fail(argument, "a square number", std::to_string(n));
    return side;
  }

  void run(Ops& ops) override {
    const std::int64_t B = x.extent(0), N = x.extent(1), C = x.extent(2), h = num_heads, n = agent_num, first = cls_token;
    const auto side = root(N - first, "input x: tokens of the grid"), pooled = root(n, "parameter agent_num");
    const Tensor qkv = ops.linear(x, wqkv, bqkv);
    const auto part = [&](std::int64_t which) { return qkv.slice(2, which * C, C); };
    const auto as_map = [&](const Tensor& t) { return t.slice(1, first, side * side).transpose(1, 2).reshape({B, C, side, side}); };
    const Tensor q = split_heads(part(0), h), k = split_heads(part(1), h), v = split_heads(part(2), h);
    const Tensor agents = split_heads(ops.adaptive_average_pool(as_map(part(0)), {pooled, pooled}).reshape({B, C, n}).transpose(1, 2), h);

    const auto resized = [&](const Tensor& map) { return ops.resize(map, {side, side}, Resample::linear).reshape({1, h, n, side * side}); };
    Tensor to_keys = ops.add(resized(an), ops.add(ah, aw).reshape({1, h, n, side * side}));
    Tensor to_agents = ops.add(resized(na).transpose(2, 3), ops.add(ha, wa).reshape({1, h, side * side, n}));
    if (cls_token) {
      to_keys = ops.concat({ac, to_keys}, 3);
      to_agents = ops.concat({ca, to_agents}, 2);
    }
    const Tensor values = ops.attend(agents, k, v, {}, 0, {.bias = to_keys}).out;
    const Tensor read = join_heads(ops.attend(q, agents, values, {}, 0, {.bias = to_agents}).out);
    ConvOptions depthwise;
    depthwise.padding = {1};
    depthwise.groups = C;
    const Tensor near = ops.conv(as_map(part(2)), w_conv, b_conv, depthwise).reshape({B, C, side * side}).transpose(1, 2);
    out = ops.linear(ops.add(read, ops.pad(near, 1, first, 0)), wo, bo);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(agent_attention, AgentAttention, "agent-attention", "lowrank", "module", 1,
               "Agent Attention: On the Integration of Softmax and Linear Attention")
