// SPDX-License-Identifier: Apache-2.0
// scan(): a task is a head of a sequence, or where heads are few some of its columns, which never meet.
#include "engine/scan.h"

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
  Forward(const ScanCall& call, const Outputs& outputs, std::int64_t first, std::int64_t last)
      : call_(call), outputs_(outputs), walk_(call, first, last, call.sum && last == call.E), state_(walk_.depth * walk_.width),
        o_(walk_.rows * walk_.width) {}

  bool computes(std::int64_t first, std::int64_t last) const { return walk_.first == first && walk_.first + walk_.columns == last; }

  void run(std::int64_t b, std::int64_t h) {
    for (std::int64_t t = call_.length(b); t < call_.N; ++t) {
      std::memset(o_.get(), 0, std::size_t(walk_.width) * sizeof(float));
      walk_.b = b, walk_.h = h;
      write(t, o_.get(), true);
    }
    const Direction direction = call_.options.direction;
    pass(b, h, direction == Direction::reverse, call_.options.exclusive, true);
    if (direction == Direction::both) pass(b, h, true, true, false);
  }

 private:
  /// The first pass has the states; the second adds to the output.
  void pass(std::int64_t b, std::int64_t h, bool reverse, bool exclusive, bool first) {
    walk_.open(b, h, reverse);
    float *state = state_.get(), *own = state;
    const std::int64_t length = call_.length(b);
    const auto &initial = call_.options.initial, &final = outputs_.extras.final;
    if (first && length == 1) {  // decoding: from memory to memory
      walk_.load(0, 1);
      const float* from = in_place(walk_, initial);
      float* to = in_place(walk_, final);
      const std::int64_t from_row = from ? initial->strides[2] : walk_.width, to_row = to ? final->strides[2] : walk_.width;
      if (!from) read_state(walk_, initial, call_.options.initial_sum, own), from = own;
      step(walk_, from, from_row, to ? to : own, to_row, exclusive, o_.get());
      write(walk_.token(0), o_.get(), true);
      if (!to) write_state(walk_, final, outputs_.extras.final_sum, own);
      return;
    }
    if (first) read_state(walk_, initial, call_.options.initial_sum, state);
    else std::memset(state, 0, std::size_t(walk_.depth * walk_.width) * sizeof(float));
    for (std::int64_t s = 0; s < length; s = walk_.advance()) {
      walk_.load(s, call_.chunk);
      // What is not finite may not reach tokens before it through the zeros above the diagonal.
      if (walk_.count > 1 && !chunk(exclusive)) walk_.load(s, 1);
      if (walk_.count == 1) step(walk_, state, walk_.width, state, walk_.width, exclusive, o_.get());
      for (int i = 0; i < walk_.count; ++i) write(walk_.token(i), o_.get() + i * walk_.width, first);
    }
    if (!first || (!final && !outputs_.extras.final_sum)) return;
    for (std::int64_t d = 0; d < call_.D; ++d) {
      float growth[16] = {call_.decays ? walk_.carry[std::size_t(d)] : 0};
      call_.loops->exp(growth, 16, growth);
      call_.loops->scale(state + d * walk_.width, growth[0], walk_.width, state + d * walk_.width);
    }
    write_state(walk_, final, outputs_.extras.final_sum, state);
  }

  /// False, with the state as it was, where the chunk's values are not finite.
  bool chunk(bool exclusive) {
    if (!call_.table->finite(walk_.u.get(), walk_.count * walk_.width)) return false;
    if (call_.delta && !call_.table->finite(walk_.k.get(), walk_.count * walk_.depth)) return false;
    walk_.begin(state_.get());
    if (call_.delta) walk_.solve(state_.get(), nullptr);
    walk_.read(state_.get(), exclusive, o_.get());
    walk_.absorb(state_.get());
    return true;
  }

  void write(std::int64_t t, float* o, bool first) {
    const View& out = outputs_.out;
    const std::int64_t to = at(out, walk_.b, t, walk_.h) + walk_.first * out.strides[3];
    float* sum = outputs_.extras.sum && walk_.sum ? static_cast<float*>(outputs_.extras.sum->data) + at(*outputs_.extras.sum, walk_.b, t, walk_.h) : nullptr;
    if (!first) {
      for (std::int64_t e = 0; e < walk_.columns; ++e) o[e] += static_cast<const float*>(out.data)[to + e * out.strides[3]];
      if (sum) o[walk_.columns] += *sum;
    }
    if (out.dtype == DType::f32 && out.strides[3] == 1) std::memcpy(static_cast<float*>(out.data) + to, o, std::size_t(walk_.columns) * sizeof(float));
    else write_row(out, to, out.strides[3], walk_.columns, o);
    if (sum) *sum = o[walk_.columns];
  }

  const ScanCall& call_;
  const Outputs& outputs_;
  Walk walk_;
  Buffer state_, o_;
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
      write_row(out, at(out, b, t, h), out.strides[3], call.E, whole.data<float>() + i * call.E);
    }
    return;
  }
  const Outputs outputs{out, extras};
  const std::int64_t heads = call.B * call.H, columns = heads < 8 ? 64 : call.E, parts = (call.E + columns - 1) / columns;
  std::vector<std::unique_ptr<Forward>> workers(std::size_t(base::thread_count(context.threads)));
  base::parallel(context.threads, heads * parts, [&](std::int64_t task, int worker) {
    const std::int64_t first = task % parts * columns, last = std::min(call.E, first + columns), head = task / parts;
    auto& forward = workers[std::size_t(worker)];
    if (!forward || !forward->computes(first, last)) forward = std::make_unique<Forward>(call, outputs, first, last);
    forward->run(head / call.H, head % call.H);
  });
}

}  // namespace v0
}  // namespace heed
