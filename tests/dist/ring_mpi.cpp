// SPDX-License-Identifier: Apache-2.0
// Run by mpirun: ring attention over processes beside the same attention in one. Every process computes the whole from the same
// seeded tensors and compares its part; exit code 1 says that one did not fit.
#include <cmath>
#include <cstdio>
#include <cstring>

#include "base/random.h"
#include "heed/attend.h"
#include "heed/dist.h"
#include "schedule/ring.h"

using namespace heed;

namespace {

int failures = 0;

void expect(bool holds, const char* what, int rank) {
  if (holds) return;
  std::fprintf(stderr, "process %d: %s\n", rank, what);
  ++failures;
}

Tensor draw(const Shape& shape, std::uint64_t stream) {
  Tensor tensor(DType::f32, shape);
  const base::Random random(7, stream);
  for (std::int64_t i = 0; i < tensor.count(); ++i) tensor.data<float>()[i] = float(random.normal(std::uint64_t(i)));
  return tensor;
}

double distance(const Tensor& a, const Tensor& b) {
  const Tensor x = a.dense(), y = b.dense();
  double most = x.shape() == y.shape() ? 0 : INFINITY;
  for (std::int64_t i = 0; i < x.count() && i < y.count(); ++i)
    most = std::max(most, double(std::abs(x.data<float>()[i] - y.data<float>()[i])));
  return most;
}

bool same_bits(const Tensor& a, const Tensor& b) {
  const Tensor x = a.dense(), y = b.dense();
  return x.shape() == y.shape() && std::memcmp(x.raw<float>(), y.raw<float>(), std::size_t(x.count()) * sizeof(float)) == 0;
}

void check(int rank, int ranks, std::int64_t N, std::int64_t causal_block, std::int64_t G) {
  const std::int64_t B = 2, H = 4, D = 8;
  const Tensor q = draw({B, N, H, D}, 1), k = draw({B, N, G, D}, 2), v = draw({B, N, G, D}, 3), g = draw({B, N, H, D}, 4);
  const auto [begin, count] = schedule::span_of(rank, ranks, N);
  const auto mine = [begin = begin, count = count](const Tensor& x) { return x.slice(1, begin, count); };
  // The whole, in one process. 16 eps for each of the at most `ranks` merges of values of size about 1.
  const double tolerance = 16 * 6e-8 * ranks + 1e-5;
  Tensor out(DType::f32, q.shape()), lse(DType::f32, {B, H, N}), dq(DType::f32, q.shape()), dk(DType::f32, k.shape()),
      dv(DType::f32, v.shape());
  AttendOptions o;
  Tensor mask(DType::boolean, {1, 1, N, N});
  for (std::int64_t i = 0; i < N; ++i)
    for (std::int64_t j = 0; j < N; ++j) mask.data<std::uint8_t>()[i * N + j] = causal_block == 0 || i / causal_block >= j / causal_block;
  o.mask = mask.view();
  attend(q, k, v, out, o, {.lse = lse.view()});
  attend_backward(q, k, v, out, lse, g, {.q = dq.view(), .k = dk.view(), .v = dv.view()}, o);
  RingOptions options;
  options.causal_block = causal_block;
  const auto got = ring_attend(MPI_COMM_WORLD, mine(q), mine(k), mine(v), N, options);
  const auto again = ring_attend(MPI_COMM_WORLD, mine(q), mine(k), mine(v), N, options);
  expect(distance(got.out, mine(out)) <= tolerance, "ring_attend: out", rank);
  expect(distance(got.lse, lse.slice(2, begin, count)) <= tolerance, "ring_attend: lse", rank);
  expect(same_bits(got.out, again.out), "ring_attend: other bits in a second run", rank);
  std::int64_t bytes = 0;  // k and v of the ranks - 1 blocks that pass
  for (int step = 0; step + 1 < ranks; ++step)
    bytes += 2 * B * schedule::span_of(schedule::resident_of(rank, step, ranks), ranks, N).count * G * D * std::int64_t(sizeof(float));
  expect(got.bytes_sent == bytes, "ring_attend: bytes sent", rank);
  const auto back = ring_attend_backward(MPI_COMM_WORLD, mine(q), mine(k), mine(v), got, mine(g).dense(), N, options);
  expect(distance(back.q, mine(dq)) <= 10 * tolerance, "ring_attend_backward: q", rank);
  expect(distance(back.k, mine(dk)) <= 10 * tolerance, "ring_attend_backward: k", rank);
  expect(distance(back.v, mine(dv)) <= 10 * tolerance, "ring_attend_backward: v", rank);
  if (N % ranks == 0 && causal_block == 0) {
    const Tensor keys = draw({B, N, H, D}, 5), values = draw({B, N, H, D}, 6);
    attend(q, keys, values, out);
    const auto two = ring_self_attend(MPI_COMM_WORLD, mine(q), mine(keys), mine(values), N);
    expect(distance(two.out, mine(out)) <= tolerance, "ring_self_attend: out", rank);
    expect(two.bytes_sent == 2 * (ranks - 1) * B * (N / ranks) * H * D * std::int64_t(sizeof(float)), "ring_self_attend: bytes sent", rank);
  }
  bool refused = false;
  try {
    ring_attend(MPI_COMM_WORLD, mine(q), mine(k), mine(v), N + 100 * ranks, options);
  } catch (const Error&) {
    refused = true;
  }
  expect(refused, "a wrong number of tokens was taken", rank);
}

}  // namespace

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0, ranks = 1;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  for (const std::int64_t N : {32, 30, 5})
    for (const std::int64_t causal_block : {0, 1, 3})
      for (const std::int64_t key_heads : {2, 1}) check(rank, ranks, N, causal_block, key_heads);
  int all = 0;
  MPI_Allreduce(&failures, &all, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
  if (rank == 0) std::printf("ring attention on %d processes: %s\n", ranks, all ? "FAILED" : "ok");
  MPI_Finalize();
  return all != 0;
}
