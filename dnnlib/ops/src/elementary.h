// exp, tanh, expm1 and log1p for the arguments that activations need.
//
// CUDA has them built in. On the CPU the C library's are called one value at a time; these are plain
// arithmetic, so that the compiler turns them into vector instructions. Accurate to about 2e-7
// relative. Polynomials: exp and tanh as in Moshier's Cephes library, log1p from its series.
#pragma once

#include <cmath>

#include "portable.h"

namespace gansformer {

#ifdef __CUDACC__

SHARED_CODE float exp_of_negative(float x) { return expf(x); }
SHARED_CODE float expm1_of_negative(float x) { return expm1f(x); }
SHARED_CODE float log1p_of_fraction(float x) { return log1pf(x); }
SHARED_CODE float tanh_of(float x) { return tanhf(x); }

#else

// exp(x) for x <= 0; exp(-87) is the smallest result.
SHARED_CODE float exp_of_negative(float x) {
  x = x < -87.0f ? -87.0f : x;
  const float shifter = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float n = (x * 1.44269504088896341f + shifter) - shifter;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float power = float_of(static_cast<std::uint32_t>(static_cast<int>(n) + 127) << 23);
  return (p * r * r + r + 1.0f) * power;
}

SHARED_CODE float tanh_of(float x) {
  const float magnitude = std::fabs(x), square = x * x;
  float p = -5.70498872745e-3f;
  p = p * square + 2.06390887954e-2f;
  p = p * square - 5.37397155531e-2f;
  p = p * square + 1.33314422036e-1f;
  p = p * square - 3.33332819422e-1f;
  const float small = p * square * x + x;
  const float e = exp_of_negative(-2.0f * magnitude);
  const float large = std::copysign((1.0f - e) / (1.0f + e), x);
  return magnitude < 0.625f ? small : large;
}

// exp(x) - 1 for x <= 0.
SHARED_CODE float expm1_of_negative(float x) {
  const float t = tanh_of(0.5f * x);
  return 2.0f * t / (1.0f - t);
}

// log(1 + x) for 0 <= x <= 1.
SHARED_CODE float log1p_of_fraction(float x) {
  const float s = x / (2.0f + x), square = s * s;
  float p = 1.0f / 13.0f;
  p = p * square + 1.0f / 11.0f;
  p = p * square + 1.0f / 9.0f;
  p = p * square + 1.0f / 7.0f;
  p = p * square + 1.0f / 5.0f;
  p = p * square + 1.0f / 3.0f;
  return 2.0f * s * (1.0f + square * p);
}

#endif

}  // namespace gansformer
