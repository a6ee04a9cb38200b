// 3x3 convolutions with stride 2 from a large image to a small one: their adjoint and their weight
// gradient. (The convolution itself is left to TensorFlow, which is good at it.) The large side has
// 2 height + 1 rows and 2 width + 1 columns for those of the small side, so that every tap t of
// output i finds its input 2i + t:
//
//   small[i] = sum over t of large[2i + t] w[t]        transposed: large[2i + t] += small[i] w[t]
//
// No input is copied and no multiplication wasted: pixels that use the same taps are listed, and a
// matrix product takes its rows from the list. Of the large side these are the odd rows (t = 1), the
// even ones (t = 0 and 2), the first (t = 0) and the last (t = 2), and the same for columns.
#pragma once

#include "common/parallel.h"
#include "common/portable.h"
#include "common/prefetch.h"

namespace gansformer {

struct StridedPlan {
  int large_height() const { return 2 * height + 1; }
  int large_width() const { return 2 * width + 1; }
  std::int64_t lines() const { return batch * height; }  // rows of the small side, all images
  // The row of the large side, counted over all images, that tap 0 of a line starts from.
  std::int64_t large_row(std::int64_t line) const {
    return line / height * large_height() + 2 * (line % height);
  }

  std::int64_t batch;
  int height, width;  // of the small side
  int large_channels, small_channels;
};

// What lies beside lines [first, last) on the large side.
inline Prefetch<float> prefetch_lines(const StridedPlan& plan, const float* large,
                                      std::int64_t first, std::int64_t last, std::int64_t pieces) {
  if (first >= last) return {large, large, pieces};
  const std::int64_t row = static_cast<std::int64_t>(plan.large_width()) * plan.large_channels;
  return {large + plan.large_row(first) * row, large + (plan.large_row(last - 1) + 3) * row, pieces};
}

// Adjoint of the convolution. weights: [3, 3, large channels, small channels].
void transposed_conv3x3_cpu(const StridedPlan& plan, const float* small, const float* weights,
                            float* large, const ParallelFor& parallel_for);

// dweights, summed up in `parts`, whose number decides on the rounding.
void strided_conv3x3_weight_gradient_cpu(const StridedPlan& plan, const float* large,
                                         const float* small, int parts, float* dweights,
                                         const ParallelFor& parallel_for);

}  // namespace gansformer
