// upfirdn2d: the definition, per output sample, shared by the CPU and the CUDA kernels.
//
// Insert up-1 zeros after every sample, pad (or crop, where negative), correlate with the taps, keep
// every down-th sample. Taps come flipped and with the gain in them, so a correlation is meant here.
#pragma once

#include "common/portable.h"
#ifndef GANSFORMER_KERNELS_ONLY
#include "common/parallel.h"
#endif

namespace gansformer {

constexpr int kMaximumTaps = 576;  // 24 x 24, or two separable filters of 288

struct Upfirdn2dPlan {
  int batch, in_height, in_width, channels, out_height, out_width;
  int up_y, up_x, down_y, down_x, pad_top, pad_left;
  int kernel_height, kernel_width;
  int separable;             // taps = column filter [kernel_height], then row filter [kernel_width]
  float taps[kMaximumTaps];  // otherwise [kernel_height, kernel_width]
};

#ifndef GANSFORMER_KERNELS_ONLY
// On the CPU. x: [batch, in_height, in_width, channels] -> y: [batch, out_height, out_width, channels].
template <typename T>
struct Upfirdn2dCpu {
  static void run(const Upfirdn2dPlan& plan, const T* x, T* y, const ParallelFor& parallel_for);
};
#endif

// The input samples that one output sample reads along one axis, and their taps:
// sample first_sample + i goes with tap first_tap + i * up, for 0 <= i < count.
struct TapRange {
  int first_sample, count, first_tap;
};

SHARED_CODE TapRange taps_of_output(int output, int up, int down, int padding, int taps, int size) {
  const int start = output * down - padding;  // of tap 0, counted in upsampled samples
  const int end = start + taps - 1;
  const int first = start > 0 ? (start + up - 1) / up : 0;
  int last = end >= 0 ? end / up : -1;
  if (last > size - 1) last = size - 1;
  return {first, last >= first ? last - first + 1 : 0, first * up - start};
}

SHARED_CODE TapRange rows_of_output(const Upfirdn2dPlan& plan, int y) {
  return taps_of_output(y, plan.up_y, plan.down_y, plan.pad_top, plan.kernel_height,
                        plan.in_height);
}

SHARED_CODE TapRange columns_of_output(const Upfirdn2dPlan& plan, int x) {
  return taps_of_output(x, plan.up_x, plan.down_x, plan.pad_left, plan.kernel_width,
                        plan.in_width);
}

SHARED_CODE float tap(const Upfirdn2dPlan& plan, int row, int column) {
  return plan.separable ? plan.taps[row] * plan.taps[plan.kernel_height + column]
                        : plan.taps[row * plan.kernel_width + column];
}

// One output sample; `image` points to the sample's channel at row 0, column 0.
template <typename T>
SHARED_CODE float upfirdn2d_output(const Upfirdn2dPlan& plan, const T* image, int y, int x) {
  const TapRange rows = rows_of_output(plan, y), columns = columns_of_output(plan, x);
  float sum = 0.0f;
  for (int j = 0; j < rows.count; ++j) {
    const T* line =
        image + static_cast<std::int64_t>(rows.first_sample + j) * plan.in_width * plan.channels;
    for (int i = 0; i < columns.count; ++i) {
      const float weight =
          tap(plan, rows.first_tap + j * plan.up_y, columns.first_tap + i * plan.up_x);
      sum += weight * to_float(line[(columns.first_sample + i) * plan.channels]);
    }
  }
  return sum;
}

// One output sample of a one-dimensional filter: Count samples that lie `stride` apart.
template <int Count, typename T>
SHARED_CODE float weighted_sum(const T* samples, std::int64_t stride, const float* weights) {
  float sum = weights[0] * to_float(samples[0]);
  UNROLL
  for (int i = 1; i < Count; ++i) sum += weights[i] * to_float(samples[i * stride]);
  return sum;
}

}  // namespace gansformer
