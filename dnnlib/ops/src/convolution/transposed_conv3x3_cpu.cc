// Transposed 3x3 convolutions with stride 2 on the CPU in float32; see strided_conv3x3.h.
#include "convolution/strided_conv3x3.h"

#include <algorithm>
#include <vector>

#include "common/matrix_product.h"

namespace gansformer {
namespace {

constexpr std::int64_t kCacheFloats = 1 << 17;  // of both images: a quarter of a usual L2 cache

// Along one axis, outputs 2i + offset for i in [begin, end) and the taps that meet there: tap t brings
// the input at i + (offset - t) / 2, and all of these exist.
struct Phase {
  int begin, end, offset, count, taps[2];
};

std::vector<Phase> phases_of(int size) {
  return {{0, size, 1, 1, {1}}, {1, size, 0, 2, {0, 2}}, {0, 1, 0, 1, {0}},
          {size - 1, size, 2, 1, {2}}};
}

// One factor of a product: how far from a listed pixel, and the weights of the first panel.
struct Tap {
  std::int64_t distance;
  const float* weights;
};

// Pixels that use the same taps, each with its result.
struct Pixels {
  void clear() { from.clear(), to.clear(); }
  void add(const float* source, float* target) { from.push_back(source), to.push_back(target); }
  std::vector<const float*> from;
  std::vector<float*> to;
};

// to[r][column] = sum over taps and k of from[r][distance + k] weights[k][column] for kRows pixels. All
// of them share the index k, so that their pointers stay in registers.
template <int Vectors>
__attribute__((noinline)) void multiply_pixels(const float* const* from, const std::vector<Tap>& taps,
                                               std::int64_t depth, float* const* to, int column) {
  Vector sums[kRows][Vectors] = {};
  const float* rows[kRows];
  for (int r = 0; r < kRows; ++r) rows[r] = from[r];
  for (const Tap& tap : taps) {
    const float* weights = tap.weights + column * depth;
    const std::int64_t end = tap.distance + depth;
    for (std::int64_t k = tap.distance; k < end; ++k, weights += kPanel) {
      Vector line[Vectors];
#pragma GCC unroll 2
      for (int v = 0; v < Vectors; ++v) line[v] = load_once(weights + v * kLanes);
#pragma GCC unroll 8
      for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) sums[r][v] += rows[r][k] * line[v];
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) store(to[r] + column + v * kLanes, sums[r][v]);
  }
}

// The same for all listed pixels and all columns; `unused` takes what fills up the last kRows.
void multiply_list(Pixels& pixels, const std::vector<Tap>& taps, std::int64_t depth, int columns,
                   float* unused, Prefetch<float>& soon) {
  while (pixels.from.size() % kRows != 0) pixels.add(pixels.from[0], unused);
  for (int column = 0; column < columns; column += kPanel) {
    const auto multiply = columns - column > kLanes ? multiply_pixels<2> : multiply_pixels<1>;
    for (std::size_t i = 0; i < pixels.from.size(); i += kRows) {
      soon.next_piece<true>();
      multiply(&pixels.from[i], taps, depth, &pixels.to[i], column);
    }
  }
}

// One tap in panels, [panel][k][kPanel], from [column][k].
void pack_tap(const float* weights, int depth, int columns, float* packed) {
  for (int column = 0; column < columns; ++column) {
    float* panel = packed + static_cast<std::int64_t>(column) / kPanel * kPanel * depth;
    const float* source = weights + static_cast<std::int64_t>(column) * depth;
    for (int k = 0; k < depth; ++k) panel[k * kPanel + column % kPanel] = source[k];
  }
}

// What the blocks of one convolution share.
struct Convolution {
  // What lies beside lines [first, last) on the large side.
  void run(std::int64_t first, std::int64_t last, const float* small, float* large) const {
    const std::int64_t after = std::min(plan.lines(), 2 * last - first);
    const std::int64_t products = (last - first) * plan.width * 4 / kRows *
                                  (round_up(plan.large_channels, kPanel) / kPanel);
    Prefetch<float> soon = prefetch_lines(plan, large, last, after, products + 1);
    std::vector<float> unused(round_up(plan.large_channels, kPanel));
    Pixels pixels;
    for (const Phase& row : phases_of(plan.height)) {
      for (const Phase& column : phases_of(plan.width)) {
        list_pixels(row, column, first, last, small, large, pixels);
        if (pixels.from.empty()) continue;
        multiply_list(pixels, taps_of(row, column), plan.small_channels, plan.large_channels,
                      unused.data(), soon);
      }
    }
  }

  void list_pixels(const Phase& row, const Phase& column, std::int64_t first, std::int64_t last,
                   const float* small, float* large, Pixels& pixels) const {
    pixels.clear();
    for (std::int64_t line = first; line < last; ++line) {
      const int i = static_cast<int>(line % plan.height);
      if (i < row.begin || i >= row.end) continue;
      const std::int64_t large_row = plan.large_row(line) + row.offset;
      for (int j = column.begin; j < column.end; ++j) {
        const std::int64_t target = large_row * plan.large_width() + 2 * j + column.offset;
        pixels.add(small + (line * plan.width + j) * plan.small_channels,
                   large + target * plan.large_channels);
      }
    }
  }

  std::vector<Tap> taps_of(const Phase& row, const Phase& column) const {
    std::vector<Tap> taps;
    for (int a = 0; a < row.count; ++a) {
      for (int e = 0; e < column.count; ++e) {
        const std::int64_t tap = 3 * row.taps[a] + column.taps[e];
        const std::int64_t down = (row.offset - row.taps[a]) / 2;
        const std::int64_t right = (column.offset - column.taps[e]) / 2;
        taps.push_back({(down * plan.width + right) * plan.small_channels,
                        weights + tap * tap_size});
      }
    }
    return taps;
  }

  const StridedPlan& plan;
  const float* const weights;  // [tap][panel][k][kPanel]
  const std::int64_t tap_size;
};

}  // namespace

void transposed_conv3x3_cpu(const StridedPlan& plan, const float* small, const float* weights,
                            float* large, const ParallelFor& parallel_for) {
  const int depth = plan.small_channels, columns = plan.large_channels;
  const std::int64_t tap_size = depth * round_up(columns, kPanel);
  const Buffer packed(9 * tap_size);
  parallel_for(9, tap_size, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t tap = begin; tap < end; ++tap) {
      pack_tap(weights + tap * depth * columns, depth, columns, packed.at(tap * tap_size));
    }
  });
  const Convolution convolution = {plan, packed.at(0), tap_size};
  const std::int64_t lines = plan.lines();
  const std::int64_t line_size = plan.width * (depth + 4LL * columns);
  const std::int64_t blocks = round_up(lines * line_size / kCacheFloats + 1, 4);  // even parts
  const std::int64_t block = (lines + blocks - 1) / blocks;
  const std::int64_t cycles = block * plan.width * depth * columns / 2;
  parallel_for((lines + block - 1) / block, cycles, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t first = begin * block; first < std::min(lines, end * block); first += block) {
      convolution.run(first, std::min(lines, first + block), small, large);
    }
  });
}

}  // namespace gansformer
