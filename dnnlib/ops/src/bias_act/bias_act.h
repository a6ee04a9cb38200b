// bias_act with an activation that has one slope above zero and one below: value and slope, shared by
// the CPU and the CUDA kernels.
//
// y = clip(gain * (u > 0 ? u : alpha * u), -clamp, clamp) with u = x + bias_gain * bias and positive alpha
// and gain.
// The sign of y is enough to know the slope, so x need not be kept for the gradient.
#pragma once

#include "common/portable.h"
#ifndef GANSFORMER_KERNELS_ONLY
#include <cmath>

#include "common/parallel.h"
#endif

namespace gansformer {

struct BiasActPlan {
  std::int64_t rows;  // product of all axes but the last
  int channels;
  float alpha, gain;
  float clamp;  // infinity: none
  float bias_gain;
};

#ifndef GANSFORMER_KERNELS_ONLY
// On the CPU. Vectors are [channels] or null.
template <typename T>
struct BiasActCpu {
  // y may be x.
  static void forward(const BiasActPlan& plan, const T* x, const float* bias, T* y,
                      const ParallelFor& parallel_for);

  // dx = (dy + bias_gain * dy_shift) * slope(y), db = bias_gain * sum of dx over rows. dx may be dy.
  static void gradient(const BiasActPlan& plan, const T* dy, const float* dy_shift, const T* y, T* dx,
                       float* db, const ParallelFor& parallel_for);
};
#endif

// y from u.
SHARED_CODE float bias_act_output(float u, const BiasActPlan& plan) {
  const float y = plan.gain * (u > 0.0f ? u : u * plan.alpha);
  if (y > plan.clamp) return plan.clamp;  // written so that NaN passes through
  return y < -plan.clamp ? -plan.clamp : y;
}

// dy/du.
SHARED_CODE float bias_act_slope(float y, const BiasActPlan& plan) {
  return fabsf(y) >= plan.clamp ? 0.0f : plan.gain * (y > 0.0f ? 1.0f : plan.alpha);
}

#ifndef GANSFORMER_KERNELS_ONLY
// The plan with the clamp as a stored y shows it: rounded to T, possibly below the exact one.
template <typename T>
BiasActPlan with_rounded_clamp(BiasActPlan plan) {
  T rounded;
  store(&rounded, plan.clamp);
  plan.clamp = to_float(rounded);
  return plan;
}
#endif

}  // namespace gansformer
