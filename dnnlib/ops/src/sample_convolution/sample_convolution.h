// Convolutions with weights of each sample's own and few outputs, such as colours.
#pragma once

#include "common/grid.h"

namespace gansformer {

constexpr int kMaximumOutputs = 4;
constexpr int kSampleConvChannels = 16;  // channel counts must be multiples of this

// `size` taps along each axis, an odd number, for `outputs` outputs.
struct SampleConvPlan : GridPlan {
  int size, outputs;
};

// y = x correlated with weights [batch, size, size, channels, outputs] of the sample, zeros around x.
// y: [batch, grid_rows, grid_columns, outputs].
template <typename T>
struct SampleConvCpu {
  static void forward(const SampleConvPlan& plan, const T* x, const float* weights, float* y,
                      const ParallelFor& parallel_for);

  static void gradient(const SampleConvPlan& plan, const float* dy, const T* x,
                       const float* weights, T* dx, float* dweights,
                       const ParallelFor& parallel_for);
};

}  // namespace gansformer
