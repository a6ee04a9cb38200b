// upfirdn2d for the usual filters: separable, up to four taps, factors 1 or 2, whole vectors of
// channels. Two by two outputs are made together, from a window of columns that stays in registers.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>

#include "cpu_kernels.h"
#include "matrix_product.h"

namespace gansformer {

using HalfVector = std::uint16_t __attribute__((vector_size(kLanes * sizeof(std::uint16_t))));
using BitVector = std::uint32_t __attribute__((vector_size(kLanes * sizeof(std::uint32_t))));

inline Vector load_floats(const float* source) { return load(source); }

inline Vector load_floats(const BFloat16* source) {
  HalfVector half;
  std::memcpy(&half, source, sizeof(half));
  const BitVector bits = __builtin_convertvector(half, BitVector) << 16;
  Vector value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline void store_floats(float* target, Vector value) { store(target, value); }

inline void store_floats(BFloat16* target, Vector value) {
  BitVector bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const BitVector rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const BitVector is_number = value == value;  // rounding would carry some NaNs over
  const BitVector chosen = (rounded & is_number) | (0x7fc0u & ~is_number);
  const HalfVector half = __builtin_convertvector(chosen, HalfVector);
  std::memcpy(target, &half, sizeof(half));
}

// Along one axis, outputs 2 p and 2 p + 1 are weighted sums of the inputs from first + step * p.
template <int Window>
struct PairWeights {
  PairWeights(const float* taps, int count, int up, int down, int padding) {
    first = -padding < 0 ? -(padding / up) : (-padding + up - 1) / up;
    for (int output = 0; output < 2; ++output) {
      for (int tap = 0; tap < count; ++tap) {
        const int position = output * down + tap - padding;
        if (position % up == 0) weights[output][position / up - first] += taps[tap];
      }
    }
  }

  int first;
  float weights[2][Window] = {};
};

// Window: inputs that two neighbouring outputs need; Step: by how much it moves for the next two.
template <int Window, int Step, typename T>
class SmallFilter {
 public:
  explicit SmallFilter(const Upfirdn2dPlan& plan)
      : plan_(plan),
        rows_(plan.taps, plan.kernel_height, plan.up_y, plan.down_y, plan.pad_top),
        columns_(plan.taps + plan.kernel_height, plan.kernel_width, plan.up_x, plan.down_x,
                 plan.pad_left) {}

  // Output rows 2 * begin to 2 * end, counted over the whole batch, each image with its own pairs.
  void operator()(const T* input, T* output, std::int64_t begin, std::int64_t end) const {
    const int pairs = (plan_.out_height + 1) / 2;
    const std::int64_t in_size = static_cast<std::int64_t>(plan_.in_height) * row_size();
    const std::int64_t out_row = static_cast<std::int64_t>(plan_.out_width) * plan_.channels;
    for (std::int64_t number = begin; number < end; ++number) {
      const int pair = static_cast<int>(number % pairs);
      const T* image = input + number / pairs * in_size;
      T* target = output + (number / pairs * plan_.out_height + 2 * pair) * out_row;
      const bool both = 2 * pair + 1 < plan_.out_height;
      for (int c = 0; c < plan_.channels; c += kLanes) {
        filter_pair(image + c, pair, target + c, both ? target + out_row + c : nullptr);
      }
    }
  }

 private:
  std::int64_t row_size() const { return static_cast<std::int64_t>(plan_.in_width) * plan_.channels; }

  // Two output rows of kLanes channels.
  void filter_pair(const T* image, int pair, T* upper, T* lower) const {
    const T* lines[Window];
    float weights[2][Window];
    for (int i = 0; i < Window; ++i) {
      const int row = rows_.first + Step * pair + i;
      const bool inside = row >= 0 && row < plan_.in_height;
      lines[i] = image + (inside ? row : 0) * row_size();
      for (int k = 0; k < 2; ++k) weights[k][i] = inside ? rows_.weights[k][i] : 0.0f;
    }
    Vector window[2][Window] = {};
    const auto read = [&](int column, int slot) {
      window[0][slot] = window[1][slot] = Vector{};
      if (column < 0 || column >= plan_.in_width) return;
      const std::int64_t offset = static_cast<std::int64_t>(column) * plan_.channels;
#pragma GCC unroll 8
      for (int i = 0; i < Window; ++i) {
        const Vector value = load_floats(lines[i] + offset);
        window[0][slot] += weights[0][i] * value;
        window[1][slot] += weights[1][i] * value;
      }
    };
    for (int i = 0; i < Window - Step; ++i) read(columns_.first + i, i);
    for (int x = 0; x < plan_.out_width; x += 2) {
      const int next = columns_.first + Step * (x / 2) + Window - Step;
#pragma GCC unroll 8
      for (int i = 0; i < Step; ++i) read(next + i, Window - Step + i);
      const std::int64_t offset = static_cast<std::int64_t>(x) * plan_.channels;
      const bool both = x + 1 < plan_.out_width;
      write(window[0], upper + offset, both);
      if (lower != nullptr) write(window[1], lower + offset, both);
#pragma GCC unroll 8
      for (int i = 0; i < Window - Step; ++i) {
        window[0][i] = window[0][i + Step];
        window[1][i] = window[1][i + Step];
      }
    }
  }

  void write(const Vector (&line)[Window], T* target, bool both) const {
    Vector sums[2] = {};
#pragma GCC unroll 8
    for (int i = 0; i < Window; ++i) {
      sums[0] += columns_.weights[0][i] * line[i];
      sums[1] += columns_.weights[1][i] * line[i];
    }
    store_floats(target, sums[0]);
    if (both) store_floats(target + plan_.channels, sums[1]);
  }

  const Upfirdn2dPlan& plan_;
  const PairWeights<Window> rows_, columns_;
};

// Runs the filter if it is one of the usual ones; false if not.
template <typename T>
bool run_small_filter(const Upfirdn2dPlan& plan, const T* x, T* y,
                      const ParallelFor& parallel_for) {
  if constexpr (std::is_same_v<T, Float16>) {
    return false;
  } else {
    const bool usual = plan.separable && plan.kernel_height <= 4 && plan.kernel_width <= 4 &&
                       plan.channels % kLanes == 0 && plan.up_y == plan.up_x &&
                       plan.down_y == plan.down_x && plan.in_width > 0 && plan.in_height > 0;
    if (!usual) return false;
    const auto run = [&](const auto& filter) {
      const std::int64_t cycles =
          static_cast<std::int64_t>(plan.in_width + plan.out_width) * plan.channels + 100;
      parallel_for(plan.batch * ((plan.out_height + 1) / 2), cycles,
                   [&](std::int64_t begin, std::int64_t end) { filter(x, y, begin, end); });
      return true;
    };
    if (plan.up_x == 1 && plan.down_x == 1) return run(SmallFilter<5, 2, T>(plan));
    if (plan.up_x == 1 && plan.down_x == 2) return run(SmallFilter<6, 4, T>(plan));
    if (plan.up_x == 2 && plan.down_x == 1) return run(SmallFilter<3, 1, T>(plan));
    return false;
  }
}

}  // namespace gansformer
