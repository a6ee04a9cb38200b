// The weight gradient of 3x3 convolutions with stride 2 on the CPU in float32; see strided_conv3x3.h.
#include <algorithm>
#include <vector>

#include "common/matrix_product.h"
#include "convolution/strided_conv3x3.h"

namespace gansformer {
namespace {

constexpr int kBlockPixels = 64;  // of the small side, summed up in registers

// sum[r][column] += left[line][k * left_step + r] right[line][k][column], over `count` lines and k.
template <int Vectors>
__attribute__((noinline)) void add_lines(const std::vector<const float*>& left, std::int64_t offset,
                                         std::int64_t left_step, const float* right, int depth,
                                         float* sum) {
  Vector sums[kRows][Vectors] = {};
  for (const float* start : left) {
    const float* a = start + offset;
    for (int k = 0; k < depth; ++k, a += left_step, right += kPanel) {
      Vector line[Vectors];
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) line[v] = load_once(right + v * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) sums[r][v] += a[r] * line[v];
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
      float* target = sum + r * kPanel + v * kLanes;
      store(target, load(target) + sums[r][v]);
    }
  }
}

// The sums of one part: [tap][panel of small channels][large channel][kPanel].
struct Sums {
  explicit Sums(const StridedPlan& plan)
      : plan(plan),
        tap_size(plan.large_channels * round_up(plan.small_channels, kPanel)),
        block(std::max(1, kBlockPixels / plan.width)) {}

  std::int64_t offset_of(int tap, int row, int column) const {
    return tap * tap_size + static_cast<std::int64_t>(column) / kPanel * kPanel * plan.large_channels +
           row * kPanel + column % kPanel;
  }

  // Adds what lines [first, last) contribute.
  void add(std::int64_t first, std::int64_t last, const float* large, const float* small,
           float* sum) const {
    const std::int64_t row_size = static_cast<std::int64_t>(plan.large_width()) * plan.large_channels;
    const Buffer panel(block * plan.width * kPanel);
    std::vector<const float*> left;
    for (; first < last; first += block) {
      const std::int64_t end = std::min(last, first + block);
      left.clear();
      for (std::int64_t line = first; line < end; ++line) {
        left.push_back(large + plan.large_row(line) * row_size);
      }
      Prefetch<float> soon = prefetch_lines(plan, large, end, std::min(last, end + block),
                                            9 * tap_size / (kRows * kPanel));
      for (int column = 0; column < plan.small_channels; column += kPanel) {
        copy_panel(small + first * plan.width * plan.small_channels, column,
                   (end - first) * plan.width, panel.at(0));
        add_panel(left, panel.at(0), column, row_size, soon, sum);
      }
    }
  }

  void copy_panel(const float* small, int column, std::int64_t pixels, float* panel) const {
    const int width = std::min(kPanel, plan.small_channels - column);
    for (std::int64_t pixel = 0; pixel < pixels; ++pixel) {
      const float* source = small + pixel * plan.small_channels + column;
      for (int i = 0; i < width; i += kLanes) store(panel + pixel * kPanel + i, load(source + i));
    }
  }

  void add_panel(const std::vector<const float*>& left, const float* panel, int column,
                 std::int64_t row_size, Prefetch<float>& soon, float* sum) const {
    const auto add = plan.small_channels - column > kLanes ? add_lines<2> : add_lines<1>;
    for (int row = 0; row < plan.large_channels; row += kRows) {
      for (int tap = 0; tap < 9; ++tap) {
        soon.next_piece<false>();
        add(left, tap / 3 * row_size + tap % 3 * plan.large_channels + row, 2 * plan.large_channels,
            panel, plan.width, sum + offset_of(tap, row, column));
      }
    }
  }

  const StridedPlan& plan;
  const std::int64_t tap_size, block;
};

}  // namespace

void strided_conv3x3_weight_gradient_cpu(const StridedPlan& plan, const float* large,
                                         const float* small, int parts, float* dweights,
                                         const ParallelFor& parallel_for) {
  const Sums layout(plan);
  const int rows = plan.large_channels, columns = plan.small_channels;
  parts = static_cast<int>(std::min<std::int64_t>(parts, plan.lines()));
  const Buffer sums(parts * 9 * layout.tap_size);  // each part has its own
  parallel_for(parts, 1 << 30, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t part = begin; part < end; ++part) {
      float* sum = sums.at(part * 9 * layout.tap_size);
      std::memset(sum, 0, 9 * layout.tap_size * sizeof(float));
      layout.add(plan.lines() * part / parts, plan.lines() * (part + 1) / parts, large, small,
                 sum);
    }
  });
  parallel_for(9, layout.tap_size * parts, [&](std::int64_t begin, std::int64_t end) {
    for (int tap = static_cast<int>(begin); tap < end; ++tap) {
      float* target = dweights + static_cast<std::int64_t>(tap) * rows * columns;
      for (int column = 0; column < columns; column += kLanes) {
        for (int row = 0; row < rows; ++row) {
          Vector total = {};
          for (int part = 0; part < parts; ++part) {
            total += load(sums.at(part * 9 * layout.tap_size + layout.offset_of(tap, row, column)));
          }
          store(target + static_cast<std::int64_t>(row) * columns + column, total);
        }
      }
    }
  });
}

}  // namespace gansformer
