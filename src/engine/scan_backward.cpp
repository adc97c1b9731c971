// SPDX-License-Identifier: Apache-2.0
// scan_backward(). With the chunk's products of scan.h, dS the gradient of the state at its end and do that of its output:
//   dA = tril(do u^T), du = A^T do + k~ dS, dq^ = do S_0^T + dA k~, dk~ = u dS^T + dA^T q^, dS_0 = dS + q^T do
// through the delta rule's triangular system (M = tril(k^ k~^T, -1)): r = beta (du - M^T r), dv = r, dM = -tril(r u^T, -1).
// The gradient of G is q^ dq^ + k^ dk^ - k~ dk~, summed from a token to the chunk's end and what the later chunks ask of it.
#include <algorithm>

#include "base/parallel.h"
#include "engine/scan.h"

namespace heed {
namespace engine {
namespace {

constexpr int section = 64;  ///< chunks between checkpoints of the state
constexpr int group = 6;

void add_row(const ScanCall& call, const std::optional<View>& view, std::int64_t offset, std::int64_t stride, std::int64_t n,
             const float* from) {
  if (!view) return;
  float* to = static_cast<float*>(view->data) + offset;
  if (stride == 1) return call.loops->add_scaled(from, 1.0f, n, to);
  for (std::int64_t i = 0; i < n; ++i) to[i * stride] += from[i];
}

class Backward {
 public:
  Backward(const ScanCall& call, const ScanCotangents& given, const ScanGradients& into)
      : call_(call),
        given_(given),
        into_(into),
        walk_(call, 0, call.E, call.sum),
        W(walk_.width),
        P(walk_.depth),
        C(walk_.stride),
        state_(P * W),
        grad_(P * W),
        saved_(section * P * W),
        state_t_(P * W),
        grad_t_(P * W),
        u_t_(C * W),
        bracket_(C * W),
        out_(C * W),
        du_(C * W),
        score_(C * C),
        solver_(C * C),
        dscore_(C * C),
        dq_(C * P),
        dk_(C * P),
        dback_(C * P),
        row_(P),
        sum_(std::size_t(P)),
        tail_(std::size_t(P)),
        carry_(std::size_t(P)) {}

  void head(std::int64_t b, std::int64_t h, bool reverse, bool exclusive, bool states) {
    states_ = states, exclusive_ = exclusive;
    walk_.open(b, reverse);
    walk_.turn(h, carry_.data());
    std::fill(carry_.begin(), carry_.end(), 0.0f);
    const std::int64_t length = call_.length(b);
    load_state(call_.options.initial, call_.options.initial_sum, state_.get());
    places_.clear(), checkpoints_.clear(), carries_.clear();
    for (std::int64_t s = 0; s < length; s = walk_.advance()) {
      enter(s, state_.get());
      if (places_.size() % section == 0) checkpoints_.insert(checkpoints_.end(), state_.get(), state_.get() + P * W);
      places_.push_back(s);
      carries_.insert(carries_.end(), carry_.begin(), carry_.end());
      walk_.absorb(state_.get());
    }
    end();
    const std::int64_t chunks = std::int64_t(places_.size());
    for (std::int64_t from = (chunks - 1) / section * section; from >= 0 && chunks > 0; from -= section) {
      const std::int64_t to = std::min(chunks, from + section);
      for (std::int64_t c = from; c < to; ++c) {  // the states of the section again
        float* kept = saved_.get() + (c - from) * P * W;
        if (c == from) {
          std::copy_n(checkpoints_.data() + from / section * P * W, P * W, kept);
          recall(c);
          walk_.load(places_[std::size_t(c)], call_.chunk);
          if (call_.delta) walk_.solve(kept, nullptr);
        } else {
          std::memcpy(kept, kept - P * W, std::size_t(P * W) * sizeof(float));
          walk_.absorb(kept);
          recall(c);
          enter(places_[std::size_t(c)], kept);
        }
      }
      for (std::int64_t c = to - 1; c >= from; --c) chunk(c, saved_.get() + (c - from) * P * W);
    }
    if (states) write_state(walk_, into_.initial, into_.initial_sum, grad_.get());
  }

 private:
  void load_state(const std::optional<View>& state, const std::optional<View>& sum, float* to) {
    if (states_)
      read_state(walk_, state, sum, to);
    else
      std::memset(to, 0, std::size_t(P * W) * sizeof(float));
  }

  /// The chunk at s, decayed into: the state becomes S_0, u is solved for.
  void enter(std::int64_t s, float* state) {
    walk_.load(s, call_.chunk);
    walk_.foresee(s + walk_.count, s + 2 * walk_.count, walk_.h, walk_.h + 1);
    walk_.begin(state);
    if (call_.delta) walk_.solve(state, nullptr);
  }

  /// The gradient of the final state, in the last chunk's scale, and of that chunk's growth.
  void end() {
    load_state(given_.final, given_.final_sum, grad_.get());
    std::fill(tail_.begin(), tail_.end(), 0.0f);
    if (!call_.decays) return;
    for (std::int64_t d = 0; d < call_.D; ++d) {
      float growth[16] = {carry_[std::size_t(d)]};
      call_.loops->exp(growth, 16, growth);
      float *grad = grad_.get() + d * W, *state = state_.get() + d * W;
      call_.loops->scale(grad, growth[0], W, grad);
      tail_[std::size_t(d)] = call_.loops->dot(grad, state, W);
    }
  }

  /// [P][W] to [P / 16][W][16].
  void transpose(const float* from, std::int64_t rows, float* to) {
    for (std::int64_t i = 0; i < rows; i += 16) call_.table->transpose(from + i * W, W, W, to + i * W);
  }

  /// to[t] += sum over i >= t of x[i][t] y[i]: x is lower triangular.
  void later(const float* x, const float* y, std::int64_t wide, float* to) {
    for (int r = 0; r < walk_.count; r += group)
      call_.loops->product(std::min(group, walk_.count - r), int(wide / 16), walk_.count - r, {x + r * C + r, 1, C},
                           {y + r * wide, wide, 16}, {to + r * wide, wide, 16}, true);
  }
  /// to[t] += sum over j <= t of x[t][j] y[j].
  void earlier(const float* x, const float* y, std::int64_t wide, float* to) {
    for (int r = 0; r < walk_.count; r += group) {
      const int here = std::min(group, walk_.count - r);
      call_.loops->product(here, int(wide / 16), r + here, {x + r * C, C, 1}, {y, wide, 16}, {to + r * wide, wide, 16}, true);
    }
  }
  /// to = tril(x u^T), strictly below the diagonal where strict.
  void outer(const float* x, bool strict, float* to) {
    for (int r = 0; r < walk_.count; r += group) {
      const int here = std::min(group, walk_.count - r), last = r + here;
      call_.loops->product(here, (last + 15) / 16, W, {x + r * W, W, 1}, {u_t_.get(), 16, 16 * W}, {to + r * C, C, 16}, false);
      for (int i = r; i < last; ++i) std::fill(to + i * C + i + !strict, to + i * C + up16(last), 0.0f);
    }
  }

  /// What the chunk before the c-th carries.
  void recall(std::int64_t c) { std::copy_n(carries_.begin() + c * P, P, carry_.begin()); }

  void chunk(std::int64_t c, const float* state);
  void write(const float* state);

  const ScanCall& call_;
  const ScanCotangents& given_;
  const ScanGradients& into_;
  Walk walk_;
  const std::int64_t W, P, C;
  bool states_ = true, exclusive_ = false;
  /// grad_: of the state at the end of the chunk at hand, in its scale. tail_: of its growth, from what comes after it.
  Buffer state_, grad_, saved_, state_t_, grad_t_, u_t_, bracket_, out_, du_, score_, solver_, dscore_, dq_, dk_, dback_, row_;
  std::vector<float> sum_, tail_, carry_, checkpoints_, carries_;
  std::vector<std::int64_t> places_;
};

void Backward::chunk(std::int64_t c, const float* state) {
  recall(c);
  walk_.load(places_[std::size_t(c)], call_.chunk);
  if (c > 0) walk_.foresee(places_[std::size_t(c - 1)], places_[std::size_t(c)], walk_.h, walk_.h + 1);
  const int count = walk_.count, panels = int(W / 16), channels = int(P / 16);
  const auto& loops = *call_.loops;
  std::memset(walk_.k.get() + count * P, 0, std::size_t((up16(count) - count) * P) * sizeof(float));
  if (count == 1) call_.table->transpose(walk_.k.get(), P, P, walk_.keys.get());
  for (int i = 0; i < count; ++i) {
    float* o = out_.get() + i * W;
    std::memset(o, 0, std::size_t(W) * sizeof(float));
    const std::int64_t t = walk_.token(i);
    if (given_.out) read_row(*call_.table, *given_.out, at(*given_.out, walk_.b, t, walk_.h), given_.out->strides[3], call_.E, o);
    if (walk_.sum && given_.sum) o[call_.E] = static_cast<const float*>(given_.sum->data)[at(*given_.sum, walk_.b, t, walk_.h)];
  }
  if (call_.delta) walk_.solve(state, bracket_.get());
  std::memset(walk_.u.get() + count * W, 0, std::size_t((up16(count) - count) * W) * sizeof(float));
  transpose(walk_.u.get(), up16(count), u_t_.get());
  transpose(state, P, state_t_.get());
  transpose(grad_.get(), P, grad_t_.get());
  walk_.score(walk_.q.get(), exclusive_, score_.get());
  outer(out_.get(), exclusive_, dscore_.get());

  loops.product(count, panels, call_.D, {walk_.k.get(), P, 1}, {grad_.get(), W, 16}, {du_.get(), W, 16}, false);
  later(score_.get(), out_.get(), W, du_.get());
  loops.product(count, channels, W, {out_.get(), W, 1}, {state_t_.get(), 16, 16 * W}, {dq_.get(), P, 16}, false);
  earlier(dscore_.get(), walk_.k.get(), P, dq_.get());
  loops.product(count, channels, W, {walk_.u.get(), W, 1}, {grad_t_.get(), 16, 16 * W}, {dk_.get(), P, 16}, false);
  later(dscore_.get(), walk_.q.get(), P, dk_.get());
  loops.product(int(call_.D), panels, count, {walk_.q.get(), 1, P}, {out_.get(), W, 16}, {grad_.get(), W, 16}, true);

  if (call_.delta) {                                     // du becomes r
    walk_.score(walk_.back.get(), true, solver_.get());  // -M
    for (int i = count - 1; i >= 0; --i) {
      float* r = du_.get() + i * W;
      for (int j = i + 1; j < count; ++j) loops.add_scaled(du_.get() + j * W, solver_.get()[j * C + i], W, r);
      if (into_.beta) {
        const std::int64_t to = at(*into_.beta, walk_.b, walk_.token(i), walk_.h);
        static_cast<float*>(into_.beta->data)[to] += loops.dot(r, bracket_.get() + i * W, W);
      }
      loops.scale(r, walk_.betas[std::size_t(i)], W, r);
    }
    outer(du_.get(), true, dscore_.get());
    loops.product(count, channels, W, {du_.get(), W, 1}, {state_t_.get(), 16, 16 * W}, {dback_.get(), P, 16}, false);
    earlier(dscore_.get(), walk_.k.get(), P, dback_.get());
    later(dscore_.get(), walk_.back.get(), P, dk_.get());
    loops.product(int(call_.D), panels, count, {walk_.back.get(), 1, P}, {du_.get(), W, 16}, {grad_.get(), W, 16}, true);
  }
  write(state);
}

/// Gradients of the chunk's tokens, last first; then grad_ and tail_ become those of the chunk before.
void Backward::write(const float* state) {
  const auto& loops = *call_.loops;
  const std::int64_t D = call_.D, G = walk_.h / call_.share;
  const auto add_decay = [&](int i, const std::vector<float>& sums) {
    if (!into_.decay) return;
    const std::int64_t to = at(*into_.decay, walk_.b, walk_.token(i), walk_.h);
    if (call_.channels) return add_row(call_, into_.decay, to, into_.decay->strides[3], D, sums.data());
    float total = 0;
    for (std::int64_t d = 0; d < D; ++d) total += sums[std::size_t(d)];
    static_cast<float*>(into_.decay->data)[to] += total;
  };
  sum_ = tail_;
  for (int i = walk_.count - 1; i >= 0; --i) {
    const std::int64_t t = walk_.token(i);
    float *dq = dq_.get() + i * P, *dk = dk_.get() + i * P, *dback = dback_.get() + i * P;
    if (call_.decays) {
      const float *q = walk_.q.get() + i * P, *k = walk_.k.get() + i * P, *back = call_.delta ? walk_.back.get() + i * P : nullptr;
      if (i > 0) {
        loops.add_product(q, dq, 1.0f, P, sum_.data());
        loops.add_product(k, dk, -1.0f, P, sum_.data());
        if (back) loops.add_product(back, dback, 1.0f, P, sum_.data());
        add_decay(i, sum_);
      }
      walk_.times(dq, walk_.up(i), dq);
      walk_.times(dk, walk_.down(i), dk);
      if (back) walk_.times(dback, walk_.up(i), dback);
    }
    loops.scale(dq, call_.options.scale, P, dq);
    if (call_.delta) loops.add_scaled(dback, -1.0f, P, dk);
    if (into_.q) add_row(call_, into_.q, at(*into_.q, walk_.b, t, walk_.h), into_.q->strides[3], D, dq);
    if (into_.k) add_row(call_, into_.k, at(*into_.k, walk_.b, t, G), into_.k->strides[3], D, dk);
    if (into_.v) add_row(call_, into_.v, at(*into_.v, walk_.b, t, G), into_.v->strides[3], call_.E, du_.get() + i * W);
  }
  if (!call_.decays) return;
  for (std::int64_t d = 0; d < D; ++d) {
    float* grad = grad_.get() + d * W;
    tail_[std::size_t(d)] = loops.dot(grad, state + d * W, W);
    loops.scale(grad, walk_.start.get()[d], W, grad);
  }
  add_decay(0, tail_);
}

void clear(const std::optional<View>& view) {
  if (!view) return;
  const View& x = *view;
  if (x.contiguous()) {
    std::memset(x.data, 0, std::size_t(x.count()) * sizeof(float));
    return;
  }
  std::array<std::int64_t, max_rank> index{};
  std::int64_t offset = 0;
  for (std::int64_t n = x.count(); n > 0; --n) {
    static_cast<float*>(x.data)[offset] = 0;
    for (int a = x.rank() - 1; a >= 0; --a) {
      offset += x.stride(a);
      if (++index[std::size_t(a)] < x.extent(a)) break;
      offset -= x.stride(a) * x.extent(a);
      index[std::size_t(a)] = 0;
    }
  }
}

}  // namespace
}  // namespace engine

inline namespace v0 {

void scan_backward(const View& q, const View& k, const View& v, const ScanOptions& options, const ScanCotangents& cotangents,
                   const ScanGradients& gradients, const Context& context) {
  using namespace engine;
  ScanCall call = check_scan(q, k, v, options, cotangents.sum || cotangents.final_sum, context);
  if (call.chunk == 1) call.chunk = 2;  // the blocks of a token are those of products
  const Shape tokens{call.B, call.N, call.H}, state{call.B, call.H, call.D, call.E}, state_sum{call.B, call.H, call.D};
  check_f32("cotangents.out", cotangents.out, Shape{call.B, call.N, call.H, call.E}, false);
  check_f32("cotangents.sum", cotangents.sum, tokens, false);
  check_f32("cotangents.final", cotangents.final, state, false);
  check_f32("cotangents.final_sum", cotangents.final_sum, state_sum, false);
  check_f32("gradients.q", gradients.q, q.shape, true);
  check_f32("gradients.k", gradients.k, k.shape, true);
  check_f32("gradients.v", gradients.v, v.shape, true);
  check_f32("gradients.decay", gradients.decay, Shape{call.B, call.N, call.H, call.channels ? call.D : 1}, true);
  check_f32("gradients.beta", gradients.beta, tokens, true);
  check_f32("gradients.initial", gradients.initial, state, true);
  check_f32("gradients.initial_sum", gradients.initial_sum, state_sum, true);
  for (const auto* view :
       {&gradients.q, &gradients.k, &gradients.v, &gradients.decay, &gradients.beta, &gradients.initial, &gradients.initial_sum})
    clear(*view);
  base::parallel(context.threads, call.B * call.G, [&](std::int64_t task, int) {
    Backward backward(call, cotangents, gradients);
    const std::int64_t b = task / call.G, g = task % call.G;
    for (std::int64_t h = g * call.share; h < (g + 1) * call.share; ++h) {
      backward.head(b, h, options.direction == Direction::reverse, options.exclusive, true);
      if (options.direction == Direction::both) backward.head(b, h, true, true, false);
    }
  });
}

}  // namespace v0
}  // namespace heed
