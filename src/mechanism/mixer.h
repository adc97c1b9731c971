// SPDX-License-Identifier: Apache-2.0
// Ways for a mechanism to become a mixer in a line or two: what to keep, and the options of attend() for a chunk.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "cache/key_values.h"
#include "heed/attend.h"
#include "mechanism/mechanism.h"
#include "heed/ops.h"

namespace heed::mechanism {

/// All keys and values that were read.
struct FullCache : Mixer::State {
  explicit FullCache(const Layer& of) : layer(of), kv(of.kept, of.capacity, of.kv_heads, of.key_width, of.value_width) {}
  std::int64_t bytes() const override { return kv.bytes(); }
  Layer layer;
  cache::KeyValues kv;
};

/// The queries at first, ... and the keys at from, ..., from + keys of them; the last query is the last key.
struct Chunk {
  std::int64_t first, queries, from, keys, heads;
};

/// Keeps everything and calls attend(), causal and within the model's own window; keys that no query of the chunk sees through
/// window_left are not passed.
class CachedMixer : public Mixer {
 public:
  std::unique_ptr<State> open(const Layer& layer) override { return std::make_unique<FullCache>(layer); }
  void read(State& state, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t first, const View& out, Ops& ops) override;

 protected:
  virtual AttendOptions mixing() { return {}; }
  /// Keys are passed from a multiple of this on.
  virtual std::int64_t key_block() const { return 1; }
  /// Fills what depends on the chunk: a mask or blocks, in tensors that live in the mixer.
  virtual void mix_chunk(AttendOptions&, const Chunk&) {}
};

/// Keeps the first `sinks` tokens and the last `left` before the chunk, as a window is left behind: (sinks + left + slack) tokens at
/// most. Keys keep the rotation of their place in the text (StreamingLLM turns them anew by their place in the cache).
class WindowMixer : public Mixer {
 public:
  std::unique_ptr<State> open(const Layer& layer) override;
  void read(State& state, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t first, const View& out, Ops& ops) override;

 protected:
  struct Look {
    std::int64_t sinks, left;  ///< left < 0: unlimited
    AttendOptions options;
  };
  virtual Look look() = 0;
};

/// Runs the one-shot body over the prompt, and exact attention over everything after it.
class PromptMixer : public CachedMixer {
 public:
  void read(State& state, const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t first, const View& out, Ops& ops) override;
  bool whole_prompt() const override { return true; }

 protected:
  /// q (1, n, H, D), k and v (1, n, G, D), f32; returns (1, n, H, D), f32. `kept`: what the cache rounds keys and values to.
  virtual Tensor read_prompt(const Tensor& q, const Tensor& k, const Tensor& v, DType kept, Ops& ops) = 0;
};

/// attend() of f32 queries over keys and values of any dtype.
void attend_rounded(const Tensor& q, const Tensor& k, const Tensor& v, const View& out, const AttendOptions& options, const Ops& ops,
                    const AttendExtras& extras = {});

}  // namespace heed::mechanism
