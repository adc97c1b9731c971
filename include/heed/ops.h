// SPDX-License-Identifier: Apache-2.0
// The vocabulary of tensors: pure functions of their inputs. Values are f32, indices i64, masks bool; any strides.
// Every op whose inputs have an origin (heed/tape.h) records how gradients go back through it.
#pragma once
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "heed/attend.h"
#include "heed/context.h"
#include "heed/lists.h"
#include "heed/scan.h"
#include "heed/tape.h"
#include "heed/tensor.h"

namespace heed {
inline namespace v0 {

/// What attend() returns besides `out`: a sum of these.
enum AttendExtra : unsigned { want_lse = 1, want_row_max = 2, want_column_sums = 4, want_weights = 8 };

/// Extras that were not asked for are undefined tensors.
struct Attended {
  Tensor out, lse, row_max, column_sums, weights;
};

/// What attend() adds to the scores and a gradient can be wanted of: the tensors of the views in AttendOptions.
struct ScoreTerms {
  Tensor bias{}, alibi_slopes{}, sink{};
};

/// The tensors of ListInputs (heed/lists.h).
struct ListTensors {
  Tensor q{}, k{}, v{}, source{}, target{}, att{}, bias{}, features{};
};

/// What scan() returns besides `out`: a sum of these.
enum ScanExtra : unsigned { want_sum = 1, want_final = 2, want_final_sum = 4 };

struct Scanned {
  Tensor out, sum, final, final_sum;
};

/// The tensors of the views in ScanOptions; gradients can be wanted of all but the lengths.
struct ScanTerms {
  Tensor decay{}, beta{}, initial{}, initial_sum{}, lengths{};
};

/// What lies beyond the edge of an axis: zeros; mirrored without the edge; the edge; the other end.
enum class PadMode : std::uint8_t { zeros, reflect, replicate, circular };

enum class Resample : std::uint8_t { nearest, nearest_exact, linear, cubic };  ///< torch's; linear: bilinear, trilinear

/// Lists have a value for each spatial axis, or one for all.
struct ConvOptions {
  std::vector<std::int64_t> stride{1}, padding{0}, dilation{1};
  std::int64_t groups = 1;
  bool transposed = false;                      ///< the gradient of conv with respect to its input, as an op
  std::vector<std::int64_t> output_padding{0};  ///< of a transposed one: rows more at the end
  PadMode padding_mode = PadMode::zeros;        ///< not of a transposed one
  bool causal = false;                          ///< one spatial axis: pads (kernel - 1) dilation in front, nothing behind
};

struct PoolOptions {
  std::vector<std::int64_t> kernel, stride{};  ///< no stride: the kernel
  std::vector<std::int64_t> padding{0}, dilation{1};
  bool ceil = false;          ///< a last window may reach over the end
  bool count_padding = true;  ///< averages divide by the padded window's size
};

/// Every method checks dtypes and shapes, throws Error, and writes only into new storage. A result may share the storage
/// of an argument (split). A negative axis counts from the end. Two tensors broadcast by numpy's rules.
class Ops {
 public:
  /// Without `recording`, results have no origin.
  explicit Ops(const Context& context, bool recording = true) : context_(context), recording_(recording) {}
  const Context& context() const { return context_; }
  bool recording() const { return recording_; }

  // Gradients.
  /// x where its gradient ends; `why` says the reason ("top-k choice").
  Tensor no_gradient(const Tensor& x, const char* why) const;
  /// value's elements with x's gradient (same shape): what a rounding or a sign passes through.
  Tensor straight_through(const Tensor& value, const Tensor& x) const;
  /// Gradients of the one number f gives, at these tensors; recorded in turn where a gradient of one of them is wanted, so that
  /// a forward pass can hold a gradient. f computes with the ops it is given.
  std::vector<Tensor> gradient(const std::function<Tensor(const Ops&, const std::vector<Tensor>&)>& f, const std::vector<Tensor>& at) const;
  /// For an op's last line: its result, which remembers `derivative` where an input has an origin. What the derivative captures
  /// is what is kept; `keeps` also keeps the outputs, for Pull::output().
  template <class D>
  Tensor record(const char* op, Tensor out, std::initializer_list<const Tensor*> inputs, D&& derivative, bool keeps = false) const {
    if (wanted(inputs)) record(op, {&out}, std::vector<const Tensor*>(inputs), Derivative(std::forward<D>(derivative)), keeps);
    return out;
  }
  void record(const char* op, std::initializer_list<Tensor*> outs, const std::vector<const Tensor*>& inputs, const Derivative& derivative,
              bool keeps = false) const;
  /// Whether record() would; an op may then keep more.
  bool wanted(std::span<const Tensor* const> inputs) const;
  bool wanted(std::initializer_list<const Tensor*> inputs) const { return wanted(std::span(inputs.begin(), inputs.size())); }

  /// Sums the axes that broadcasting to x's shape stretched.
  Tensor sum_to(const Tensor& x, const Shape& shape) const;
  /// Element (i, j, ...) is x's at offset + i strides[0] + j strides[1] + ..., x being dense: no copy.
  Tensor strided(const Tensor& x, const Shape& shape, const std::vector<std::int64_t>& strides, std::int64_t offset = 0) const;
  /// The reverse: every element of x added to a zero tensor of `shape` at its place there.
  Tensor strided_add(const Tensor& x, const Shape& shape, const std::vector<std::int64_t>& strides, std::int64_t offset = 0) const;

  /// x[..., in] weight[out, in]^T + bias[out].
  Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {}) const;
  /// a[..., m, k] b[..., k, n], leading axes broadcast.
  Tensor matmul(const Tensor& a, const Tensor& b) const;

  Tensor add(const Tensor& a, const Tensor& b) const;
  Tensor sub(const Tensor& a, const Tensor& b) const;
  Tensor mul(const Tensor& a, const Tensor& b) const;
  Tensor div(const Tensor& a, const Tensor& b) const;
  Tensor maximum(const Tensor& a, const Tensor& b) const;  ///< NaN wins
  Tensor minimum(const Tensor& a, const Tensor& b) const;  ///< NaN wins
  Tensor where(const Tensor& mask, const Tensor& a, const Tensor& b) const;
  Tensor scale(const Tensor& x, float factor) const;
  Tensor shift(const Tensor& x, float offset) const;
  Tensor exp(const Tensor& x) const;
  Tensor log(const Tensor& x) const;
  Tensor sigmoid(const Tensor& x) const;
  Tensor tanh(const Tensor& x) const;
  Tensor relu(const Tensor& x) const;
  Tensor gelu(const Tensor& x, bool by_tanh = false) const;  ///< by erf unless by_tanh
  Tensor silu(const Tensor& x) const;
  Tensor softplus(const Tensor& x) const;
  Tensor neg(const Tensor& x) const;
  Tensor sqrt(const Tensor& x) const;
  Tensor rsqrt(const Tensor& x) const;
  Tensor square(const Tensor& x) const;
  Tensor abs(const Tensor& x) const;
  Tensor sign(const Tensor& x) const;
  Tensor sin(const Tensor& x) const;
  Tensor cos(const Tensor& x) const;
  Tensor erf(const Tensor& x) const;
  Tensor log1p(const Tensor& x) const;
  Tensor pow(const Tensor& x, float exponent) const;
  Tensor clamp(const Tensor& x, float least, float most) const;  ///< no gradient outside
  Tensor leaky_relu(const Tensor& x, float slope = 0.01f) const;
  Tensor elu(const Tensor& x, float alpha = 1) const;
  // Masks: bool where it holds; numpy's broadcasting.
  Tensor less(const Tensor& a, const Tensor& b) const;
  Tensor equal(const Tensor& a, const Tensor& b) const;
  Tensor both(const Tensor& a, const Tensor& b) const;    ///< of two masks
  Tensor either(const Tensor& a, const Tensor& b) const;  ///< of two masks
  Tensor negate(const Tensor& mask) const;

  Tensor sum(const Tensor& x, const std::vector<int>& axes, bool keepdim = false) const;
  Tensor mean(const Tensor& x, const std::vector<int>& axes, bool keepdim = false) const;
  Tensor max(const Tensor& x, const std::vector<int>& axes, bool keepdim = false) const;
  Tensor min(const Tensor& x, const std::vector<int>& axes, bool keepdim = false) const;
  Tensor argmax(const Tensor& x, int axis, bool keepdim = false) const;  ///< the first of equals
  /// A lane that is -inf throughout gives zeros.
  Tensor softmax(const Tensor& x, int axis) const;
  /// A lane that is -inf throughout gives -inf.
  Tensor log_softmax(const Tensor& x, int axis) const;
  Tensor logsumexp(const Tensor& x, int axis, bool keepdim = false) const;
  Tensor cumsum(const Tensor& x, int axis) const;

  Tensor layer_norm(const Tensor& x, const Tensor& weight = {}, const Tensor& bias = {}, float epsilon = 1e-5f) const;  ///< last axis
  Tensor rms_norm(const Tensor& x, const Tensor& weight = {}, float epsilon = 1e-6f) const;                             ///< last axis
  /// x[B, N, H, D], cos and sin [N, R/2]: turns the pairs (i, i + R/2), interleaved (2i, 2i + 1), of the first R of D.
  Tensor rope(const Tensor& x, const Tensor& cos, const Tensor& sin, bool interleaved = false) const;

  // Maps: x[B, C, *spatial] with 1 to 3 spatial axes.
  /// weight[O, C/groups, *kernel], bias[O] -> [B, O, *out]; transposed: weight[C, O/groups, *kernel].
  Tensor conv(const Tensor& x, const Tensor& weight, const Tensor& bias = {}, const ConvOptions& options = {}) const;
  Tensor max_pool(const Tensor& x, const PoolOptions& options) const;  ///< the gradient goes to the first of equals
  Tensor average_pool(const Tensor& x, const PoolOptions& options) const;
  Tensor lse_pool(const Tensor& x, const PoolOptions& options) const;  ///< log-sum-exp of each window, padding left out
  /// Window i of n over an axis of E: floor(i E / n) up to ceil((i + 1) E / n). One size for all axes or one each.
  Tensor adaptive_max_pool(const Tensor& x, const std::vector<std::int64_t>& size) const;
  Tensor adaptive_average_pool(const Tensor& x, const std::vector<std::int64_t>& size) const;
  /// With the statistics given, mean[C] and variance[C], or (none given) those of x over all axes but C; weight[C], bias[C].
  Tensor batch_norm(const Tensor& x, const Tensor& mean, const Tensor& variance, const Tensor& weight = {}, const Tensor& bias = {},
                    float epsilon = 1e-5f) const;
  /// Mean and unbiased variance of x over all axes but C: what running statistics are made from.
  std::pair<Tensor, Tensor> batch_statistics(const Tensor& x) const;
  Tensor group_norm(const Tensor& x, std::int64_t groups, const Tensor& weight = {}, const Tensor& bias = {}, float epsilon = 1e-5f) const;
  Tensor instance_norm(const Tensor& x, const Tensor& weight = {}, const Tensor& bias = {}, float epsilon = 1e-5f) const;
  /// To another size, one for all axes or one each. Corners aligned: first and last elements stand on each other.
  Tensor resize(const Tensor& x, const std::vector<std::int64_t>& size, Resample mode, bool align_corners = false) const;
  /// Values of x[B, C, H, W] at grid[B, h, w, 2] = (x, y), of x[B, C, D, H, W] at grid[B, d, h, w, 3] = (x, y, z); -1 and 1 are the
  /// edges, or (corners aligned) the outer elements' centres. Modes nearest, linear and (two axes) cubic; edges zeros, replicate, reflect.
  Tensor grid_sample(const Tensor& x, const Tensor& grid, Resample mode = Resample::linear, PadMode edges = PadMode::zeros,
                     bool align_corners = false) const;
  /// The same in smaller ops: the oracle of its value and its gradient.
  Tensor grid_sample_plain(const Tensor& x, const Tensor& grid, Resample mode = Resample::linear, PadMode edges = PadMode::zeros,
                           bool align_corners = false) const;
  /// Windows as columns, [B, C * taps, places], zeros beyond the edges; ceil and count_padding are not used.
  Tensor unfold(const Tensor& x, const PoolOptions& options) const;
  /// The reverse: x[B, C * taps, places] added up into [B, C, *size].
  Tensor fold(const Tensor& x, const std::vector<std::int64_t>& size, const PoolOptions& options) const;
  /// [B, C r^a, *spatial] -> [B, C, *spatial * r], a spatial axes; the reverse.
  Tensor pixel_shuffle(const Tensor& x, std::int64_t factor) const;
  Tensor pixel_unshuffle(const Tensor& x, std::int64_t factor) const;
  /// x[B, *spatial, C], 1 to 3 spatial axes, multiples of `size`: windows [B * windows, elements, C], both in row-major order.
  Tensor windows(const Tensor& x, const std::vector<std::int64_t>& size) const;
  /// The reverse, to [B, *spatial, C].
  Tensor unwindows(const Tensor& x, const std::vector<std::int64_t>& size, const std::vector<std::int64_t>& spatial) const;

  // These six take any dtype.
  Tensor concat(const std::vector<Tensor>& list, int axis) const;
  std::vector<Tensor> split(const Tensor& x, int axis, const std::vector<std::int64_t>& sizes) const;
  Tensor stack(const std::vector<Tensor>& list, int axis) const;
  Tensor repeat(const Tensor& x, int axis, std::int64_t times) const;  ///< each element `times` times in a row
  /// out[.., i, ..] = x[.., index[.., i, ..], ..]; the other axes of index broadcast to x.
  Tensor gather(const Tensor& x, int axis, const Tensor& index) const;
  Tensor index_select(const Tensor& x, int axis, const Tensor& index) const;
  /// Zeros but for out[.., index[.., i, ..], ..] += x[.., i, ..]: the reverse of gather, summed in the order of i.
  Tensor scatter_add(const Tensor& x, int axis, const Tensor& index, std::int64_t extent) const;
  /// The same with one index for all lanes: the reverse of index_select.
  Tensor index_add(const Tensor& x, int axis, const Tensor& index, std::int64_t extent) const;

  /// Elements of `value` at both ends of some axes: `before` and `after` have a number for each axis, or one for all.
  Tensor pad(const Tensor& x, const std::vector<int>& axes, const std::vector<std::int64_t>& before, const std::vector<std::int64_t>& after,
             float value = 0) const;
  Tensor pad(const Tensor& x, int axis, std::int64_t before, std::int64_t after, float value = 0) const {
    return pad(x, std::vector<int>{axis}, std::vector{before}, std::vector{after}, value);
  }
  /// The same with elements of x by `mode`. Fails where an axis is too short: reflect needs more than the padding, circular as much.
  Tensor extend(const Tensor& x, const std::vector<int>& axes, const std::vector<std::int64_t>& before,
                const std::vector<std::int64_t>& after, PadMode mode) const;
  Tensor extend(const Tensor& x, int axis, std::int64_t before, std::int64_t after, PadMode mode) const {
    return extend(x, std::vector<int>{axis}, std::vector{before}, std::vector{after}, mode);
  }
  Tensor embedding(const Tensor& table, const Tensor& index) const;  ///< table[rows, d], index[...] -> [..., d]
  /// Sorted values and their indices; equals by lower index; NaN is the largest.
  std::pair<Tensor, Tensor> topk(const Tensor& x, std::int64_t k, int axis, bool largest = true) const;
  Tensor argsort(const Tensor& x, int axis, bool descending = false) const;  ///< stable
  Tensor one_hot(const Tensor& index, std::int64_t classes) const;
  Tensor arange(std::int64_t begin, std::int64_t end, std::int64_t step = 1) const;  ///< i64
  Tensor full(const Shape& shape, float value) const;

  // Words over sequences (src/ops/sequence.cpp).
  Tensor argmin(const Tensor& x, int axis, bool keepdim = false) const;                      ///< the first of equals
  std::pair<Tensor, Tensor> sort(const Tensor& x, int axis, bool descending = false) const;  ///< stable; values and indices
  Tensor cumprod(const Tensor& x, int axis) const;
  Tensor flip(const Tensor& x, const std::vector<int>& axes) const;
  Tensor roll(const Tensor& x, int axis, std::int64_t places) const;  ///< out[(i + places) mod n] = x[i]
  /// Rows of table[rows, d] that index[n] names, gathered in bags that begin at `offsets` (i64, ascending, the first 0): [bags, d].
  /// `mode` is sum, mean or max; an empty bag gives 0; weights[n] scale the rows of a sum.
  Tensor embedding_bag(const Tensor& table, const Tensor& index, const Tensor& offsets, const std::string& mode = "mean",
                       const Tensor& weights = {}) const;

  // Contractions (src/ops/contract.cpp).
  /// numpy's notation, "bnhd,bmhd->bhnm": any number of operands, "..." for leading axes that they share; every operand has a letter
  /// once, and letters have one extent. Without "->" the letters that occur once, in alphabetic order.
  Tensor einsum(const std::string& equation, const std::vector<Tensor>& operands) const;
  Tensor outer(const Tensor& a, const Tensor& b) const;                          ///< a[..., m], b[..., n]: [..., m, n]
  Tensor norm(const Tensor& x, int axis, bool keepdim = false) const;            ///< Euclidean; no gradient where it is 0
  Tensor l2_normalise(const Tensor& x, int axis, float epsilon = 1e-12f) const;  ///< x / max(norm, epsilon)
  Tensor cosine_similarity(const Tensor& a, const Tensor& b, int axis, float epsilon = 1e-8f) const;  ///< each norm at least epsilon
  /// x with a[..., n, n] x = b[..., n, m], leading axes broadcast: elimination with pivots in f64. A singular a gives no finite numbers.
  Tensor solve(const Tensor& a, const Tensor& b) const;
  /// bool [rows, columns]: column <= row + diagonal.
  Tensor triangle(std::int64_t rows, std::int64_t columns, std::int64_t diagonal = 0) const;

  // Spectra (src/ops/spectrum.cpp); complex numbers are a last axis of 2.
  /// x[..., 2] along another axis: sum_t x_t exp(-2 pi i k t / n); the inverse exp(+...) / n.
  Tensor fft(const Tensor& x, int axis, bool inverse = false) const;
  Tensor rfft(const Tensor& x, int axis) const;                   ///< of real numbers: the n/2 + 1 first, a new last axis of 2
  Tensor irfft(const Tensor& x, int axis, std::int64_t n) const;  ///< the n real numbers whose rfft this is; its last axis is gone
  Tensor complex_mul(const Tensor& a, const Tensor& b, bool conjugate_a = false) const;
  Tensor dct(const Tensor& x, int axis, bool orthonormal = true) const;   ///< type II; else 2 sum_t x_t cos(pi k (2t + 1) / 2n)
  Tensor idct(const Tensor& x, int axis, bool orthonormal = true) const;  ///< the inverse of dct

  // Recurrent cells, rows of the weights as in torch (src/ops/recurrent.cpp): r, z, n of a GRU; i, f, g, o of an LSTM.
  /// x[B, I], h[B, H], input weights [3H, I], hidden weights [3H, H], biases [3H] or undefined: the next h.
  Tensor gru_cell(const Tensor& x, const Tensor& h, const Tensor& input, const Tensor& hidden, const Tensor& input_bias = {},
                  const Tensor& hidden_bias = {}) const;
  /// The next (h, c).
  std::pair<Tensor, Tensor> lstm_cell(const Tensor& x, const Tensor& h, const Tensor& c, const Tensor& input, const Tensor& hidden,
                                      const Tensor& input_bias = {}, const Tensor& hidden_bias = {}) const;
  /// x[B, N, I], h[B, H] or undefined (0): every h [B, N, H]; from the last step to the first when `reverse`. The last h is its slice.
  Tensor gru(const Tensor& x, const Tensor& h, const Tensor& input, const Tensor& hidden, const Tensor& input_bias = {},
             const Tensor& hidden_bias = {}, bool reverse = false) const;
  /// Every h, and the last c.
  std::pair<Tensor, Tensor> lstm(const Tensor& x, const Tensor& h, const Tensor& c, const Tensor& input, const Tensor& hidden,
                                 const Tensor& input_bias = {}, const Tensor& hidden_bias = {}, bool reverse = false) const;

  // Draws: functions of (seed, stream) alone, no gradient (src/ops/random.cpp).
  Tensor uniform(const Shape& shape, std::int64_t seed, std::int64_t stream = 0) const;  ///< [0, 1)
  Tensor normal(const Shape& shape, std::int64_t seed, std::int64_t stream = 0) const;   ///< mean 0, deviation 1
  Tensor gumbel(const Shape& shape, std::int64_t seed, std::int64_t stream = 0) const;   ///< -log(-log(u))
  Tensor permutation(std::int64_t n, std::int64_t seed, std::int64_t stream = 0) const;  ///< i64: 0 to n - 1 in random order

  /// The tiles engine. The options' own bias, alibi_slopes and sink stay empty: they are `terms` here.
  Attended attend(const Tensor& q, const Tensor& k, const Tensor& v, const AttendOptions& options = {}, unsigned extras = 0,
                  const ScoreTerms& terms = {}) const;
  /// The same in smaller ops, whole planes of scores at a time: the oracle of its value and its gradient.
  Attended attend_plain(const Tensor& q, const Tensor& k, const Tensor& v, const AttendOptions& options = {}, unsigned extras = 0,
                        const ScoreTerms& terms = {}) const;

  /// The lists engine: out where v is given, and the extras want_lse and want_weights, shaped as in heed/lists.h.
  Attended attend_lists(const ListTensors& tensors, const Lists& lists, const ListOptions& options = {}, unsigned extras = 0) const;
  /// The same in smaller ops, all edges at a time: the oracle of its value and its gradient.
  Attended attend_lists_plain(const ListTensors& tensors, const Lists& lists, const ListOptions& options = {}, unsigned extras = 0) const;
  /// out and lse over the union of disjoint keys, from those over each part: of attend() or of attend_lists().
  Attended merge(const Attended& a, const Attended& b) const;
  // Rows of x[E, ...] by the segment, i64 [E] in [0, segments), that they belong to, in any order; sums in the order of the rows.
  // An empty segment gives zeros, its largest -inf.
  Tensor segment_sum(const Tensor& x, const Tensor& segment, std::int64_t segments) const;
  Tensor segment_mean(const Tensor& x, const Tensor& segment, std::int64_t segments) const;
  Tensor segment_max(const Tensor& x, const Tensor& segment, std::int64_t segments) const;  ///< equals share the gradient
  Tensor segment_softmax(const Tensor& x, const Tensor& segment, std::int64_t segments) const;

  /// The scan engine. The options' own tensors stay empty: they are `terms` here.
  Scanned scan(const Tensor& q, const Tensor& k, const Tensor& v, const ScanTerms& terms = {}, const ScanOptions& options = {},
               unsigned extras = 0) const;
  /// The same in smaller ops, token by token: the oracle of its value and its gradient.
  Scanned scan_plain(const Tensor& q, const Tensor& k, const Tensor& v, const ScanTerms& terms = {}, const ScanOptions& options = {},
                     unsigned extras = 0) const;
  /// x_t = a_t x_{t-1} + b_t along an axis, from x = 0, or from its end; a broadcasts to b.
  Tensor recurrence(const Tensor& a, const Tensor& b, int axis, bool reverse = false) const;
  Tensor cummax(const Tensor& x,
                int axis) const;  ///< the largest of the elements up to and with each; of equals the first has the gradient

 private:
  Context context_;
  bool recording_;
};

}  // namespace v0
}  // namespace heed
