// SPDX-License-Identifier: Apache-2.0
#include "tables.h"

namespace heed::python {

void bind_select(nb::module_& m) {
  bind(m, "concat(tensors, axis)", &Ops::concat, "Joins along an axis.");
  bind(m, "split(x, axis, sizes)", &Ops::split, "Parts of the given sizes along an axis.");
  bind(m, "stack(tensors, axis)", &Ops::stack, "Joins along a new axis.");
  bind(m, "repeat(x, axis, times)", &Ops::repeat, "Each element `times` times in a row.");
  bind(m, "gather(x, axis, index)", &Ops::gather, "out[.., i, ..] = x[.., index[.., i, ..], ..]; the other axes of index broadcast to x.");
  bind(m, "index_select(x, axis, index)", &Ops::index_select, "The slices of an axis that index[n] names.");
  bind(m, "scatter_add(x, axis, index, extent)", &Ops::scatter_add,
       "Zeros but for out[.., index[.., i, ..], ..] += x[.., i, ..]: the reverse of gather.");
  bind(m, "index_add(x, axis, index, extent)", &Ops::index_add, "The same with one index for all lanes: the reverse of index_select.");
  bind(m, "sum_to(x, shape)", &Ops::sum_to, "Sums the axes that broadcasting to x's shape stretched.");
  bind(m, "strided(x, shape, strides, offset=0)", &Ops::strided,
       "Element (i, j, ...) is x's at offset + i strides[0] + j strides[1] + ..., x being dense.");
  bind(m, "strided_add(x, shape, strides, offset=0)", &Ops::strided_add,
       "The reverse: elements of x added to zeros of `shape` at their places there.");
  using List = std::vector<std::int64_t>;
  bind(
      m, "pad(x, axis, before, after, value=0.0)",
      [](const Ops& ops, const Tensor& x, const std::vector<int>& axes, const List& before, const List& after, float value) {
        return ops.pad(x, axes, before, after, value);
      },
      "Elements of `value` at both ends of an axis, or of several: before and after have a number for each, or one for all.");
  bind(m, "embedding(table, index)", &Ops::embedding, "table[rows, d], index[...]: the rows, [..., d].");
  bind(m, "topk(x, k, axis, largest=True)", &Ops::topk, "Sorted values and their indices; equals by lower index; NaN is the largest.");
  bind(m, "argsort(x, axis, descending=False)", &Ops::argsort, "Indices that sort an axis; stable.");
  bind(m, "one_hot(index, classes)", &Ops::one_hot, "1 at the index along a new last axis of `classes`, else 0.");
  bind(m, "arange(begin, end, step=1)", &Ops::arange, "begin, begin + step, ... below end (int64).");
  bind(m, "full(shape, value)", &Ops::full, "A tensor filled with a value.");
}

}  // namespace heed::python
