// SPDX-License-Identifier: Apache-2.0
// SDIM (Cao et al., 2022): signatures of hash_bits signs of random projections stand in for the similarity of a target and its behaviours,
//   out = 1/G sum_g norm(sum of the behaviours j whose signature g is the target's)
#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct Sdim : Mechanism {
  Tensor q, sequence, mask, rotations, out, hits, sequence_bucket, target_bucket;
  std::int64_t num_hashes = 16, hash_bits = 3;
  std::optional<std::int64_t> m, tau;
  bool l2_norm = true;

  void describe(Declaration& d) override {
    d.param("num_hashes", num_hashes, "G, signatures").least(1);
    d.param("hash_bits", hash_bits, "bits a signature").least(1).most(62);
    d.param("l2_norm", l2_norm, "the sum of each signature is normalised, as in the paper");
    d.param("m", m, "projections").least(1).computed("num_hashes*hash_bits");
    d.param("tau", tau, "the paper's name of hash_bits").least(1).computed("hash_bits");
    d.input("q", q, "B d", "target");
    d.input("sequence", sequence, "B L d", "behaviours");
    d.input("mask", mask, "B L", "1 where a behaviour is valid").optional().no_gradient();
    d.weight("random_rotations", rotations, "1 d num_hashes hash_bits").init(Init::normal).no_gradient();
    d.output("out", out, "B d");
    d.output("hits", hits, "B num_hashes L", "1 where a valid behaviour shares the target's bucket");
    d.output("sequence_bucket", sequence_bucket, "B L num_hashes").of(DType::i64);
    d.output("target_bucket", target_bucket, "B num_hashes").of(DType::i64);
  }

  /// x (..., d) -> the bucket of each signature (..., G): bit t where the projection is above 0.
  Tensor buckets(const Ops& ops, const Tensor& x) const {
    const Tensor along = ops.matmul(ops.no_gradient(x, "hash"), rotations.reshape({x.extent(-1), num_hashes * hash_bits})).dense();
    auto extents = x.shape().vector();
    extents.back() = num_hashes;
    Tensor bucket = Tensor::zeros(DType::i64, Shape(extents));
    for (std::int64_t n = 0; n < bucket.count(); ++n)
      for (std::int64_t t = 0; t < hash_bits; ++t)
        if (along.data<float>()[n * hash_bits + t] > 0) bucket.data<std::int64_t>()[n] |= std::int64_t(1) << t;
    return bucket;
  }

  void run(Ops& ops) override {
    if (m && *m != num_hashes * hash_bits) fail("parameter m", std::to_string(num_hashes * hash_bits), std::to_string(*m));
    if (tau && *tau != hash_bits) fail("parameter tau", std::to_string(hash_bits), std::to_string(*tau));
    const auto B = sequence.extent(0), L = sequence.extent(1), G = num_hashes;
    target_bucket = buckets(ops, q);
    sequence_bucket = buckets(ops, sequence);
    const Tensor same = Tensor::zeros(DType::f32, {B, G, L});
    for (std::int64_t b = 0; b < B; ++b)
      for (std::int64_t j = 0; j < L; ++j)
        for (std::int64_t g = 0; g < G; ++g)
          same.data<float>()[(b * G + g) * L + j] =
              sequence_bucket.data<std::int64_t>()[(b * L + j) * G + g] == target_bucket.data<std::int64_t>()[b * G + g];
    hits = mask.defined() ? ops.mul(same, mask.reshape({B, 1, L})) : same;
    Tensor sums = ops.matmul(hits, sequence);
    if (l2_norm) sums = ops.l2_normalise(sums, -1);
    out = ops.mean(sums, {1});
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(sdim, Sdim, "sdim", "recsys", "op", 2, "Sampling Is All You Need on Modeling Long-Term User Behaviors for CTR Prediction")
