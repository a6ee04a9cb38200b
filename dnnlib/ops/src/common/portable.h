// What lets one source serve the CPU (g++) and CUDA (NVRTC): the function mark and the number types.
#pragma once

#ifdef __CUDACC_RTC__  // it has no headers
namespace std {
using int64_t = long;
using uint16_t = unsigned short;
using uint32_t = unsigned int;
using uint64_t = unsigned long;
}  // namespace std
#else
#include <cstdint>
#include <cstring>
#endif

#ifdef GANSFORMER_KERNELS_ONLY
#define SHARED_CODE __device__ __forceinline__
#define UNROLL _Pragma("unroll")
#else
#define SHARED_CODE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")
#endif

namespace gansformer {

// Storage types. All arithmetic is done in float; results are rounded once, to nearest even.
struct BFloat16 {
  std::uint16_t bits;
};
struct Float16 {
  std::uint16_t bits;
};

enum ElementType : int { kFloat32 = 0, kBFloat16 = 1, kFloat16 = 2 };

SHARED_CODE std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  memcpy(&bits, &value, sizeof(bits));
  return bits;
}

SHARED_CODE float float_of(std::uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

SHARED_CODE float to_float(float value) { return value; }

SHARED_CODE float to_float(BFloat16 value) {
  return float_of(static_cast<std::uint32_t>(value.bits) << 16);
}

SHARED_CODE void store(float* target, float value) { *target = value; }

SHARED_CODE void store(BFloat16* target, float value) {
  const std::uint32_t bits = bits_of(value);
  const std::uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  // Rounding would carry some NaNs over into infinity or zero.
  target->bits = static_cast<std::uint16_t>(value == value ? rounded >> 16 : 0x7fc0u);
}

#ifdef GANSFORMER_KERNELS_ONLY
SHARED_CODE float to_float(Float16 value) {
  float result;
  asm("cvt.f32.f16 %0, %1;" : "=f"(result) : "h"(value.bits));
  return result;
}
SHARED_CODE void store(Float16* target, float value) {
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(target->bits) : "f"(value));
}
#elif defined(__FLT16_MAX__)
SHARED_CODE float to_float(Float16 value) {
  _Float16 half;
  memcpy(&half, &value, sizeof(half));
  return static_cast<float>(half);
}
SHARED_CODE void store(Float16* target, float value) {
  const _Float16 half = static_cast<_Float16>(value);
  memcpy(target, &half, sizeof(half));
}
#else  // compilers without a half type: slower, the same numbers
inline float to_float(Float16 value) {
  const std::uint32_t sign = (value.bits & 0x8000u) << 16, magnitude = value.bits & 0x7fffu;
  if (magnitude >= 0x7c00u) return float_of(sign | 0x7f800000u | ((magnitude & 0x3ffu) << 13));
  if (magnitude >= 0x0400u) return float_of(sign | ((magnitude << 13) + 0x38000000u));
  const float small = static_cast<float>(magnitude) * 5.9604644775390625e-8f;  // 2^-24
  return sign ? -small : small;
}
inline void store(Float16* target, float value) {
  const std::uint32_t bits = bits_of(value), magnitude = bits & 0x7fffffffu;
  std::uint32_t half;
  if (magnitude > 0x7f800000u) {
    half = 0x7e00u;
  } else if (magnitude >= 0x477ff000u) {
    half = 0x7c00u;
  } else if (magnitude >= 0x38800000u) {
    half = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  } else {  // subnormal: adding 0.5 leaves the rounded multiple of 2^-24 in the last bits
    half = bits_of(float_of(magnitude) + 0.5f) - 0x3f000000u;
  }
  target->bits = static_cast<std::uint16_t>((bits >> 16 & 0x8000u) | half);
}
#endif

}  // namespace gansformer
