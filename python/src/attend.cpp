// SPDX-License-Identifier: Apache-2.0
#include "module.h"

namespace heed::python {
namespace {

/// The arguments of attend() and why() between the call and the library; `taken` keeps the arrays.
struct Request {
  Taken taken;
  Tensor q, k, v;
  AttendOptions options;
  ScoreTerms terms;
  Context context;
};

nb::handle item(const nb::tuple& tuple, Py_ssize_t at) { return PyTuple_GET_ITEM(tuple.ptr(), at); }

Request read(const nb::tuple& qkv, const nb::tuple& options, const nb::tuple& context) {
  Request r;
  Taken& t = r.taken;
  r.q = t.add(item(qkv, 0), "q");
  r.k = t.add(item(qkv, 1), "k");
  r.v = t.add(item(qkv, 2), "v");
  const auto get = [&]<class T>(T& into, Py_ssize_t at, const char* name) { into = Read<T>::from(item(options, at), name, t); };
  AttendOptions& o = r.options;
  get(o.causal, 0, "causal");
  std::vector<std::int64_t> window;
  get(window, 1, "window");
  if (window.size() != 2) fail("window", "(left, right)", std::to_string(window.size()) + " numbers");
  o.window_left = window[0];
  o.window_right = window[1];
  get(o.scale, 2, "scale");
  get(o.softcap, 3, "softcap");
  get(r.terms.bias, 4, "bias");
  get(o.mask, 5, "mask");
  get(r.terms.alibi_slopes, 6, "alibi_slopes");
  get(r.terms.sink, 7, "sink");
  get(o.key_lengths, 8, "key_lengths");
  get(o.query_lengths, 9, "query_lengths");
  get(o.weighting, 10, "weighting");
  std::optional<View> keep;
  get(keep, 11, "blocks");
  if (keep) {
    std::vector<std::int64_t> size;
    get(size, 12, "block_size");
    if (size.size() != 2) fail("block_size", "(queries, keys)", std::to_string(size.size()) + " numbers");
    o.blocks = BlockMask{*keep, size[0], size[1]};
  }
  get(o.first_keys, 13, "first_keys");
  get(o.dilation, 14, "dilation");
  const Precision usual = r.q.dtype() == DType::f32 ? Precision::strict : Precision::fast;
  r.context = read_context(item(context, 0), item(context, 1), item(context, 2), {}, usual);
  return r;
}

nb::object attend(const nb::tuple& qkv, const nb::tuple& options, const nb::tuple& context, unsigned extras) {
  const Request r = read(qkv, options, context);
  const Attended result = [&] {
    const nb::gil_scoped_release unlocked;
    return Ops(r.context).attend(r.q, r.k, r.v, r.options, extras, r.terms);
  }();
  if (!extras) return give_results(result.out, r.taken, r.context);
  std::vector<Tensor> all{result.out};
  for (const Tensor* extra : {&result.lse, &result.row_max, &result.column_sums, &result.weights})
    if (extra->defined()) all.push_back(*extra);
  return give_results(all, r.taken, r.context);
}

AttendOptions with_terms(const Request& r) {
  AttendOptions o = r.options;
  const auto set = [](std::optional<View>& to, const Tensor& from) {
    if (from.defined()) to = from.raw_view();
  };
  set(o.bias, r.terms.bias);
  set(o.alibi_slopes, r.terms.alibi_slopes);
  set(o.sink, r.terms.sink);
  return o;
}

void check_offsets(const char* name, const Tensor& offsets, std::int64_t sequences, std::int64_t last) {
  const auto wrong = [&](const std::string& came) {
    fail(name, "int64 (" + std::to_string(sequences + 1) + ") from 0 to " + std::to_string(last) + ", never falling", came);
  };
  if (offsets.dtype() != DType::i64 || offsets.rank() != 1 || offsets.count() != sequences + 1)
    wrong(std::string(name_of(offsets.dtype())) + " " + offsets.shape().text());
  std::int64_t before = 0;
  for (std::int64_t b = 0; b <= sequences; ++b) {
    const auto at = offsets.data<std::int64_t>()[b * offsets.stride(0)];
    if (at < before || at > last || (b == 0 && at != 0) || (b == sequences && at != last))
      wrong(std::to_string(at) + " at " + std::to_string(b));
    before = at;
  }
}

/// Each sequence by itself, so that gradients come.
Attended apart(const Request& r, const Tensor& query_offsets, const Tensor& key_offsets, unsigned extras) {
  const std::int64_t sequences = std::max<std::int64_t>(query_offsets.count() - 1, 0);
  check_offsets("query_offsets", query_offsets, sequences, r.q.extent(0));
  check_offsets("key_offsets", key_offsets, sequences, r.k.extent(0));
  const Ops ops(r.context);
  const auto part = [](const Tensor& x, const Tensor& offsets, std::int64_t b) {
    const auto* at = offsets.data<std::int64_t>();
    const std::int64_t n = at[b + 1] - at[b];
    return x.slice(0, at[b], n).reshape({1, n, x.extent(1), x.extent(2)});
  };
  const Tensor queries = query_offsets.dense(), keys = key_offsets.dense();
  std::vector<Tensor> out, lse;
  for (std::int64_t b = 0; b < sequences; ++b) {
    const Attended one = ops.attend(part(r.q, queries, b), part(r.k, keys, b), part(r.v, keys, b), r.options, extras, r.terms);
    out.push_back(one.out);
    lse.push_back(one.lse);
  }
  const auto joined = [&](const std::vector<Tensor>& parts, int axis) {
    const Tensor all = ops.concat(parts, axis);
    return all.reshape({all.extent(1), all.extent(2), all.extent(3)});
  };
  Attended result;
  result.out = joined(out, 1);
  if (extras) {
    const Tensor all = ops.concat(lse, 2);
    result.lse = all.reshape({all.extent(1), all.extent(2)});
  }
  return result;
}

nb::object attend_ragged(const nb::tuple& qkv, const nb::tuple& offsets, const nb::tuple& options, const nb::tuple& context,
                         bool with_lse) {
  Request r = read(qkv, options, context);
  const Tensor query_offsets = r.taken.add(item(offsets, 0), "query_offsets"), key_offsets = r.taken.add(item(offsets, 1), "key_offsets");
  const Attended result = [&] {
    const nb::gil_scoped_release unlocked;
    for (const auto& [name, x] : {std::pair("q", &r.q), {"k", &r.k}, {"v", &r.v}})
      if (x->rank() != 3) fail(name, "(tokens, heads, width)", x->shape().text());
    if (!r.taken.wanted.empty() && query_offsets.count() > 1) return apart(r, query_offsets, key_offsets, with_lse ? want_lse : 0u);
    Attended whole;
    whole.out = Tensor(r.q.dtype(), {r.q.extent(0), r.q.extent(1), r.v.extent(2)});
    if (with_lse) whole.lse = Tensor(DType::f32, {r.q.extent(1), r.q.extent(0)});
    heed::attend_ragged(r.q.raw_view(), r.k.raw_view(), r.v.raw_view(), query_offsets.view(), key_offsets.view(), whole.out, with_terms(r),
                        with_lse ? std::optional<View>(whole.lse.view()) : std::nullopt, r.context);
    return whole;
  }();
  return with_lse ? give_results(std::vector<Tensor>{result.out, result.lse}, r.taken, r.context)
                  : give_results(result.out, r.taken, r.context);
}

std::string why(const nb::tuple& qkv, const nb::tuple& options, const nb::tuple& context) {
  const Request r = read(qkv, options, context);
  return heed::why(r.q.raw_view(), r.k.raw_view(), r.v.raw_view(), with_terms(r), {}, r.context);
}

}  // namespace

void bind_attend(nb::module_& m) {
  m.def("attend", &attend);
  m.def("attend_ragged", &attend_ragged);
  m.def("why", &why);
}

}  // namespace heed::python
