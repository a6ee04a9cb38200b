// What follows a modulated convolution or attention in the same pass over the features.
#pragma once

#include <cstdint>

namespace gansformer {

// y = slope * (u + noise + bias); the slope is `gain` where that sum is positive and gain * alpha
// elsewhere. Both are positive, so that y tells the slope.
struct Epilogue {
  const float* noise;          // [noise_samples, pixels] or null
  std::int64_t noise_samples;  // 1: the same for all samples
  const float* bias;           // [channels] or null
  float alpha, gain;

  float above() const { return gain; }
  float below() const { return gain * alpha; }

  // The noise of a sample, or null.
  const float* noise_of(std::int64_t sample, std::int64_t pixels) const {
    return noise == nullptr || noise_samples == 1 ? noise : noise + sample * pixels;
  }

  // What tells the slopes where the upstream gradient is dy: anything does if they are all alike.
  template <typename T>
  const T* slopes_from(const T* y, const T* dy) const {
    return alpha == 1.0f ? dy : y;
  }
};

// What is sent to noise, [batch, pixels], and to bias, [channels]; both or neither null.
struct EpilogueGradients {
  float *noise, *bias;
};

}  // namespace gansformer
