// What ends a layer, in the same pass over the features as what is before it: a scale or attention.
#pragma once

#include "common/portable.h"
#ifndef GANSFORMER_KERNELS_ONLY
#include "common/parallel.h"
#endif

namespace gansformer {

// y = slope * (u + noise + bias); the slope is `gain` where that sum is positive and gain * alpha
// elsewhere. Both are positive, so that the sign of y is enough to know the slope.
struct Epilogue {
  const float* noise;          // [noise_samples, pixels] or null
  std::int64_t noise_samples;  // 1: the same for all samples
  const float* bias;           // [channels] or null
  float alpha, gain;

  SHARED_CODE float above() const { return gain; }
  SHARED_CODE float below() const { return gain * alpha; }

  // The noise of a sample, or null.
  SHARED_CODE const float* noise_of(std::int64_t sample, std::int64_t pixels) const {
    return noise == nullptr || noise_samples == 1 ? noise : noise + sample * pixels;
  }

  // Where the gradient reads the signs of y, for upstream gradient dy: with one slope, anywhere.
  template <typename T>
  SHARED_CODE const T* signs_from(const T* y, const T* dy) const {
    return alpha == 1.0f ? dy : y;
  }
};

// What is sent to noise, [batch, pixels], and to bias, [channels]; both or neither null.
struct EpilogueGradients {
  float *noise, *bias;
};

struct ScalePlan {
  std::int64_t batch, pixels;
  int channels;
};

#ifndef GANSFORMER_KERNELS_ONLY
// y = epilogue of u = x * scale. x: [batch, pixels, channels], scale: [batch, channels].
template <typename T>
struct ScaleChannelsCpu {
  // y may be x.
  static void forward(const ScalePlan& plan, const T* x, const float* scale,
                      const Epilogue& epilogue, T* y, const ParallelFor& parallel_for);

  // From the gradient of y, and y itself. Noise and bias of the epilogue are not read. dx may be dy.
  static void gradient(const ScalePlan& plan, const T* dy, const T* y, const T* x,
                       const float* scale, const Epilogue& epilogue, T* dx, float* dscale,
                       const EpilogueGradients& gradients, const ParallelFor& parallel_for);
};
#endif

}  // namespace gansformer
