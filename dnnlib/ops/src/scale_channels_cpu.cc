// Scaling every channel of every sample by a number of its own, on the CPU: value and gradient in
// one pass each.
#include <algorithm>
#include <vector>

#include "cpu_kernels.h"

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

}  // namespace

template <typename T>
void scale_channels_cpu(const ScalePlan& plan, const T* x, const float* scale, T* y,
                        const ParallelFor& parallel_for) {
  const int channels = plan.channels;
  for_each_block(plan, Blocks(plan), parallel_for,
                 [&](std::int64_t, std::int64_t sample, std::int64_t begin, std::int64_t end) {
    const float* factors = scale + sample * channels;
    for (std::int64_t i = begin; i < end; i += channels) {
      const T* source = x + i;
      T* target = y + i;
#pragma GCC ivdep
      for (int c = 0; c < channels; ++c) store(target + c, to_float(source[c]) * factors[c]);
    }
  });
}

template <typename T>
void scale_channels_gradient_cpu(const ScalePlan& plan, const T* dy, const T* x,
                                 const float* scale, T* dx, float* dscale,
                                 const ParallelFor& parallel_for) {
  const int channels = plan.channels;
  const Blocks blocks(plan);
  std::vector<float> partial(blocks.total * channels);
  for_each_block(plan, blocks, parallel_for,
                 [&](std::int64_t block, std::int64_t sample, std::int64_t begin,
                     std::int64_t end) {
    const float* factors = scale + sample * channels;
    float* sums = &partial[block * channels];
    for (std::int64_t i = begin; i < end; i += channels) {
      const T *upstream = dy + i, *source = x + i;
      T* target = dx + i;
#pragma GCC ivdep
      for (int c = 0; c < channels; ++c) {
        const float value = to_float(upstream[c]);
        sums[c] += value * to_float(source[c]);
        store(target + c, value * factors[c]);
      }
    }
  });
  std::fill(dscale, dscale + plan.batch * channels, 0.0f);
  for (std::int64_t block = 0; block < blocks.total; ++block) {
    float* target = dscale + block / blocks.per_sample * channels;
    for (int c = 0; c < channels; ++c) target[c] += partial[block * channels + c];
  }
}

#define INSTANTIATE(T)                                                                          \
  template void scale_channels_cpu(const ScalePlan&, const T*, const float*, T*,                \
                                   const ParallelFor&);                                         \
  template void scale_channels_gradient_cpu(const ScalePlan&, const T*, const T*, const float*, \
                                            T*, float*, const ParallelFor&);
INSTANTIATE(float)
INSTANTIATE(BFloat16)
INSTANTIATE(Float16)
#undef INSTANTIATE

}  // namespace gansformer
