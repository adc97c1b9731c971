// SPDX-License-Identifier: Apache-2.0
#include "tables.h"

namespace heed::python {

template <>
struct Read<PadMode> {
  static PadMode from(nb::handle o, const Name& name, Taken&) {
    return read_choice<PadMode>(o, name, {"zeros", "reflect", "replicate", "circular"});
  }
};
template <>
struct Read<Resample> {
  static Resample from(nb::handle o, const Name& name, Taken&) {
    return read_choice<Resample>(o, name, {"nearest", "nearest_exact", "linear", "cubic"});
  }
};

using List = std::vector<std::int64_t>;

void bind_maps(nb::module_& m) {
  bind(
      m,
      "conv(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1, transposed=False, output_padding=0, padding_mode='zeros', "
      "causal=False)",
      [](const Ops& ops, const Tensor& x, const Tensor& weight, const Tensor& bias, const List& stride, const List& padding,
         const List& dilation, std::int64_t groups, bool transposed, const List& output_padding, PadMode mode, bool causal) {
        return ops.conv(x, weight, bias, {stride, padding, dilation, groups, transposed, output_padding, mode, causal});
      },
      "x[B, C, *spatial], 1 to 3 axes, weight[O, C/groups, *kernel] (transposed: [C, O/groups, *kernel]); lists: one value an axis or one "
      "for all.");
  bind(
      m, "max_pool(x, kernel, stride=[], padding=0, dilation=1, ceil=False)",
      [](const Ops& ops, const Tensor& x, const List& kernel, const List& stride, const List& padding, const List& dilation, bool ceil) {
        return ops.max_pool(x, {kernel, stride, padding, dilation, ceil});
      },
      "Largest of each window of x[B, C, *spatial].");
  bind(
      m, "average_pool(x, kernel, stride=[], padding=0, ceil=False, count_padding=True)",
      [](const Ops& ops, const Tensor& x, const List& kernel, const List& stride, const List& padding, bool ceil, bool count) {
        return ops.average_pool(x, {kernel, stride, padding, {1}, ceil, count});
      },
      "Mean of each window of x[B, C, *spatial].");
  bind(
      m, "lse_pool(x, kernel, stride=[], padding=0, dilation=1, ceil=False)",
      [](const Ops& ops, const Tensor& x, const List& kernel, const List& stride, const List& padding, const List& dilation, bool ceil) {
        return ops.lse_pool(x, {kernel, stride, padding, dilation, ceil});
      },
      "Log-sum-exp of each window of x[B, C, *spatial], padding left out.");
  bind(m, "adaptive_max_pool(x, size)", &Ops::adaptive_max_pool, "Largest of each of size windows an axis.");
  bind(m, "adaptive_average_pool(x, size)", &Ops::adaptive_average_pool, "Mean of each of size windows an axis.");
  bind(m, "batch_norm(x, mean=None, variance=None, weight=None, bias=None, epsilon=1e-5)", &Ops::batch_norm,
       "x[B, C, ...] by the statistics given, or by its own.");
  bind(m, "batch_statistics(x)", &Ops::batch_statistics, "Mean and unbiased variance of each channel of x[B, C, ...].");
  bind(m, "group_norm(x, groups, weight=None, bias=None, epsilon=1e-5)", &Ops::group_norm,
       "x[B, C, ...] by the statistics of groups of channels.");
  bind(m, "instance_norm(x, weight=None, bias=None, epsilon=1e-5)", &Ops::instance_norm, "x[B, C, ...] by the statistics of each map.");
  bind(m, "resize(x, size, mode='linear', align_corners=False)", &Ops::resize,
       "x[B, C, *spatial] resampled: nearest, nearest_exact, linear, cubic.");
  bind(m, "grid_sample(x, grid, mode='linear', edges='zeros', align_corners=False)", &Ops::grid_sample,
       "Values of x[B, C, *spatial] at grid[B, *out, axes], -1 to 1, the last axis first.");
  bind(m, "grid_sample_plain(x, grid, mode='linear', edges='zeros', align_corners=False)", &Ops::grid_sample_plain,
       "grid_sample in smaller ops.");
  bind(
      m, "unfold(x, kernel, stride=[], padding=0, dilation=1)",
      [](const Ops& ops, const Tensor& x, const List& kernel, const List& stride, const List& padding, const List& dilation) {
        return ops.unfold(x, {kernel, stride, padding, dilation});
      },
      "Windows of x[B, C, *spatial] as columns, [B, C * taps, places]; stride 1 where none is given.");
  bind(
      m, "fold(x, size, kernel, stride=[], padding=0, dilation=1)",
      [](const Ops& ops, const Tensor& x, const List& size, const List& kernel, const List& stride, const List& padding,
         const List& dilation) {
        return ops.fold(x, size, {kernel, stride, padding, dilation});
      },
      "The reverse of unfold: columns added up into [B, C, *size].");
  bind(m, "pixel_shuffle(x, factor)", &Ops::pixel_shuffle, "[B, C r^a, *spatial] -> [B, C, *spatial * r].");
  bind(m, "pixel_unshuffle(x, factor)", &Ops::pixel_unshuffle, "[B, C, *spatial * r] -> [B, C r^a, *spatial].");
  bind(m, "windows(x, size)", &Ops::windows, "x[B, *spatial, C] -> [B * windows, elements, C].");
  bind(m, "unwindows(x, size, spatial)", &Ops::unwindows, "The reverse of windows, to [B, *spatial, C].");
  bind(
      m, "extend(x, axis, before, after, mode)",
      [](const Ops& ops, const Tensor& x, const std::vector<int>& axes, const List& before, const List& after, PadMode mode) {
        return ops.extend(x, axes, before, after, mode);
      },
      "Padding of an axis, or of several, with zeros, reflect, replicate or circular: before and after have a number for each, or one for "
      "all.");
}

}  // namespace heed::python
