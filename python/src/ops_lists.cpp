// SPDX-License-Identifier: Apache-2.0
#include "heed/lists.h"
#include "tables.h"

namespace heed::python {

template <>
struct Read<ListScore> {
  static ListScore from(nb::handle o, const Name& name, Taken&) {
    return read_choice<ListScore>(o, name, {"dot", "additive", "leaky", "edge"});
  }
};
/// (offsets, index, edge or None, rows).
template <>
struct Read<Lists> {
  static Lists from(nb::handle o, const Name& name, Taken& taken) {
    if (!PyTuple_Check(o.ptr()) || PyTuple_GET_SIZE(o.ptr()) != 4)
      wrong_kind(name, "(offsets, index, edge, rows), as lists_of_edges() gives", o);
    const auto item = [&](int i) { return nb::handle(PyTuple_GET_ITEM(o.ptr(), i)); };
    Lists lists;
    lists.offsets = Read<Tensor>::from(item(0), std::string(name) + ".offsets", taken);
    lists.index = Read<Tensor>::from(item(1), std::string(name) + ".index", taken);
    lists.edge = Read<Tensor>::from(item(2), std::string(name) + ".edge", taken);
    lists.rows = Read<std::int64_t>::from(item(3), std::string(name) + ".rows", taken);
    return lists;
  }
};
template <>
struct Give<Lists> {
  static nb::object to(const Lists& l, const GiveTensor& give) { return give_tuple(give, l.offsets, l.index, l.edge, l.rows); }
};

void bind_lists(nb::module_& m) {
  bind(
      m, "lists_of_edges(edge_index, targets)",
      [](const Ops&, const Tensor& edge_index, std::int64_t targets) { return lists_of_edges(edge_index, targets); },
      "Edges int64 (2, E), sources above targets, as the lists of the targets: (offsets, index, edge, rows).");
  bind(
      m, "lists_of_table(index, keys)", [](const Ops&, const Tensor& index, std::int64_t keys) { return lists_of_table(index, keys); },
      "Chosen keys int64 (B, N, K) or (B, H, N, K), -1 for none, as the lists of B N queries over B `keys` keys.");
  bind(
      m, "transpose_lists(lists, keys)", [](const Ops&, const Lists& lists, std::int64_t keys) { return transpose(lists, keys); },
      "The lists of the keys: who looks at each.");
  bind(
      m,
      "attend_lists(lists, q=None, k=None, v=None, source=None, target=None, att=None, bias=None, features=None, score='dot', "
      "softmax=True, "
      "scale=None, negative_slope=0.2, return_lse=False, return_weights=False)",
      [](const Ops& ops, const Lists& lists, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& source, const Tensor& target,
         const Tensor& att, const Tensor& bias, const Tensor& features, ListScore score, bool softmax, std::optional<float> scale,
         float slope, bool lse, bool weights) {
        const auto r = ops.attend_lists({q, k, v, source, target, att, bias, features}, lists, {score, softmax, scale, slope},
                                        (lse ? want_lse : 0u) | (weights ? want_weights : 0u));
        return std::vector<Tensor>{r.out, r.lse, r.weights};
      },
      "Attention of queries over their own lists of keys: (out (N, H, W), lse (N, H), weights (rows, L)), None where not asked for.\n"
      "q (N, H, D), k (M, G, D), v (M, G, W), source (M, H), target (N, H), att (H, D), bias (rows, L), features (rows, L, D).\n"
      "score: dot = scale q . (k + features) + bias; additive = leaky(source + target + bias); leaky = att . leaky(q + k + features) + "
      "bias;\n"
      "edge = bias.");
  bind(
      m, "merge(out_a, lse_a, out_b, lse_b)",
      [](const Ops& ops, const Tensor& out_a, const Tensor& lse_a, const Tensor& out_b, const Tensor& lse_b) {
        Attended a, b;
        a.out = out_a, a.lse = lse_a, b.out = out_b, b.lse = lse_b;
        const auto r = ops.merge(a, b);
        return std::make_pair(r.out, r.lse);
      },
      "out and lse over the union of disjoint keys, from those over each part.");
  bind(m, "segment_sum(x, segment, segments)", &Ops::segment_sum,
       "Sums of the rows of x[E, ...] by segment, int64 [E]; an empty one is 0.");
  bind(m, "segment_mean(x, segment, segments)", &Ops::segment_mean, "Means of the rows of x[E, ...] by segment; an empty one is 0.");
  bind(m, "segment_max(x, segment, segments)", &Ops::segment_max,
       "The largest of each segment; an empty one is -inf; equals share the gradient.");
  bind(m, "segment_softmax(x, segment, segments)", &Ops::segment_softmax, "Softmax of the rows of x[E, ...] within their segment.");
}

}  // namespace heed::python
