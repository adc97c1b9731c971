// SPDX-License-Identifier: Apache-2.0
// ColBERTv2 (Santhanam et al., 2022): late interaction, score(q, d) = sum_i max_j q_i . d_j over unit rows; and the codec of its index
// (nbits given): the nearest centroid of a row and its residual in 2^nbits buckets a dimension.
#include <algorithm>
#include <cmath>

#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct Colbertv2 : Mechanism {
  Tensor queries, documents, mask, embeddings, centroid, cutoffs, bucket_weights, out, maxsim, argmax, codes, residuals, buckets;
  std::string interaction = "colbert", similarity = "cosine";
  std::optional<std::int64_t> nbits, dim, centroids;

  void describe(Declaration& d) override {
    const bool codec = nbits.has_value();
    const std::string buckets_of_bits = std::to_string(1 << nbits.value_or(1)), between = std::to_string((1 << nbits.value_or(1)) - 1);
    d.param("interaction", interaction, "colbert: every query row; flipr: the best 32 of the first 64 rows, and the best 8 of the others")
        .one_of({"colbert", "flipr"});
    d.param("similarity", similarity, "product of unit rows, or -|q - d|^2, which as released does not look at the mask")
        .one_of({"cosine", "l2"});
    d.param("nbits", nbits, "bits a dimension; given, the codec runs").least(1).most(2).computed("none: Q and D are given");
    d.param("dim", dim, "d of the codec").least(1).computed("from embeddings");
    d.param("centroids", centroids, "K of the codec").least(1).computed("from centroids");
    d.input("Q", queries, "NQ Lq d", "unit rows of one query, or of one a document").when(!codec, "no nbits");
    d.input("D", documents, "ND Ld d", "unit rows").when(!codec, "no nbits");
    d.input("D_mask", mask, "ND Ld", "true where a document has a token").of(DType::boolean).example({"1"}).when(!codec, "no nbits");
    d.input("embeddings", embeddings, "T d", "rows to store").no_gradient().when(codec, "nbits");
    d.input("centroids", centroid, "K d", "rows of the codebook").no_gradient().when(codec, "nbits");
    d.input("bucket_cutoffs", cutoffs, between, "rising bounds of the buckets").example({"0.1*i-0.1"}).no_gradient().when(codec, "nbits");
    d.input("bucket_weights", bucket_weights, buckets_of_bits, "the value of each bucket").no_gradient().when(codec, "nbits");
    d.size("NQ", "1");
    d.size("Lq", "32");
    d.size("ND", "100");
    d.size("Ld", "128");
    d.size("d", "128");
    d.size("K", "256");
    d.output("out", out, codec ? "T d" : "ND");
    d.output("maxsim", maxsim, "ND Lq", "the best of each query row").when(!codec, "no nbits");
    d.output("argmax", argmax, "ND Lq", "where it is").of(DType::i64).when(!codec, "no nbits");
    d.output("codes", codes, "T", "nearest centroid").of(DType::i64).when(codec, "nbits");
    d.output("residuals", residuals, "T d*nbits/8", "bits of the buckets, the low one first, the first of eight the highest")
        .of(DType::u8)
        .when(codec, "nbits");
    d.output("buckets", buckets, "T d", "bucket of each residual").of(DType::i64).when(codec, "nbits");
    if (codec) d.no_gradients("the codec rounds");
  }

  void run(Ops& ops) override {
    if (nbits) return encode(ops);
    const auto ND = documents.extent(0), Ld = documents.extent(1);
    if (queries.extent(0) != 1 && queries.extent(0) != ND)
      fail("input Q", "1 or " + std::to_string(ND) + " queries", std::to_string(queries.extent(0)));
    const bool flipr = interaction == "flipr", l2 = similarity == "l2";
    if (flipr && l2) fail("parameter similarity", "cosine with interaction=flipr", "l2");
    Tensor scores = ops.matmul(queries, documents.transpose(1, 2));
    if (l2) {
      const auto squares = [&](const Tensor& rows) { return ops.sum(ops.square(rows), {2}, true); };
      scores = ops.sub(ops.sub(ops.scale(scores, 2), squares(queries)), squares(documents).transpose(1, 2));
    } else {
      scores = ops.where(mask.reshape({ND, 1, Ld}), scores, ops.full({}, -9999));
    }
    argmax = ops.argmax(ops.no_gradient(scores, "choice of the best"), 2);
    maxsim = ops.gather(scores, 2, argmax.reshape({ND, queries.extent(1), 1})).reshape({ND, queries.extent(1)});
    out = flipr ? best_rows(ops) : ops.sum(maxsim, {1});
  }

  /// The sum of the 32 best of the first 64 query rows and, where there are as many, of the 8 best of the others.
  Tensor best_rows(const Ops& ops) const {
    const auto rows = maxsim.extent(1), first = std::min<std::int64_t>(rows, 64);
    if (first < 32) fail("input Q", "at least 32 rows with interaction=flipr", std::to_string(rows));
    const auto best = [&](const Tensor& of, std::int64_t count) {
      const Tensor at = ops.topk(ops.no_gradient(of, "choice of the best"), count, 1).second;
      return ops.sum(ops.gather(of, 1, at), {1});
    };
    const Tensor sum = best(maxsim.slice(1, 0, first), 32);
    return rows < 64 + 8 ? sum : ops.add(sum, best(maxsim.slice(1, 64, rows - 64), 8));
  }

  void encode(const Ops& ops) {
    const auto T = embeddings.extent(0), d = embeddings.extent(1), bits = *nbits;
    if (d * bits % 8) fail("input embeddings", "a width whose bits fill bytes", std::to_string(d));
    codes = ops.argmax(ops.linear(embeddings, centroid), 1);
    const Tensor near = ops.embedding(centroid, codes), rest = ops.sub(embeddings, near), bounds = cutoffs.dense(),
                 values = bucket_weights.dense();
    buckets = Tensor::zeros(DType::i64, {T, d});
    residuals = Tensor::zeros(DType::u8, {T, d * bits / 8});
    Tensor coarse(DType::f32, {T, d});
    for (std::int64_t n = 0; n < T * d; ++n) {
      std::int64_t bucket = 0;
      for (std::int64_t c = 0; c < bounds.count(); ++c) bucket += bounds.data<float>()[c] < rest.data<float>()[n];
      buckets.data<std::int64_t>()[n] = bucket;
      coarse.data<float>()[n] = values.data<float>()[bucket];
      for (std::int64_t b = 0; b < bits; ++b)
        residuals.data<std::uint8_t>()[(n * bits + b) / 8] |= std::uint8_t(((bucket >> b) & 1) << (7 - (n * bits + b) % 8));
    }
    out = ops.l2_normalise(ops.add(near, coarse), 1);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(colbertv2, Colbertv2, "colbertv2", "recsys", "op", 2,
               "ColBERTv2: Effective and Efficient Retrieval via Lightweight Late Interaction")
