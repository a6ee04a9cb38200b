// bias_act on the CPU: one pass over the memory, vectorised over neighbouring channels.
#include <algorithm>
#include <vector>

#include "bias_act/bias_act.h"

namespace gansformer {
namespace {

// Few channels would make short inner loops, so several pixels are treated as one long one, with
// the bias repeated. Blocks have a fixed size, so sums do not depend on the number of threads.
struct Layout {
  explicit Layout(const BiasActPlan& plan)
      : total(plan.rows * plan.channels),
        length(plan.channels * std::max<std::int64_t>(1, 128 / std::max(plan.channels, 1))),
        block(length * std::max<std::int64_t>(1, 16384 / length)),
        blocks((total + block - 1) / block) {}

  const std::int64_t total, length, block, blocks;
};

// A vector of channels times bias_gain, or zeros.
std::vector<float> repeat(const float* values, const BiasActPlan& plan, std::int64_t length) {
  std::vector<float> repeated(length, 0.0f);
  if (values != nullptr) {
    for (std::int64_t i = 0; i < length; ++i) repeated[i] = plan.bias_gain * values[i % plan.channels];
  }
  return repeated;
}

// Runs visit(block, start, count) for every line of every block.
template <typename Visit>
void for_each_line(const Layout& layout, const ParallelFor& parallel_for, const Visit& visit) {
  parallel_for(layout.blocks, layout.block / 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t stop = std::min(layout.total, (block + 1) * layout.block);
      for (std::int64_t start = block * layout.block; start < stop; start += layout.length) {
        visit(block, start, std::min(layout.length, stop - start));
      }
    }
  });
}

// Partial sums per block, each over one line of `length` elements, added up in order.
class ChannelSums {
 public:
  ChannelSums(const Layout& layout, float* sums)
      : length_(layout.length), sums_(sums), partial_(sums ? layout.blocks * layout.length : 0) {}

  float* of_block(std::int64_t block) {
    return sums_ == nullptr ? nullptr : &partial_[block * length_];
  }

  void finish(const BiasActPlan& plan) const {
    if (sums_ == nullptr) return;
    std::fill(sums_, sums_ + plan.channels, 0.0f);
    for (std::size_t i = 0; i < partial_.size(); i += plan.channels) {
      for (int c = 0; c < plan.channels; ++c) sums_[c] += partial_[i + c];
    }
    for (int c = 0; c < plan.channels; ++c) sums_[c] *= plan.bias_gain;
  }

 private:
  const std::int64_t length_;
  float* const sums_;
  std::vector<float> partial_;
};

}  // namespace

template <typename T>
void BiasActCpu<T>::forward(const BiasActPlan& plan, const T* x, const float* bias, T* y,
                            const ParallelFor& parallel_for) {
  const Layout layout(plan);
  const std::vector<float> shift = repeat(bias, plan, layout.length);
  for_each_line(layout, parallel_for,
                [&](std::int64_t, std::int64_t start, std::int64_t count) {
    const T* source = x + start;
    const float* line_shift = shift.data();
    T* target = y + start;
    const BiasActPlan local = plan;
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i) {
      store(target + i, bias_act_output(to_float(source[i]) + line_shift[i], local));
    }
  });
}

template <typename T>
void BiasActCpu<T>::gradient(const BiasActPlan& plan, const T* dy, const float* dy_shift, const T* y,
                             T* dx, float* db, const ParallelFor& parallel_for) {
  const BiasActPlan rounded = with_rounded_clamp<T>(plan);
  const Layout layout(plan);
  const std::vector<float> shift = repeat(dy_shift, plan, layout.length);
  ChannelSums sums(layout, db);
  for_each_line(layout, parallel_for,
                [&](std::int64_t block, std::int64_t start, std::int64_t count) {
    const BiasActPlan local = rounded;
    const float* line_shift = shift.data();
    const T *upstream = dy + start, *at = y + start;
    T* target = dx + start;
    float* line_sums = sums.of_block(block);
    const auto gradient_at = [=](std::int64_t i) __attribute__((always_inline)) {
      return (to_float(upstream[i]) + line_shift[i]) * bias_act_slope(to_float(at[i]), local);
    };
    if (line_sums == nullptr) {
#pragma GCC ivdep
      for (std::int64_t i = 0; i < count; ++i) store(target + i, gradient_at(i));
      return;
    }
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i) {
      const float value = gradient_at(i);
      line_sums[i] += value;
      store(target + i, value);
    }
  });
  sums.finish(plan);
}

FOR_ALL_ELEMENT_TYPES(BiasActCpu)

}  // namespace gansformer
