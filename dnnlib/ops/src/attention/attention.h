// Attention of the positions of a grid to keys, and what multiplies their features by it.
#pragma once

#include "common/portable.h"
#include "epilogue/epilogue.h"

namespace gansformer {

constexpr int kMaximumKeys = 256;      // that one head attends to, on a CPU
constexpr int kMaximumKeysOnGpu = 64;  // that all heads attend to, on a GPU

// A batch of grids of positions with `channels` features each, which attend to `keys` keys with each of
// `heads` heads.
struct AttentionPlan {
  std::int64_t batch, grid_rows, grid_columns;
  int channels, heads, keys;

  SHARED_CODE std::int64_t positions() const { return grid_rows * grid_columns; }
  SHARED_CODE int all_keys() const { return heads * keys; }
};

// What a position's scores consist of: the product of its features with `weights` [batch, all keys,
// channels], a number of its grid row, [batch, grid_rows, all keys], and one of its grid column,
// [batch, grid_columns, all keys].
struct AttentionScores {
  const float *weights, *rows, *columns;
};

struct AttentionScoreGradients {
  float *weights, *rows, *columns;
};

// By what attention multiplies: u = x scale becomes u * ([P | 1] values). scale: [batch, channels],
// values: [batch, all keys + 1, channels]. `normalize` divides u by its root mean square over the
// channels.
struct AttentionGain {
  const float *scale, *values;
  bool normalize;
};

struct AttentionGainGradients {
  AttentionScoreGradients scores;
  float *scale, *values;
  EpilogueGradients epilogue;
};

#ifndef GANSFORMER_KERNELS_ONLY
// P = softmax of the scores over the keys of each head, [batch, positions, all keys], and y = epilogue
// of u * ([P | 1] values), for x [batch, positions, channels].
template <typename T>
struct GainCpu {
  // y may be x.
  static void forward(const AttentionPlan& plan, const T* x, const AttentionScores& scores,
                      const AttentionGain& gain, const Epilogue& epilogue, float* probabilities,
                      T* y, const ParallelFor& parallel_for);

  // From the gradients of y and P; of the epilogue and y, see ScaleChannelsCpu. dx may be dy.
  static void gradient(const AttentionPlan& plan, const T* dy, const T* y,
                       const float* dprobabilities, const float* probabilities, const T* x,
                       const float* weights, const AttentionGain& gain, const Epilogue& epilogue,
                       T* dx, const AttentionGainGradients& gradients,
                       const ParallelFor& parallel_for);
};
#endif

}  // namespace gansformer
