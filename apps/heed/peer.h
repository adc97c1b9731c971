// SPDX-License-Identifier: Apache-2.0
// The same mechanisms in eager torch, in a Python process of their own (bench/mechanisms.py).
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "heed/catalogue.h"

namespace heed::app {

/// What a run of the peer said.
struct PeerAnswer {
  std::vector<double> seconds;  ///< empty where it does not have the mechanism
  double error = 0;             ///< largest difference of its out from heed's, as a share of the largest |out|
  std::string note;             ///< why there is no time
};

class Peer {
 public:
  /// Starts `python` on the script; where that does not work, missing() says why and every answer has that note.
  Peer(const std::string& python, int threads);
  ~Peer();
  const std::string& missing() const { return missing_; }

  /// Hands over a mechanism, its tensors and what heed made of them; the answer holds the error or the note.
  PeerAnswer prepare(const std::string& slug, const Example& example, const Tensor& out);
  /// Runs what prepare() handed over.
  PeerAnswer run(int times);

 private:
  PeerAnswer ask(const std::string& request);

  std::string missing_, file_;
  int to_ = -1, from_ = -1;
  int pid_ = -1;
};

}  // namespace heed::app
