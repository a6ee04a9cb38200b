// The CPU kernels, free of TensorFlow: the caller brings the memory and the threads.
#pragma once

#include <cstdint>
#include <functional>

#include "bias_act.h"
#include "conv3x3.h"
#include "epilogue.h"
#include "strided_conv3x3.h"
#include "upfirdn2d.h"

namespace gansformer {

// Runs body(begin, end) over disjoint ranges that cover [0, count); `cycles` estimates one unit.
using Body = std::function<void(std::int64_t begin, std::int64_t end)>;
using ParallelFor =
    std::function<void(std::int64_t count, std::int64_t cycles, const Body& body)>;

// x: [batch, in_height, in_width, channels] -> y: [batch, out_height, out_width, channels].
template <typename T>
void upfirdn2d_cpu(const Upfirdn2dPlan& plan, const T* x, T* y, const ParallelFor& parallel_for);

// y may be x. bias: [channels] or null.
template <typename T>
void bias_act_cpu(const BiasActPlan& plan, const T* x, const float* bias, T* y,
                  const ParallelFor& parallel_for);

// dx = (dy + dy_shift) * slope, db = sum of dx over rows. `known` is y for the piecewise linear
// activations and x for the others. dy_shift, bias: [channels] or null; db: [channels] or null;
// dx may be dy.
template <typename T>
void bias_act_gradient_cpu(const BiasActPlan& plan, const T* dy, const float* dy_shift,
                           const T* known, const float* bias, T* dx, float* db,
                           const ParallelFor& parallel_for);

// du = (v + v_shift) * dy * curvature, db = sum of du over rows: what the gradient's own gradient
// sends to x and bias.
template <typename T>
void bias_act_curvature_cpu(const BiasActPlan& plan, const T* v, const float* v_shift, const T* dy,
                            const T* x, const float* bias, T* du, float* db,
                            const ParallelFor& parallel_for);

struct ScalePlan {
  std::int64_t batch, pixels;
  int channels;
};

// y = epilogue of u = x * scale. x: [batch, pixels, channels], scale: [batch, channels]; y may be x.
template <typename T>
void scale_channels_cpu(const ScalePlan& plan, const T* x, const float* scale,
                        const Epilogue& epilogue, T* y, const ParallelFor& parallel_for);

// From the gradient of y; y itself tells the slopes and may be null if alpha is 1. Noise and bias of
// the epilogue are not read. dx may be dy.
template <typename T>
void scale_channels_gradient_cpu(const ScalePlan& plan, const T* dy, const T* y, const T* x,
                                 const float* scale, const Epilogue& epilogue, T* dx,
                                 float* dscale, const EpilogueGradients& gradients,
                                 const ParallelFor& parallel_for);

// y = x correlated with weights [3, 3, inputs, outputs], zeros around x. transposed: with the adjoint
// of that, from weights [3, 3, outputs, inputs].
template <typename T>
void conv3x3_cpu(const Conv3x3Plan& plan, const T* x, const float* weights, bool transposed, T* y,
                 const ParallelFor& parallel_for);

// dweights [3, 3, inputs, outputs] of y = conv3x3(x, weights). It is summed up in `shares` parts,
// whose number decides on the rounding.
template <typename T>
void conv3x3_weight_gradient_cpu(const Conv3x3Plan& plan, const T* x, const T* dy, int shares,
                                 float* dweights, const ParallelFor& parallel_for);

// Adjoint of a convolution with stride 2, see strided_conv3x3.h. weights: [3, 3, large, small channels];
// flipped: [3, 3, small, large channels], turned round.
void transposed_conv3x3_cpu(const StridedPlan& plan, const float* small, const float* weights,
                            bool flipped, float* large, const ParallelFor& parallel_for);

// The weight gradient of such a pair, summed up in `shares` parts like that of conv3x3.
template <typename T>
void strided_conv3x3_weight_gradient_cpu(const StridedPlan& plan, const T* large, const T* small,
                                         bool flipped, int shares, float* dweights,
                                         const ParallelFor& parallel_for);

// A batch of grids of positions with `channels` features each.
struct GridPlan {
  std::int64_t batch, grid_rows, grid_columns;
  int channels;
};

constexpr int kMaximumColours = 4;  // outputs of a sample convolution

// `size` taps along each axis, an odd number, for `outputs` outputs.
struct SampleConvPlan : GridPlan {
  int size, outputs;
};

// y = x correlated with weights [batch, size, size, channels, outputs] of the sample, zeros around x;
// channels are a multiple of kConvChannels. y: [batch, grid_rows, grid_columns, outputs].
template <typename T>
void sample_conv_cpu(const SampleConvPlan& plan, const T* x, const float* weights, float* y,
                     const ParallelFor& parallel_for);

template <typename T>
void sample_conv_gradient_cpu(const SampleConvPlan& plan, const float* dy, const T* x,
                              const float* weights, T* dx, float* dweights,
                              const ParallelFor& parallel_for);

constexpr int kMaximumTargets = 256;  // that one head attends to

// Each position attends to `targets` targets with each of `heads` heads.
struct AttentionPlan : GridPlan {
  int heads, targets;
};

// What a position's scores consist of: the product of its features with `weights` [batch, heads *
// targets, channels], a number of its grid row, [batch, grid_rows, heads * targets], and one of its
// grid column, [batch, grid_columns, heads * targets].
struct AttentionScores {
  const float *weights, *rows, *columns;
};

struct AttentionScoreGradients {
  float *weights, *rows, *columns;
};

// P = softmax of the scores over the targets of each head. x: [batch, positions, channels] ->
// [batch, positions, heads * targets].
template <typename T>
void attention_probabilities_cpu(const AttentionPlan& plan, const T* x,
                                 const AttentionScores& scores, float* probabilities,
                                 const ParallelFor& parallel_for);

template <typename T>
void attention_probabilities_gradient_cpu(const AttentionPlan& plan, const float* upstream,
                                          const float* probabilities, const T* x,
                                          const float* weights, T* dx,
                                          const AttentionScoreGradients& gradients,
                                          const ParallelFor& parallel_for);

// By what attention multiplies: u = x scale becomes u * ([P | 1] values). scale: [batch, channels],
// values: [batch, heads * targets + 1, channels]. `normalize` divides u by its root mean square over
// the channels.
struct AttentionGain {
  const float *scale, *values;
  bool normalize;
};

// P as above, and y = epilogue of u * ([P | 1] values). y may be x.
template <typename T>
void attention_gain_cpu(const AttentionPlan& plan, const T* x, const AttentionScores& scores,
                        const AttentionGain& gain, const Epilogue& epilogue, float* probabilities,
                        T* y, const ParallelFor& parallel_for);

struct AttentionGainGradients {
  AttentionScoreGradients scores;
  float *scale, *values;
  EpilogueGradients epilogue;
};

// From the gradients of y and P; of the epilogue and y, see scale_channels_gradient_cpu. dx may be dy.
template <typename T>
void attention_gain_gradient_cpu(const AttentionPlan& plan, const T* dy, const T* y,
                                 const float* dprobabilities, const float* probabilities,
                                 const T* x, const float* weights, const AttentionGain& gain,
                                 const Epilogue& epilogue, T* dx,
                                 const AttentionGainGradients& gradients,
                                 const ParallelFor& parallel_for);

}  // namespace gansformer
