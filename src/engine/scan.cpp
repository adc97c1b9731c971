// SPDX-License-Identifier: Apache-2.0
// scan(): a task is some heads of a sequence, walked together so that memory is read as it lies, or where heads are few some columns
// of one, which never meet. Heads and columns do not depend on their task.
#include "engine/scan.h"

#include <algorithm>

#include "base/parallel.h"

namespace heed {
namespace engine {
namespace {

struct Outputs {
  View out;
  ScanExtras extras;
};

/// The memory of a state's columns where the loops can work in it: dense rows of whole panels.
float* in_place(const Walk& walk, const std::optional<View>& state) {
  if (!state || state->strides[3] != 1 || walk.columns != walk.width) return nullptr;
  return static_cast<float*>(state->data) + at(*state, walk.b, walk.h) + walk.first;
}

/// One token: the state goes from `from` to `to` in one pass, two with the delta rule.
void step(Walk& walk, const float* from, std::int64_t from_row, float* to, std::int64_t to_row, bool exclusive, float* o) {
  const ScanCall& call = walk.call;
  const int panels = int(walk.width / 16);
  float* u = walk.u.get();
  if (call.delta) {
    call.loops->recall(from, from_row, call.D, panels, walk.start.get(), walk.k.get(), o);
    call.loops->add_scaled(o, -1.0f, walk.width, u);
    call.loops->scale(u, walk.betas[0], walk.width, u);
  }
  call.loops->step(from, from_row, to, to_row, call.D, panels, walk.start.get(), walk.k.get(), walk.q.get(), u, o, exclusive);
}

class Forward {
 public:
  Forward(const ScanCall& call, const Outputs& outputs, std::int64_t first, std::int64_t last, std::int64_t heads)
      : call_(call),
        outputs_(outputs),
        walk_(call, first, last, call.sum && last == call.E),
        size_(walk_.depth * walk_.width),
        states_(heads * size_),
        carries_(heads * walk_.depth),
        o_(walk_.rows * walk_.width),
        places_(std::size_t(heads)) {}

  bool computes(std::int64_t first, std::int64_t last) const { return walk_.first == first && walk_.first + walk_.columns == last; }

  void run(std::int64_t b, std::int64_t first_head, std::int64_t last_head) {
    first_head_ = first_head, last_head_ = last_head;
    walk_.open(b, false);
    std::memset(o_.get(), 0, std::size_t(walk_.width) * sizeof(float));
    for (std::int64_t t = call_.length(b); t < call_.N; ++t)
      for (std::int64_t h = first_head; h < last_head; ++h) {
        turn(h);
        write(t, o_.get(), true);
      }
    const Direction direction = call_.options.direction;
    pass(b, direction == Direction::reverse, call_.options.exclusive, true);
    if (direction == Direction::both) pass(b, true, true, false);
  }

 private:
  float* state(std::int64_t h) { return states_.get() + (h - first_head_) * size_; }
  void turn(std::int64_t h) { walk_.turn(h, carries_.get() + (h - first_head_) * walk_.depth); }

  /// The first pass has the states; the second adds to the output.
  void pass(std::int64_t b, bool reverse, bool exclusive, bool first) {
    walk_.open(b, reverse);
    const std::int64_t length = call_.length(b);
    std::memset(carries_.get(), 0, std::size_t((last_head_ - first_head_) * walk_.depth) * sizeof(float));
    for (std::int64_t h = first_head_; h < last_head_; ++h) {
      turn(h);
      places_[std::size_t(h - first_head_)] = 0;
      if (first && length == 1)
        decode(exclusive);
      else if (first)
        read_state(walk_, call_.options.initial, call_.options.initial_sum, state(h));
      else
        std::memset(state(h), 0, std::size_t(size_) * sizeof(float));
    }
    if (first && length == 1) return;
    for (std::int64_t end = 0; end < length;) {
      end = std::min<std::int64_t>(length, end + call_.chunk);
      for (std::int64_t h = first_head_; h < last_head_; ++h) {
        turn(h);
        const std::int64_t i = h - first_head_, heads = last_head_ - first_head_;  // a share of the next block with each head
        walk_.foresee(end + call_.chunk * i / heads, end + call_.chunk * (i + 1) / heads, first_head_, last_head_);
        for (auto& s = places_[std::size_t(h - first_head_)]; s < end; s = walk_.advance()) chunk(s, exclusive, first);
      }
    }
    for (std::int64_t h = first_head_; first && h < last_head_; ++h) {
      turn(h);
      finish();
    }
  }

  /// One token, the state from memory to memory.
  void decode(bool exclusive) {
    const auto &initial = call_.options.initial, &final = outputs_.extras.final;
    walk_.load(0, 1);
    const float* from = in_place(walk_, initial);
    float *to = in_place(walk_, final), *own = state(walk_.h);
    const std::int64_t from_row = from ? initial->strides[2] : walk_.width, to_row = to ? final->strides[2] : walk_.width;
    if (!from) read_state(walk_, initial, call_.options.initial_sum, own), from = own;
    step(walk_, from, from_row, to ? to : own, to_row, exclusive, o_.get());
    write(walk_.token(0), o_.get(), true);
    if (!to) write_state(walk_, final, outputs_.extras.final_sum, own);
  }

  void chunk(std::int64_t s, bool exclusive, bool first) {
    float* own = state(walk_.h);
    walk_.load(s, call_.chunk);
    // What is not finite may not reach tokens before it through the zeros above the diagonal.
    if (walk_.count > 1 && !multiply(own, exclusive)) walk_.load(s, 1);
    if (walk_.count == 1) step(walk_, own, walk_.width, own, walk_.width, exclusive, o_.get());
    for (int i = 0; i < walk_.count; ++i) write(walk_.token(i), o_.get() + i * walk_.width, first);
  }

  void finish() {
    const auto &final = outputs_.extras.final, &final_sum = outputs_.extras.final_sum;
    if (!final && !final_sum) return;
    float* own = state(walk_.h);
    for (std::int64_t d = 0; d < call_.D; ++d) {
      float growth[16] = {walk_.carry[d]};
      call_.loops->exp(growth, 16, growth);
      call_.loops->scale(own + d * walk_.width, growth[0], walk_.width, own + d * walk_.width);
    }
    write_state(walk_, final, final_sum, own);
  }

  /// False, with the state as it was, where the chunk's values are not finite.
  bool multiply(float* own, bool exclusive) {
    if (!call_.table->finite(walk_.u.get(), walk_.count * walk_.width)) return false;
    if (call_.delta && !call_.table->finite(walk_.k.get(), walk_.count * walk_.depth)) return false;
    walk_.begin(own);
    if (call_.delta) walk_.solve(own, nullptr);
    walk_.read(own, exclusive, o_.get());
    walk_.absorb(own);
    return true;
  }

  void write(std::int64_t t, float* o, bool first) {
    const View& out = outputs_.out;
    const std::int64_t to = at(out, walk_.b, t, walk_.h) + walk_.first * out.strides[3];
    float* sum = outputs_.extras.sum && walk_.sum
                     ? static_cast<float*>(outputs_.extras.sum->data) + at(*outputs_.extras.sum, walk_.b, t, walk_.h)
                     : nullptr;
    if (!first) {
      for (std::int64_t e = 0; e < walk_.columns; ++e) o[e] += static_cast<const float*>(out.data)[to + e * out.strides[3]];
      if (sum) o[walk_.columns] += *sum;
    }
    if (out.dtype == DType::f32 && out.strides[3] == 1)
      std::copy_n(o, walk_.columns, static_cast<float*>(out.data) + to);
    else
      write_row(*call_.table, out, to, out.strides[3], walk_.columns, o);
    if (sum) *sum = o[walk_.columns];
  }

  const ScanCall& call_;
  const Outputs& outputs_;
  Walk walk_;
  const std::int64_t size_;
  Buffer states_, carries_, o_;
  std::vector<std::int64_t> places_;
  std::int64_t first_head_ = 0, last_head_ = 0;
};

}  // namespace
}  // namespace engine

inline namespace v0 {

void scan(const View& q, const View& k, const View& v, const View& out, const ScanOptions& options, const ScanExtras& extras,
          const Context& context) {
  using namespace engine;
  const ScanCall call = check_scan(q, k, v, options, extras.sum || extras.final_sum, context);
  if (out.dtype != q.dtype && out.dtype != DType::f32) fail("out", std::string(name_of(q.dtype)) + " or f32", name_of(out.dtype));
  const Shape shape{call.B, call.N, call.H, call.E};
  if (out.dtype != DType::f32) {
    View checked = out;
    checked.dtype = DType::f32;
    check_f32("out", checked, shape, true);
  } else {
    check_f32("out", out, shape, true);
  }
  check_f32("sum", extras.sum, Shape{call.B, call.N, call.H}, true);
  check_f32("final", extras.final, Shape{call.B, call.H, call.D, call.E}, true);
  check_f32("final_sum", extras.final_sum, Shape{call.B, call.H, call.D}, true);
  if (out.dtype != DType::f32 && options.direction == Direction::both) {  // the two passes are added before they are rounded
    const Tensor whole(DType::f32, shape);
    scan(q, k, v, whole, options, extras, context);
    for (std::int64_t i = 0; i < call.B * call.N * call.H; ++i) {
      const std::int64_t h = i % call.H, t = i / call.H % call.N, b = i / call.H / call.N;
      write_row(*call.table, out, at(out, b, t, h), out.strides[3], call.E, whole.data<float>() + i * call.E);
    }
    return;
  }
  const Outputs outputs{out, extras};
  const std::int64_t heads = call.B * call.H, columns = heads < 8 ? 64 : call.E, parts = (call.E + columns - 1) / columns;
  const int threads = base::thread_count(context.threads);
  const std::int64_t together = std::clamp<std::int64_t>(heads * parts / threads, 1, 8), groups = (call.H + together - 1) / together;
  std::vector<std::unique_ptr<Forward>> workers(static_cast<std::size_t>(threads));
  base::parallel(context.threads, call.B * groups * parts, [&](std::int64_t task, int worker) {
    const std::int64_t first = task % parts * columns, last = std::min(call.E, first + columns), head = task / parts % groups * together;
    auto& forward = workers[std::size_t(worker)];
    if (!forward || !forward->computes(first, last)) forward = std::make_unique<Forward>(call, outputs, first, last, together);
    forward->run(task / parts / groups, head, std::min(call.H, head + together));
  });
}

}  // namespace v0
}  // namespace heed
