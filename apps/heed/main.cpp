// SPDX-License-Identifier: Apache-2.0
// The command line. Exit codes: 0 done, 1 the answer is no, 2 wrong use.
#include <fcntl.h>
#include <fmt/core.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <system_error>

#include "command.h"
#include "heed/attend.h"

namespace {

int run(int argc, char** argv) {
  CLI::App app{"heed: attention on CPUs"};
  app.require_subcommand(1);
  app.set_version_flag("--version", "heed " HEED_VERSION, "print the version");
  heed::app::Action action;
  for (const auto add : {heed::app::add_catalogue, heed::app::add_run, heed::app::add_compare, heed::app::add_doctor, heed::app::add_bench,
                         heed::app::add_generate})
    add(app, action);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& help) {
    return app.exit(help);
  } catch (const CLI::ParseError& error) {
    heed::app::refuse(app, error);
  }
  const char* log = std::getenv("HEED_LOG");
  if (log != nullptr && std::strcmp(log, "plan") == 0)
    heed::set_plan_log([](const std::string& plan) { fmt::print(stderr, "plan: {}\n", plan); });
  return action();
}

/// A file opened where a closed standard stream was would get its number, and what is printed.
void hold_streams() {
  for (int number = ::open("/dev/null", O_RDONLY); number >= 0; number = ::open("/dev/null", O_RDONLY))
    if (number > STDERR_FILENO) {
      ::close(number);
      return;
    }
}

}  // namespace

int main(int argc, char** argv) {
  hold_streams();
  try {
    const int code = run(argc, argv);  // a CPU without AVX2, or HEED_ISA, is refused before arguments are read
    if (std::fflush(stdout) != 0) heed::fail("standard output", "a stream that can be written", std::strerror(errno));
    return code;
  } catch (const std::system_error& error) {  // of fmt, in the middle of a long output
    fmt::print(stderr, "heed: standard output: expected a stream that can be written, got {}\n", std::strerror(error.code().value()));
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "heed: {}\n", error.what());
    return 2;
  }
}
