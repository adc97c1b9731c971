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

std::string why(const nb::tuple& qkv, const nb::tuple& options, const nb::tuple& context) {
  const Request r = read(qkv, options, context);
  AttendOptions o = r.options;
  const auto set = [](std::optional<View>& to, const Tensor& from) {
    if (from.defined()) to = from.raw_view();
  };
  set(o.bias, r.terms.bias);
  set(o.alibi_slopes, r.terms.alibi_slopes);
  set(o.sink, r.terms.sink);
  return heed::why(r.q.raw_view(), r.k.raw_view(), r.v.raw_view(), o, {}, r.context);
}

}  // namespace

void bind_attend(nb::module_& m) {
  m.def("attend", &attend);
  m.def("why", &why);
}

}  // namespace heed::python
