// SPDX-License-Identifier: Apache-2.0
// The binary interface of DLPack 1.x, as far as it is used here (https://dmlc.github.io/dlpack/latest/c_api.html).
#pragma once
#include <cstdint>

namespace heed::python::dlpack {

enum Code : std::uint8_t { int_code = 0, uint_code = 1, float_code = 2, bfloat_code = 4, bool_code = 6 };
inline constexpr std::int32_t cpu = 1;
inline constexpr std::uint64_t read_only = 1;

struct Version {
  std::uint32_t major, minor;
};

struct DTypeCode {
  std::uint8_t code, bits;
  std::uint16_t lanes;
};

struct Array {
  void* data;
  std::int32_t device, device_id;
  std::int32_t rank;
  DTypeCode dtype;
  std::int64_t *shape, *strides;  // in elements; strides null: row-major
  std::uint64_t byte_offset;
};

struct Managed {
  Version version;
  void* context;
  void (*deleter)(Managed*);
  std::uint64_t flags;
  Array array;
};

/// What a type's `__dlpack_c_exchange_api__` points to: conversions without a Python call.
struct ExchangeApi {
  Version version;
  ExchangeApi* previous;
  int (*allocate)(Array*, Managed**, void*, void (*)(void*, const char*, const char*));
  int (*managed_from_object)(void*, Managed**);
  int (*object_from_managed)(Managed*, void**);
  int (*array_from_object)(void*, Array*);  // borrowed: valid while the object lives
  int (*current_stream)(std::int32_t, std::int32_t, void**);
};

}  // namespace heed::python::dlpack
