// SPDX-License-Identifier: Apache-2.0
#include "peer.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "heed/safetensors.h"

extern char** environ;

namespace heed::app {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

/// The Python of the checkout where it has one, as it is the one with torch.
std::string usual_python() {
  const fs::path own = fs::path(HEED_SCRIPTS).parent_path() / ".venv/bin/python";
  return fs::exists(own) ? own.string() : "python3";
}

}  // namespace

Peer::Peer(const std::string& python, int threads) {
  const std::string program = python.empty() ? usual_python() : python, script = std::string(HEED_SCRIPTS) + "/mechanisms.py";
  if (!fs::exists(script)) {
    missing_ = "no " + script + ": the torch code is in heed's sources";
    return;
  }
  signal(SIGPIPE, SIG_IGN);  // a peer that ends is an answer, not the end
  int requests[2], answers[2];
  if (pipe2(requests, O_CLOEXEC) != 0 || pipe2(answers, O_CLOEXEC) != 0) {
    missing_ = std::string("pipe: ") + std::strerror(errno);
    return;
  }
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, requests[0], 0);
  posix_spawn_file_actions_adddup2(&actions, answers[1], 1);
  const std::string count = std::to_string(threads);
  std::array<const char*, 5> arguments{program.c_str(), script.c_str(), "--threads", count.c_str(), nullptr};
  const int failed = posix_spawnp(&pid_, program.c_str(), &actions, nullptr, const_cast<char**>(arguments.data()), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(requests[0]);
  close(answers[1]);
  to_ = requests[1], from_ = answers[0];
  if (failed) {
    pid_ = -1;
    missing_ = "no " + program + ": install Python 3 and torch (python3 -m pip install torch), or name one with --python";
    return;
  }
  file_ = (fs::temp_directory_path() / ("heed-bench-" + std::to_string(getpid()) + ".safetensors")).string();
  const PeerAnswer hello = ask("{}");
  if (!hello.note.empty())
    missing_ =
        hello.note == "ended" ? program + " has no torch: " + program + " -m pip install torch, or name another with --python" : hello.note;
}

Peer::~Peer() {
  if (to_ >= 0) close(to_);
  if (from_ >= 0) close(from_);
  if (pid_ > 0) waitpid(pid_, nullptr, 0);
  std::error_code ignored;
  if (!file_.empty()) fs::remove(file_, ignored);
}

PeerAnswer Peer::ask(const std::string& request) {
  const std::string line = request + "\n";
  std::string text;
  for (std::size_t at = 0; at < line.size();) {
    const auto n = write(to_, line.data() + at, line.size() - at);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return {{}, 0, "ended"};
    at += std::size_t(n);
  }
  while (text.empty() || text.back() != '\n') {
    std::array<char, 4096> some;
    const auto n = read(from_, some.data(), some.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return {{}, 0, "ended"};
    text.append(some.data(), std::size_t(n));
  }
  const json answer = json::parse(text, nullptr, false);
  if (!answer.is_object()) return {{}, 0, "answered '" + text.substr(0, 60) + "'"};
  return {answer.value("seconds", std::vector<double>{}), answer.value("error", 0.0), answer.value("note", std::string())};
}

PeerAnswer Peer::prepare(const std::string& slug, const Example& example, const Tensor& out) {
  if (!missing_.empty()) return {{}, 0, missing_};
  SafeTensors file;
  for (const auto& [name, tensor] : example.inputs) file.tensors["in." + name] = tensor;
  for (const auto& [name, tensor] : example.weights) file.tensors["weight." + name] = tensor;
  file.tensors["out.out"] = out;
  write_safetensors(file_, file);
  return ask(json{{"slug", slug}, {"params", json::parse(example.params)}, {"file", file_}}.dump());
}

PeerAnswer Peer::run(int times) { return ask(json{{"run", times}}.dump()); }

}  // namespace heed::app
