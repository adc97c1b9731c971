// SPDX-License-Identifier: Apache-2.0
#include "heed/scan.h"
#include "tables.h"

namespace heed::python {

template <>
struct Read<Direction> {
  static Direction from(nb::handle o, const Name& name, Taken&) { return read_choice<Direction>(o, name, {"forward", "reverse", "both"}); }
};

void bind_scan(nb::module_& m) {
  bind(
      m,
      "scan(q, k, v, decay=None, beta=None, initial=None, initial_sum=None, lengths=None, scale=1.0, direction='forward', exclusive=False, "
      "chunk=0, return_sum=False, return_final=False, return_final_sum=False)",
      [](const Ops& ops, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& decay, const Tensor& beta, const Tensor& initial,
         const Tensor& initial_sum, const Tensor& lengths, float scale, Direction direction, bool exclusive, std::int64_t chunk, bool sum,
         bool final, bool final_sum) {
        ScanTerms terms;
        terms.decay = decay, terms.beta = beta, terms.initial = initial, terms.initial_sum = initial_sum, terms.lengths = lengths;
        ScanOptions options;
        options.scale = scale, options.direction = direction, options.exclusive = exclusive, options.chunk = chunk;
        const auto r =
            ops.scan(q, k, v, terms, options, (sum ? want_sum : 0u) | (final ? want_final : 0u) | (final_sum ? want_final_sum : 0u));
        return std::make_tuple(r.out, r.sum, r.final, r.final_sum);
      },
      "S_t = diag(exp decay_t) S_(t-1) + k_t u_t^T, out_t = scale q_t S_t, u_t = v_t, or with beta the delta rule:\n"
      "(out (B, N, H, E), sum (B, N, H), final (B, H, D, E), final_sum (B, H, D)), None where not asked for.\n"
      "q (B, N, H, D), k (B, N, G, D), v (B, N, G, E); decay: logarithms, to (B, N, H, D); beta to (B, N, H).");
  bind(m, "recurrence(a, b, axis, reverse=False)", &Ops::recurrence, "x_t = a_t x_(t-1) + b_t along an axis, from 0; a broadcasts to b.");
  bind(m, "cummax(x, axis)", &Ops::cummax, "The largest of the elements up to and with each; of equals the first has the gradient.");
}

}  // namespace heed::python
