// bias_act: activations with first and second derivative, shared by the CPU and the CUDA kernels.
//
// y = clip(gain * f(u), -clamp, clamp) with u = x + bias. The piecewise linear activations find their
// derivative from the sign of y, so that x need not be kept; the smooth ones find it from u.
#pragma once

#include <cmath>

#include "elementary.h"
#include "portable.h"

namespace gansformer {

enum ActivationCode : int {
  kLinear = 0, kRelu, kLrelu, kTanh, kSigmoid, kElu, kSelu, kSoftplus, kSwish
};

struct BiasActPlan {
  std::int64_t rows;  // product of all axes but the last
  int channels;
  int activation;     // ActivationCode
  float alpha, gain;
  float clamp;        // infinity: none
};

constexpr float kSeluScale = 1.0507009873554805f, kSeluAlpha = 1.6732632423543772f;

SHARED_CODE constexpr bool is_piecewise_linear(int activation) { return activation <= kLrelu; }

SHARED_CODE float not_above_zero(float u) { return u > 0.0f ? 0.0f : u; }  // keeps NaN

SHARED_CODE float sigmoid_of(float u) {  // without overflow on either side
  const float e = exp_of_negative(-fabsf(u));
  return (u >= 0.0f ? 1.0f : e) / (1.0f + e);
}

template <int A>
SHARED_CODE float activate(float u, float alpha) {
  if (A == kRelu) return u < 0.0f ? 0.0f : u;
  if (A == kLrelu) return u > 0.0f ? u : u * alpha;
  if (A == kTanh) return tanh_of(u);
  if (A == kSigmoid) return sigmoid_of(u);
  if (A == kElu) return u >= 0.0f ? u : expm1_of_negative(not_above_zero(u));
  if (A == kSelu) return kSeluScale * (u >= 0.0f ? u : kSeluAlpha * expm1_of_negative(not_above_zero(u)));
  if (A == kSoftplus) return (u < 0.0f ? 0.0f : u) + log1p_of_fraction(exp_of_negative(-fabsf(u)));
  if (A == kSwish) return u * sigmoid_of(u);
  return u;
}

// f'(u); for the piecewise linear activations any number with the sign of u will do.
template <int A>
SHARED_CODE float first_derivative(float u, float alpha) {
  if (A == kRelu) return u > 0.0f ? 1.0f : 0.0f;
  if (A == kLrelu) return u > 0.0f ? 1.0f : alpha;
  if (A == kTanh) {
    const float t = tanh_of(u);
    return 1.0f - t * t;
  }
  if (A == kSigmoid) {
    const float s = sigmoid_of(u);
    return s * (1.0f - s);
  }
  if (A == kElu) return u >= 0.0f ? 1.0f : exp_of_negative(not_above_zero(u));
  if (A == kSelu) return kSeluScale * (u >= 0.0f ? 1.0f : kSeluAlpha * exp_of_negative(not_above_zero(u)));
  if (A == kSoftplus) return sigmoid_of(u);
  if (A == kSwish) {
    const float s = sigmoid_of(u);
    return s * (1.0f + u * (1.0f - s));
  }
  return 1.0f;
}

template <int A>
SHARED_CODE float second_derivative(float u) {
  if (A == kTanh) {
    const float t = tanh_of(u);
    return -2.0f * t * (1.0f - t * t);
  }
  if (A == kSigmoid || A == kSoftplus || A == kSwish) {
    const float s = sigmoid_of(u), slope = s * (1.0f - s);
    if (A == kSigmoid) return slope * (1.0f - 2.0f * s);
    return A == kSoftplus ? slope : slope * (2.0f + u * (1.0f - 2.0f * s));
  }
  if (A == kElu) return u >= 0.0f ? 0.0f : exp_of_negative(not_above_zero(u));
  if (A == kSelu) return u >= 0.0f ? 0.0f : kSeluScale * kSeluAlpha * exp_of_negative(not_above_zero(u));
  return 0.0f;
}

// The plan with the clamp as a stored y shows it: rounded to T, possibly below the exact one.
template <typename T>
BiasActPlan with_rounded_clamp(BiasActPlan plan) {
  T rounded;
  store(&rounded, plan.clamp);
  plan.clamp = to_float(rounded);
  return plan;
}

// y from u.
template <int A>
SHARED_CODE float bias_act_output(float u, const BiasActPlan& plan) {
  const float y = plan.gain * activate<A>(u, plan.alpha);
  if (y > plan.clamp) return plan.clamp;  // written so that NaN passes through
  return y < -plan.clamp ? -plan.clamp : y;
}

// dy/du; `known` is y for the piecewise linear activations and u for the others.
template <int A>
SHARED_CODE float bias_act_slope(float known, const BiasActPlan& plan) {
  const float y = is_piecewise_linear(A) ? known : plan.gain * activate<A>(known, plan.alpha);
  return fabsf(y) >= plan.clamp ? 0.0f : plan.gain * first_derivative<A>(known, plan.alpha);
}

// d2y/du2, for the smooth activations.
template <int A>
SHARED_CODE float bias_act_curvature(float u, const BiasActPlan& plan) {
  const float y = plan.gain * activate<A>(u, plan.alpha);
  return fabsf(y) >= plan.clamp ? 0.0f : plan.gain * second_derivative<A>(u);
}

}  // namespace gansformer
