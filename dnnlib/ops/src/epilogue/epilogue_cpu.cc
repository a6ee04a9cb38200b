// Scaling every channel of every sample by a number of its own, and what follows it in a layer, on the
// CPU: value and gradient in one pass each.
#include <algorithm>
#include <vector>

#include "epilogue/epilogue.h"

namespace gansformer {
namespace {

// Blocks of pixels of one sample; their size does not depend on the number of threads.
struct Blocks {
  explicit Blocks(const ScalePlan& plan)
      : pixels(std::max<std::int64_t>(1, 16384 / std::max(plan.channels, 1))),
        per_sample((plan.pixels + pixels - 1) / pixels),
        total(plan.batch * per_sample) {}

  const std::int64_t pixels, per_sample, total;
};

// Runs visit(block, sample, first element, last element) for all blocks.
template <typename Visit>
void for_each_block(const ScalePlan& plan, const Blocks& blocks, const ParallelFor& parallel_for,
                    const Visit& visit) {
  parallel_for(blocks.total, blocks.pixels * plan.channels / 4,
               [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t sample = block / blocks.per_sample;
      const std::int64_t first = block % blocks.per_sample * blocks.pixels;
      const std::int64_t last = std::min(plan.pixels, first + blocks.pixels);
      const std::int64_t start = sample * plan.pixels;
      visit(block, sample, (start + first) * plan.channels, (start + last) * plan.channels);
    }
  });
}

void add(const float* values, int count, float* sums) {
  for (int i = 0; i < count; ++i) sums[i] += values[i];
}

}  // namespace

template <typename T>
void ScaleChannelsCpu<T>::forward(const ScalePlan& plan, const T* x, const float* scale,
                                  const Epilogue& epilogue, T* y, const ParallelFor& parallel_for) {
  std::vector<float> bias(plan.channels);
  if (epilogue.bias != nullptr) std::copy_n(epilogue.bias, plan.channels, bias.begin());
  for_each_block(plan, Blocks(plan), parallel_for,
                 [&](std::int64_t, std::int64_t sample, std::int64_t begin, std::int64_t end) {
    const int channels = plan.channels;  // copies: the compiler takes what is captured to change
    const float above = epilogue.above(), below = epilogue.below();
    const float *factors = scale + sample * channels, *shifts = bias.data();
    const float* noise = epilogue.noise_of(sample, plan.pixels);
    for (std::int64_t i = begin; i < end; i += channels) {
      const T* source = x + i;
      T* target = y + i;
      const float added = noise ? noise[i / channels - sample * plan.pixels] : 0.0f;
#pragma GCC ivdep
      for (int c = 0; c < channels; ++c) {
        const float u = to_float(source[c]) * factors[c] + (added + shifts[c]);
        store(target + c, u * (u > 0.0f ? above : below));
      }
    }
  });
}

template <typename T>
void ScaleChannelsCpu<T>::gradient(const ScalePlan& plan, const T* dy, const T* y, const T* x,
                                   const float* scale, const Epilogue& epilogue, T* dx,
                                   float* dscale, const EpilogueGradients& gradients,
                                   const ParallelFor& parallel_for) {
  const int channels = plan.channels;
  const T* const signs = epilogue.signs_from(y, dy);
  const Blocks blocks(plan);
  std::vector<float> partial(blocks.total * channels);
  std::vector<float> partial_bias(gradients.bias ? partial.size() : 0);
  for_each_block(plan, blocks, parallel_for,
                 [&](std::int64_t block, std::int64_t sample, std::int64_t begin,
                     std::int64_t end) {
    const int channels = plan.channels;
    const float above = epilogue.above(), below = epilogue.below();
    const float* factors = scale + sample * channels;
    float* sums = &partial[block * channels];
    float* bias_sums = gradients.bias ? &partial_bias[block * channels] : nullptr;
    for (std::int64_t i = begin; i < end; i += channels) {
      const T *upstream = dy + i, *at = signs + i, *source = x + i;
      T* target = dx + i;
      if (bias_sums == nullptr) {
#pragma GCC ivdep
        for (int c = 0; c < channels; ++c) {
          const float value = to_float(upstream[c]) * (to_float(at[c]) > 0.0f ? above : below);
          sums[c] += value * to_float(source[c]);
          store(target + c, value * factors[c]);
        }
        continue;
      }
      float total = 0.0f;
#pragma omp simd reduction(+ : total)
      for (int c = 0; c < channels; ++c) {
        const float value = to_float(upstream[c]) * (to_float(at[c]) > 0.0f ? above : below);
        total += value;
        bias_sums[c] += value;
        sums[c] += value * to_float(source[c]);
        store(target + c, value * factors[c]);
      }
      gradients.noise[i / channels] = total;
    }
  });
  std::fill(dscale, dscale + plan.batch * channels, 0.0f);
  for (std::int64_t block = 0; block < blocks.total; ++block) {
    add(&partial[block * channels], channels, dscale + block / blocks.per_sample * channels);
  }
  if (gradients.bias == nullptr) return;
  std::fill(gradients.bias, gradients.bias + channels, 0.0f);
  for (std::int64_t block = 0; block < blocks.total; ++block) {
    add(&partial_bias[block * channels], channels, gradients.bias);
  }
}

FOR_ALL_ELEMENT_TYPES(ScaleChannelsCpu)

}  // namespace gansformer
