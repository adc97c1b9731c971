// SPDX-License-Identifier: Apache-2.0
#include "ops/fold.h"

#include <array>
#include <limits>

#include "kernel/elementwise.h"
#include "ops/lanes.h"

namespace heed::ops {
namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr std::int64_t block = 256;  // columns of a task, or sums at once

/// What a reduction leaves: x as [outer, extent, inner] turns into [outer, inner]; sums are multiplied by `factor`.
class Step {
 public:
  Step(const Context& context, Fold fold, std::int64_t outer, std::int64_t extent, std::int64_t inner, double factor)
      : loops_(kernel::elements_of(context.isa)),
        threads_(context.threads),
        fold_(fold),
        outer_(outer),
        extent_(extent),
        inner_(inner),
        factor_(factor) {}

  void run(const float* x, float* to) const {
    const std::int64_t each = std::max<std::int64_t>(16, 65536 / std::min(inner_, block) / 16 * 16), parts = (extent_ + each - 1) / each;
    if (parts == 1) return part(x, extent_, 1, to);
    std::vector<double> found(std::size_t(outer_ * parts * inner_));  // [outer, parts, inner]
    part(x, each, parts, found.data());
    pieces(threads_, outer_ * inner_, 16384 / parts, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const double* first = found.data() + i / inner_ * parts * inner_ + i % inner_;
        double all = *first;
        for (std::int64_t p = 1; p < parts; ++p) all = joined(all, first[p * inner_]);
        to[i] = float(fold_ == Fold::sum ? all * factor_ : all);
      }
    });
  }

 private:
  double joined(double a, double b) const {
    if (fold_ == Fold::sum) return a + b;
    return a != a || (fold_ == Fold::largest ? a > b : a < b) ? a : b;
  }

  /// Each part of `each` elements of each lane to [outer, parts, inner]: in f32 what is left, where there is one part, or in f64.
  template <class T>
  void part(const float* x, std::int64_t each, std::int64_t parts, T* to) const {
    constexpr bool last = std::is_same_v<T, float>;
    const double factor = last ? factor_ : 1;
    const auto extreme = fold_ == Fold::largest ? loops_.largest : loops_.smallest;
    const auto extremes = fold_ == Fold::largest ? loops_.largest_rows : loops_.smallest_rows;
    if (inner_ == 1) {
      sweep(threads_, outer_ * parts, 16384 / each, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t i = begin, rows; i < end; i += rows) {
          const std::int64_t first = i % parts * each, n = std::min(each, extent_ - first);
          const float* row = x + i / parts * extent_ + first;
          rows = fold_ == Fold::sum && last ? std::min(block, end - i) : 1;
          double sums[block];
          if (fold_ == Fold::sum)
            loops_.sums(row, rows, n, sums);
          else
            sums[0] = double(extreme(row, n));
          for (std::int64_t r = 0; r < rows; ++r) to[i + r] = T(fold_ == Fold::sum ? sums[r] * factor : sums[r]);
        }
      });
      return;
    }
    // Tasks are columns by 64, some of which go together.
    const std::int64_t blocks = (inner_ + 63) / 64,
                       unit = std::max(std::min(block / 64, blocks), 16384 / (each * std::min<std::int64_t>(inner_, 64)));
    sweep(threads_, outer_ * parts * blocks, unit, [&](std::int64_t job, std::int64_t end) {
      for (std::int64_t many; job < end; job += many) {
        many = std::min({block / 64, end - job, blocks - job % blocks});
        const std::int64_t o = job / blocks, c = job % blocks * 64, wide = std::min(many * 64, inner_ - c);
        const std::int64_t first = o % parts * each, rows = std::min(each, extent_ - first);
        const float* from = x + (o / parts * extent_ + first) * inner_ + c;
        T* const at = to + o * inner_ + c;
        float best[block];
        float* most = best;
        if constexpr (last) most = at;
        if (fold_ != Fold::sum) {
          std::fill_n(most, wide, fold_ == Fold::largest ? -infinity : infinity);
          extremes(from, rows, inner_, wide, most);
          if constexpr (!last) std::copy_n(most, wide, at);
        } else if constexpr (last) {
          loops_.sum_rows(from, rows, inner_, wide, factor, at);
        } else {
          std::fill_n(at, wide, 0.0);
          loops_.add_rows(from, rows, inner_, wide, at);
        }
      }
    });
  }

  const kernel::ElementTable& loops_;
  int threads_;
  Fold fold_;
  std::int64_t outer_, extent_, inner_;
  double factor_;
};

}  // namespace

Tensor folded(const Context& context, const Tensor& x, const std::vector<int>& axes, bool keepdim, Fold fold, bool mean) {
  need(x, DType::f32, "x");
  std::array<bool, max_rank> gone{};
  for (const int axis : axes) {
    bool& here = gone[std::size_t(axis_of(axis, x.rank()))];
    if (here) fail("axes", "each axis once", std::to_string(axis) + " again");
    here = true;
  }
  std::vector<std::int64_t> left;
  struct Run {
    std::int64_t extent;
    bool gone;
  };
  std::vector<Run> runs;
  std::int64_t length = 1;
  for (int i = 0; i < x.rank(); ++i) {
    const bool here = gone[std::size_t(i)];
    if (here) length *= x.extent(i);
    if (!here || keepdim) left.push_back(here ? 1 : x.extent(i));
    if (x.extent(i) == 1) continue;
    if (!runs.empty() && runs.back().gone == here)
      runs.back().extent *= x.extent(i);
    else
      runs.push_back({x.extent(i), here});
  }
  const Shape shape(left);
  const double factor = mean ? 1 / double(length) : 1;
  Tensor from = x.with_origin(nullptr).dense(context.threads);
  if (shape.count() == 0) return Tensor(DType::f32, shape);
  if (length == 0) {
    if (fold != Fold::sum) fail("x", "something to compare along the axis", x.shape().text());
    const Tensor out(DType::f32, shape);
    std::fill_n(out.raw<float>(), out.count(), float(0 * factor));
    return out;
  }
  int folds = 0;
  for (const Run& run : runs) folds += run.gone;
  if (folds == 0) {
    const Tensor out(DType::f32, shape);
    std::copy_n(from.raw<float>(), out.count(), out.raw<float>());
    return out;
  }
  for (; folds > 0; --folds) {
    auto last = runs.size();
    while (!runs[--last].gone) {
    }
    std::int64_t outer = 1, inner = 1;
    for (std::size_t i = 0; i < runs.size(); ++i) (i < last ? outer : inner) *= i == last ? 1 : runs[i].extent;
    Tensor out(DType::f32, folds == 1 ? shape : Shape{outer * inner});
    Step(context, fold, outer, runs[last].extent, inner, folds == 1 ? factor : 1).run(from.raw<float>(), out.raw<float>());
    runs.erase(runs.begin() + std::ptrdiff_t(last));
    from = std::move(out);
  }
  return from;
}

}  // namespace heed::ops
