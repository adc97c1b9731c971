// SPDX-License-Identifier: Apache-2.0
// End-to-end memory networks (Sukhbaatar et al., 2015), adjacent tying: sentences as sums of word vectors, hops that read them,
//   m_i = sum_j l_j * A_k[x_ij] + TA_i,  c_i = sum_j A_{k+1}[x_ij] + TC_i,  p = softmax(m . u),  u += sum_i p_i c_i
//   te="time words": the last word of a sentence tells its time, and the encoding l multiplies m, c and the question
#include "heed/ops.h"
#include "mechanism/mechanism.h"

namespace heed::mechanism {
namespace {

struct Memn2n : Mechanism {
  Tensor story, question, encoding, ta, tc, out, weights, state, probabilities;
  std::vector<Tensor> tables;
  std::optional<std::int64_t> vocab_size, embd_size;
  std::int64_t hops = 3;
  Choice te = true;
  bool pe = true;
  std::string tying = "adjacent";

  bool time_words() const { return std::holds_alternative<std::string>(te); }
  bool timed() const { return !time_words() && std::get<bool>(te); }

  void describe(Declaration& d) override {
    d.param("vocab_size", vocab_size, "V").least(1).computed("from the weights");
    d.param("embd_size", embd_size, "d").least(1).computed("from the weights");
    d.param("hops", hops, "times the memory is read").least(1).most(1000);
    d.param("te", te, "a vector for each place in time is added; \"time words\": words tell it");
    d.param("pe", pe, "words are weighted by their places");
    d.param("tying", tying, "which tables are the same").one_of({"adjacent"});
    d.input("story", story, "B M J", "words of the sentences").of(DType::i64).between("0", "V-1");
    d.input("question", question, "B Jq", "words").of(DType::i64).between("0", "V-1");
    d.input("encoding", encoding, "J d", "the weights of the words, else computed")
        .when(time_words(), "te=\"time words\"")
        .optional()
        .no_gradient();
    tables.resize(std::size_t(hops + 1));
    for (std::size_t k = 0; k < tables.size(); ++k) {
      d.weight("A." + std::to_string(k) + ".weight", tables[k], "V d").when(!time_words(), "not time words");
      d.weight("C_" + std::to_string(k) + ".weight", tables[k], "V d").when(time_words(), "te=\"time words\"");
    }
    d.weight("TA", ta, "1 Mmax d").when(timed(), "te");
    d.weight("TC", tc, "1 Mmax d").when(timed(), "te");
    d.ignore("B.weight");  // the released code's second name of A.0
    d.size("M", "50");
    d.size("J", "8");
    d.size("Jq", "J");
    d.size("Mmax", "M");
    d.size("V", vocab_size ? "vocab_size" : "8000");
    d.size("d", embd_size ? "embd_size" : "D");
    d.output("out", out, "B V", time_words() ? "logits" : "log-softmax");
    d.output("weights", weights, "B hops M");
    d.output("u", state, "B d", "after the last hop").when(!time_words(), "not time words");
    d.output("probabilities", probabilities, "B V").when(time_words(), "te=\"time words\"");
  }

  /// l of the paper for J words, or the encoding of the time words, whose last row is 1.
  Tensor places(std::int64_t J, std::int64_t width) const {
    Tensor table(DType::f32, {J, width});
    for (std::int64_t j = 1; j <= J; ++j)
      for (std::int64_t k = 1; k <= width; ++k) {
        const double n = double(J), d = double(width);
        const double paper = (1 - double(j) / n) - double(k) / d * (1 - 2 * double(j) / n);
        const double words = j == J ? 1 : 1 + 4 * (double(k) - (d + 1) / 2) * (double(j) - (n + 1) / 2) / (d * n);
        table.data<float>()[(j - 1) * width + k - 1] = float(time_words() ? words : paper);
      }
    return table;
  }

  void check_words(const char* name, const Tensor& words) const {
    const auto V = tables[0].extent(0);
    const Tensor ids = words.dense();
    for (std::int64_t n = 0; n < ids.count(); ++n)
      if (const auto id = ids.data<std::int64_t>()[n]; id < 0 || id >= V)
        fail(std::string("input ") + name, "words 0 to " + std::to_string(V - 1) + " (0 to V-1)", std::to_string(id));
  }

  void run(Ops& ops) override {
    if (time_words() && std::get<std::string>(te) != "time words")
      fail("parameter te", "true, false or \"time words\"", std::get<std::string>(te));
    const auto B = story.extent(0), M = story.extent(1), J = story.extent(2), d = tables[0].extent(1);
    check_words("story", story);
    check_words("question", question);
    const Tensor code = encoding.defined() ? encoding : places(J, d);
    if (time_words()) {  // word 0 is padding
      Tensor kept = ops.full({tables[0].extent(0), 1}, 1);
      kept.data<float>()[0] = 0;
      for (Tensor& table : tables) table = ops.mul(table, kept);
      if (question.extent(1) > J) fail("input question", "at most " + std::to_string(J) + " words", std::to_string(question.extent(1)));
    }
    if (timed() && M > ta.extent(1)) fail("input story", "at most " + std::to_string(ta.extent(1)) + " sentences", std::to_string(M));
    const auto sentences = [&](const Tensor& table, bool encoded) {
      const Tensor words = ops.embedding(table, story);
      return ops.sum(encoded && pe ? ops.mul(words, code) : words, {2});
    };
    Tensor u = ops.embedding(tables[0], question);
    if (time_words() && pe) u = ops.mul(u, code.slice(0, 0, question.extent(1)));
    u = ops.sum(u, {1});
    std::vector<Tensor> read;
    for (std::size_t hop = 0; hop + 1 < tables.size(); ++hop) {
      Tensor m = sentences(tables[hop], true), c = sentences(tables[hop + 1], time_words());
      if (timed()) m = ops.add(m, ta.slice(1, 0, M)), c = ops.add(c, tc.slice(1, 0, M));
      const Tensor p = ops.softmax(ops.matmul(u.reshape({B, 1, d}), m.transpose(1, 2)), 2);
      read.push_back(p);
      u = ops.add(u, ops.matmul(p, c).reshape({B, d}));
    }
    weights = ops.concat(read, 1);
    state = u;
    const Tensor logits = ops.linear(u, tables.back());
    out = time_words() ? logits : ops.log_softmax(logits, 1);
    if (time_words()) probabilities = ops.softmax(logits, 1);
  }
};

}  // namespace
}  // namespace heed::mechanism

HEED_MECHANISM(memn2n, Memn2n, "memn2n", "seq2seq", "module", 2, "End-To-End Memory Networks")
