// bias_act on the CPU: one pass over the memory, vectorised over neighbouring channels.
#include <algorithm>
#include <vector>

#include "cpu_kernels.h"

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

std::vector<float> repeat(const float* values, int channels, std::int64_t length) {
  std::vector<float> repeated(length, 0.0f);
  if (values != nullptr) {
    for (std::int64_t i = 0; i < length; ++i) repeated[i] = values[i % channels];
  }
  return repeated;
}

// Runs visit(block, start, count) for every line of every block.
template <typename Visit>
void for_each_line(const Layout& layout, const ParallelFor& parallel_for, int cycles_per_element,
                   const Visit& visit) {
  parallel_for(layout.blocks, layout.block * cycles_per_element / 4,
               [&](std::int64_t begin, std::int64_t end) {
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

  float* of_block(std::int64_t block, float* spare) {
    return sums_ == nullptr ? spare : &partial_[block * length_];
  }

  void finish(int channels) const {
    if (sums_ == nullptr) return;
    std::fill(sums_, sums_ + channels, 0.0f);
    for (std::size_t i = 0; i < partial_.size(); i += channels) {
      for (int c = 0; c < channels; ++c) sums_[c] += partial_[i + c];
    }
  }

 private:
  const std::int64_t length_;
  float* const sums_;
  std::vector<float> partial_;
};

constexpr int cost_of(int activation) { return is_piecewise_linear(activation) ? 1 : 20; }

template <int A, typename T>
void forward(const BiasActPlan& plan, const T* x, const float* bias, T* y,
             const ParallelFor& parallel_for) {
  const Layout layout(plan);
  const std::vector<float> shift = repeat(bias, plan.channels, layout.length);
  for_each_line(layout, parallel_for, cost_of(A),
                [&](std::int64_t, std::int64_t start, std::int64_t count) {
    const T* source = x + start;
    const float* line_shift = shift.data();
    T* target = y + start;
    const BiasActPlan local = plan;
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i) {
      store(target + i, bias_act_output<A>(to_float(source[i]) + line_shift[i], local));
    }
  });
}

// dx = (dy + dy_shift) * factor(known, bias), with the sums of dx.
template <typename T, typename Factor>
void multiply(const BiasActPlan& plan, const T* dy, const float* dy_shift, const T* known,
              const float* bias, T* dx, float* db, int cost, const ParallelFor& parallel_for,
              const Factor& factor) {
  const Layout layout(plan);
  const std::vector<float> shift = repeat(bias, plan.channels, layout.length);
  const std::vector<float> dy_line = repeat(dy_shift, plan.channels, layout.length);
  ChannelSums sums(layout, db);
  for_each_line(layout, parallel_for, cost,
                [&](std::int64_t block, std::int64_t start, std::int64_t count) {
    const BiasActPlan local = plan;
    const float* add_to_dy = dy_line.data();
    const float* add_to_known = shift.data();
    const T* upstream = dy + start;
    const T* at = known + start;
    T* target = dx + start;
    float* line_sums = sums.of_block(block, nullptr);
    if (line_sums == nullptr) {
#pragma GCC ivdep
      for (std::int64_t i = 0; i < count; ++i) {
        store(target + i, (to_float(upstream[i]) + add_to_dy[i]) *
                              factor(start + i, to_float(at[i]) + add_to_known[i], local));
      }
      return;
    }
#pragma GCC ivdep
    for (std::int64_t i = 0; i < count; ++i) {
      const float value = (to_float(upstream[i]) + add_to_dy[i]) *
                          factor(start + i, to_float(at[i]) + add_to_known[i], local);
      line_sums[i] += value;
      store(target + i, value);
    }
  });
  sums.finish(plan.channels);
}

// Calls run.template operator()<A>() for the plan's activation.
template <typename Run>
void with_activation(int activation, const Run& run) {
  switch (activation) {
    case kRelu: return run(std::integral_constant<int, kRelu>());
    case kLrelu: return run(std::integral_constant<int, kLrelu>());
    case kTanh: return run(std::integral_constant<int, kTanh>());
    case kSigmoid: return run(std::integral_constant<int, kSigmoid>());
    case kElu: return run(std::integral_constant<int, kElu>());
    case kSelu: return run(std::integral_constant<int, kSelu>());
    case kSoftplus: return run(std::integral_constant<int, kSoftplus>());
    case kSwish: return run(std::integral_constant<int, kSwish>());
    default: return run(std::integral_constant<int, kLinear>());
  }
}

}  // namespace

template <typename T>
void bias_act_cpu(const BiasActPlan& plan, const T* x, const float* bias, T* y,
                  const ParallelFor& parallel_for) {
  with_activation(plan.activation, [&](auto activation) {
    forward<decltype(activation)::value>(plan, x, bias, y, parallel_for);
  });
}

template <typename T>
void bias_act_gradient_cpu(const BiasActPlan& plan, const T* dy, const float* dy_shift,
                           const T* known, const float* bias, T* dx, float* db,
                           const ParallelFor& parallel_for) {
  with_activation(plan.activation, [&](auto activation) {
    constexpr int A = decltype(activation)::value;
    const BiasActPlan exact = is_piecewise_linear(A) ? with_rounded_clamp<T>(plan) : plan;
    multiply(exact, dy, dy_shift, known, bias, dx, db, cost_of(A), parallel_for,
             [](std::int64_t, float at, const BiasActPlan& local)
                 __attribute__((always_inline)) { return bias_act_slope<A>(at, local); });
  });
}

template <typename T>
void bias_act_curvature_cpu(const BiasActPlan& plan, const T* v, const float* v_shift, const T* dy,
                            const T* x, const float* bias, T* du, float* db,
                            const ParallelFor& parallel_for) {
  with_activation(plan.activation, [&](auto activation) {
    constexpr int A = decltype(activation)::value;
    multiply(plan, v, v_shift, x, bias, du, db, cost_of(A), parallel_for,
             [dy](std::int64_t i, float at, const BiasActPlan& local)
                 __attribute__((always_inline)) {
                   return to_float(dy[i]) * bias_act_curvature<A>(at, local);
                 });
  });
}

#define INSTANTIATE(T)                                                                            \
  template void bias_act_cpu(const BiasActPlan&, const T*, const float*, T*, const ParallelFor&); \
  template void bias_act_gradient_cpu(const BiasActPlan&, const T*, const float*, const T*,       \
                                      const float*, T*, float*, const ParallelFor&);              \
  template void bias_act_curvature_cpu(const BiasActPlan&, const T*, const float*, const T*,      \
                                       const T*, const float*, T*, float*, const ParallelFor&);
INSTANTIATE(float)
INSTANTIATE(BFloat16)
INSTANTIATE(Float16)
#undef INSTANTIATE

}  // namespace gansformer
