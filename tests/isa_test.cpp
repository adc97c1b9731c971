// SPDX-License-Identifier: Apache-2.0
#include "isa/isa.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <iterator>
#include <optional>
#include <string>

#include "heed/doctor.h"
#include "heed/error.h"

namespace {

/// Sets HEED_ISA (nullptr: unsets it) and puts it back.
class Wanted {
 public:
  explicit Wanted(const char* name) {
    if (const char* before = std::getenv("HEED_ISA")) before_ = before;
    set(name);
  }
  ~Wanted() { set(before_ ? before_->c_str() : nullptr); }
  Wanted(const Wanted&) = delete;
  Wanted& operator=(const Wanted&) = delete;

 private:
  static void set(const char* name) { name ? setenv("HEED_ISA", name, 1) : unsetenv("HEED_ISA"); }
  std::optional<std::string> before_;
};

std::string refusal(const char* name) {
  const Wanted wanted(name);
  try {
    heed::default_isa();
  } catch (const heed::Error& error) {
    return error.what();
  }
  return "";
}

TEST(Isa, NamesRoundTrip) {
  for (const heed::Isa set : heed::isa::all) EXPECT_EQ(heed::isa::from_name(heed::name_of(set), "isa"), set);
}

TEST(Isa, EmulatedOnesAlwaysRun) {
  EXPECT_TRUE(heed::runs_here(heed::Isa::avx512_bf16_emulated));
  EXPECT_TRUE(heed::runs_here(heed::Isa::amx_emulated));
}

TEST(Isa, EnvironmentLowers) {
  for (const heed::Isa set : heed::isa::all) {
    if (!heed::runs_here(set)) continue;
    const Wanted wanted(heed::name_of(set));
    EXPECT_EQ(heed::default_isa(), set);
    EXPECT_EQ(heed::Context{}.isa, set);
  }
  for (const char* none : {static_cast<const char*>(nullptr), ""}) {
    const Wanted wanted(none);
    EXPECT_TRUE(heed::runs_here(heed::default_isa()));
    EXPECT_LE(heed::default_isa(), heed::Isa::amx);  // never an emulated one unasked
  }
}

TEST(Isa, EnvironmentRefusesUnknownNames) {
  const std::string said = refusal("avx1024");
  EXPECT_NE(said.find("avx1024"), std::string::npos) << said;
  for (const heed::Isa set : heed::isa::all) EXPECT_NE(said.find(heed::name_of(set)), std::string::npos) << said;
}

TEST(Isa, EnvironmentRefusesWhatDoesNotRun) {
  for (const heed::Isa set : heed::isa::all) {
    if (heed::runs_here(set)) {
      EXPECT_EQ(refusal(heed::name_of(set)), "");
    } else {
      EXPECT_NE(refusal(heed::name_of(set)).find("lacks "), std::string::npos) << refusal(heed::name_of(set));
    }
  }
}

TEST(Doctor, ListsEverySetWithItsReason) {
  const heed::Doctor doctor = heed::examine(false);
  ASSERT_EQ(doctor.isas.size(), std::size(heed::isa::all));
  for (std::size_t i = 0; i < doctor.isas.size(); ++i) {
    const heed::Isa set = heed::isa::all[i];
    EXPECT_EQ(doctor.isas[i].first, heed::name_of(set));
    EXPECT_EQ(doctor.isas[i].second == "runs", heed::runs_here(set));
    EXPECT_FALSE(doctor.isas[i].second.empty());
  }
  EXPECT_FALSE(doctor.cpu.empty());
  EXPECT_GE(doctor.threads, 1);
  EXPECT_FALSE(doctor.all.f32_fma.has_value());
}

TEST(Doctor, PeaksArePlausible) {
  const heed::Doctor doctor = heed::examine(true);
  const auto say = [](const char* name, const std::optional<double>& one, const std::optional<double>& all) {
    ASSERT_EQ(one.has_value(), all.has_value()) << name;
    if (!one) {
      std::cout << name << ": not on this machine\n";
      return;
    }
    std::cout << name << ": " << *one << " (one thread), " << *all << " (all)\n";
    EXPECT_GT(*one, 0) << name;
    EXPECT_GT(*all, 0) << name;
  };
  say("f32_fma", doctor.one.f32_fma, doctor.all.f32_fma);
  say("bf16_vdp", doctor.one.bf16_vdp, doctor.all.bf16_vdp);
  say("bf16_amx", doctor.one.bf16_amx, doctor.all.bf16_amx);
  say("int8", doctor.one.int8, doctor.all.int8);
  say("read", doctor.one.read, doctor.all.read);
  ASSERT_TRUE(doctor.one.f32_fma && doctor.all.f32_fma);
  EXPECT_GT(*doctor.one.f32_fma, 1);
  EXPECT_LT(*doctor.one.f32_fma, 1000);  // no core does 64 operations at 15 GHz
  EXPECT_EQ(doctor.one.bf16_vdp.has_value(), heed::runs_here(heed::Isa::avx512_bf16));
  EXPECT_EQ(doctor.one.bf16_amx.has_value(), heed::runs_here(heed::Isa::amx));
}

}  // namespace
