// SPDX-License-Identifier: Apache-2.0
#include <cmath>
#include <utility>

#include "heed/attend.h"
#include "heed/dist.h"
#include "schedule/ring.h"

namespace heed {
inline namespace v0 {
namespace {

using schedule::Block;

void checked(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  char text[MPI_MAX_ERROR_STRING];
  int length = 0;
  MPI_Error_string(code, text, &length);
  fail(call, "success", std::string(text, std::size_t(length)));
}

/// One rank a process; sends and receives run while the caller computes.
class MpiRing : public schedule::Ring {
 public:
  explicit MpiRing(MPI_Comm communicator) : communicator_(communicator) {
    checked(MPI_Comm_rank(communicator, &rank_), "MPI_Comm_rank");
    checked(MPI_Comm_size(communicator, &size_), "MPI_Comm_size");
  }
  ~MpiRing() override {
    if (!requests_.empty()) MPI_Waitall(int(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE);
  }
  std::int64_t ranks() const override { return size_; }
  std::vector<std::int64_t> here() const override { return {rank_}; }

  void pass(const std::vector<Block>& blocks, const std::vector<std::vector<Shape>>& coming) override {
    sent_.clear(), received_.clear();
    for (std::size_t i = 0; i < blocks[0].size(); ++i) {
      sent_.push_back(blocks[0][i].dense());
      received_.push_back(Tensor(sent_[i].dtype(), coming[0][i]));
      requests_.resize(requests_.size() + 2);
      checked(MPI_Irecv(received_[i].data<void>(), bytes(received_[i]), MPI_BYTE, (rank_ + size_ - 1) % size_, int(i), communicator_,
                        &requests_[requests_.size() - 2]),
              "MPI_Irecv");
      checked(MPI_Isend(sent_[i].data<void>(), bytes(sent_[i]), MPI_BYTE, (rank_ + 1) % size_, int(i), communicator_, &requests_.back()),
              "MPI_Isend");
    }
  }
  std::vector<Block> wait() override {
    const int code = MPI_Waitall(int(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE);
    requests_.clear();
    checked(code, "MPI_Waitall");
    return {std::exchange(received_, {})};
  }

 private:
  static int bytes(const Tensor& tensor) {
    const auto count = tensor.count() * std::int64_t(size_of(tensor.dtype()));
    if (count > 0x7fffffff) fail("block", "at most 2 GiB a process", std::to_string(count) + " bytes");
    return int(count);
  }
  MPI_Comm communicator_;
  int rank_ = 0, size_ = 1;
  Block sent_, received_;
  std::vector<MPI_Request> requests_;
};

schedule::RankTensors local_tensors(const MpiRing& ring, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t tokens,
                                    const RingOptions& o) {
  const auto span = schedule::span_of(ring.here()[0], ring.ranks(), tokens);
  for (const auto& [name, tensor] : {std::pair{"q", &q}, {"k", &k}, {"v", &v}}) {
    if (!tensor->defined() || tensor->rank() != 4 || tensor->extent(1) != span.count || tensor->dtype() != DType::f32)
      fail(name, "f32 (B, " + std::to_string(span.count) + ", heads, width), this process's tokens",
           tensor->defined() ? tensor->shape().text() : "none");
    if (tensor->extent(0) != q.extent(0)) fail(name, "batch " + std::to_string(q.extent(0)), tensor->shape().text());
  }
  if (o.causal_block < 0) fail("options.causal_block", "0 or more", std::to_string(o.causal_block));
  if (o.bias && (o.bias->dtype() != DType::f32 || o.bias->shape() != Shape{q.extent(0), 1, 1, span.count}))
    fail("options.bias", "f32 (B, 1, 1, n)", o.bias->shape().text());
  if (o.segments && (o.segments->dtype() != DType::i64 || o.segments->shape() != Shape{q.extent(0), span.count}))
    fail("options.segments", "i64 (B, n)", o.segments->shape().text());
  return {q, k, v, o.bias.value_or(Tensor()), o.segments.value_or(Tensor())};
}

}  // namespace

RingAttended ring_attend(MPI_Comm communicator, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t tokens,
                         const RingOptions& options, const Context& context) {
  MpiRing ring(communicator);
  const auto result =
      schedule::ring_attention(Ops(context, false), ring, {local_tensors(ring, q, k, v, tokens, options)}, tokens, options.causal_block)[0];
  return {result.sum.out, result.sum.lse, result.values_sent * std::int64_t(sizeof(float))};
}

RingGradients ring_attend_backward(MPI_Comm communicator, const Tensor& q, const Tensor& k, const Tensor& v, const RingAttended& forward,
                                   const Tensor& out_gradient, std::int64_t tokens, const RingOptions& options, const Context& context) {
  MpiRing ring(communicator);
  const auto own = local_tensors(ring, q, k, v, tokens, options);
  const Ops ops(context, false);
  const std::int64_t P = ring.ranks(), rank = ring.here()[0];
  // The block that travels: keys, values, what they gathered, and what their scores need.
  Block block{k, v, Tensor::zeros(DType::f32, k.shape()), Tensor::zeros(DType::f32, v.shape())};
  for (const Tensor& extra : {own.bias, own.segments})
    if (extra.defined()) block.push_back(extra);
  Tensor of_q = Tensor::zeros(DType::f32, q.shape());
  for (std::int64_t step = 0; step < P; ++step) {
    const std::int64_t resident = schedule::resident_of(rank, step, P), c = options.causal_block;
    const auto at = schedule::span_of(rank, P, tokens), keys = schedule::span_of(resident, P, tokens);
    const bool seen = at.count > 0 && keys.count > 0 && (c == 0 || (at.begin + at.count - 1) / c >= keys.begin / c);
    if (seen) {
      AttendOptions o;
      const Tensor mask = schedule::visible_pairs(at, keys, c, own.segments, own.segments.defined() ? block.back() : Tensor());
      if (mask.defined()) o.mask = mask.view();
      if (own.bias.defined()) o.bias = block[4].view();
      const Tensor dq(DType::f32, q.shape()), dk(DType::f32, block[0].shape()), dv(DType::f32, block[1].shape());
      attend_backward(q, block[0], block[1], forward.out, forward.lse, out_gradient,
                      {.q = dq.view(), .k = dk.view(), .v = dv.view(), .part = true}, o, context);
      of_q = ops.add(of_q, dq);
      block[2] = ops.add(block[2], dk), block[3] = ops.add(block[3], dv);
    }
    // One more pass than forward: the gradients come home.
    const std::int64_t next = schedule::resident_of(rank, step + 1, P);
    ring.pass({block}, {schedule::shapes_with(block, schedule::span_of(next, P, tokens).count)});
    block = ring.wait()[0];
  }
  return {of_q, block[2], block[3]};
}

RingAttended ring_self_attend(MPI_Comm communicator, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t tokens,
                              const Context& context) {
  MpiRing ring(communicator);
  if (tokens % ring.ranks()) fail("tokens", "a multiple of " + std::to_string(ring.ranks()), std::to_string(tokens));
  const auto own = local_tensors(ring, q, k, v, tokens, {});
  const auto result =
      schedule::ring_self_attention(Ops(context, false), ring, {own}, {Tensor()}, tokens, 1 / std::sqrt(float(q.extent(3))))[0];
  return {result.out, {}, result.values_sent * std::int64_t(sizeof(float))};
}

}  // namespace v0
}  // namespace heed
