// 3x3 convolutions on the CPU, computed in float32; see conv3x3.h for the method.
#include "convolution/conv3x3.h"

#include <algorithm>

#include "common/matrix_product.h"
#include "common/prefetch.h"

namespace gansformer {
namespace {

constexpr std::int64_t kCacheFloats = 1 << 18;  // of transformed tiles: half of a usual L2 cache

// Added to the distance of neighbouring elements: a power of two would map all to one cache line set.
constexpr int kSkew = 16;

// Where the tiles of a plan lie, and how many are worked on together.
struct Tiles {
  explicit Tiles(const Conv3x3Plan& plan)
      : down((plan.height + kTile - 1) / kTile),
        across((plan.width + kTile - 1) / kTile),
        total(plan.batch * down * across),
        block(block_size(plan)),
        blocks((total + block - 1) / block) {}

  std::int64_t block_size(const Conv3x3Plan& plan) const {
    const std::int64_t fitting = kCacheFloats / (kElements * (plan.inputs + plan.outputs));
    const std::int64_t quarter = (total + 3) / 4;  // small images: work for several threads
    const std::int64_t size = std::min<std::int64_t>({96, fitting, quarter});
    return round_up(std::max<std::int64_t>(1, size), kRows);
  }

  const int down, across;
  const std::int64_t total, block, blocks;
};

// The rows of pixels that a block of tiles lies in, without their neighbours, in one piece for each
// element.
template <typename T>
Prefetch<T> prefetch_block(const Conv3x3Plan& plan, const Tiles& tiles, std::int64_t block,
                           const T* images, int channels) {
  const auto row = [&](std::int64_t tile) {  // of all images
    const std::int64_t lines = tile / tiles.across;
    return lines / tiles.down * plan.height + lines % tiles.down * kTile;
  };
  if (block >= tiles.blocks) return {images, images, kElements};
  const std::int64_t first = block * tiles.block;
  const std::int64_t last = std::min(tiles.total, first + tiles.block) - 1;
  const std::int64_t end = std::min<std::int64_t>(plan.batch * plan.height, row(last) + kTile);
  const std::int64_t row_size = static_cast<std::int64_t>(plan.width) * channels;
  return {images + row(first) * row_size, images + end * row_size, kElements};
}

// The products of the matrices of conv3x3.h with a vector of vectors. Rows come in pairs that differ
// in the sign of every other term.
#define ALWAYS_INLINE inline __attribute__((always_inline))

struct InputTransform {  // B'
  static constexpr int kFrom = kPatch, kTo = kPatch;
  static ALWAYS_INLINE void apply(const Vector (&x)[kFrom], Vector (&y)[kTo]) {
    const Vector even = x[4] - 4 * x[2], odd = x[3] - 4 * x[1];
    const Vector far_even = x[4] - x[2], far_odd = x[3] - x[1];
    y[0] = 4 * x[0] - 5 * x[2] + x[4];
    y[1] = even + odd;
    y[2] = even - odd;
    y[3] = far_even + 2 * far_odd;
    y[4] = far_even - 2 * far_odd;
    y[5] = 4 * x[1] - 5 * x[3] + x[5];
  }
};

struct OutputTransform {  // A'
  static constexpr int kFrom = kPatch, kTo = kTile;
  static ALWAYS_INLINE void apply(const Vector (&x)[kFrom], Vector (&y)[kTo]) {
    const Vector sum = x[1] + x[2], difference = x[1] - x[2];
    const Vector far_sum = x[3] + x[4], far_difference = x[3] - x[4];
    y[0] = x[0] + sum + far_sum;
    y[1] = difference + 2 * far_difference;
    y[2] = sum + 4 * far_sum;
    y[3] = difference + 8 * far_difference + x[5];
  }
};

struct UpstreamTransform {  // A
  static constexpr int kFrom = kTile, kTo = kPatch;
  static ALWAYS_INLINE void apply(const Vector (&x)[kFrom], Vector (&y)[kTo]) {
    const Vector even = x[0] + x[2], odd = x[1] + x[3];
    const Vector far_even = x[0] + 4 * x[2], far_odd = 2 * x[1] + 8 * x[3];
    y[0] = x[0];
    y[1] = even + odd;
    y[2] = even - odd;
    y[3] = far_even + far_odd;
    y[4] = far_even - far_odd;
    y[5] = x[3];
  }
};

struct WeightTransform {  // G
  static constexpr int kFrom = 3, kTo = kPatch;
  static ALWAYS_INLINE void apply(const Vector (&x)[kFrom], Vector (&y)[kTo]) {
    const Vector even = (x[0] + x[2]) * (-1 / 6.0f), odd = x[1] * (-1 / 6.0f);
    const Vector far_even = x[0] * (1 / 24.0f) + x[2] * (1 / 6.0f);
    const Vector far_odd = x[1] * (1 / 12.0f);
    y[0] = x[0] * 0.25f;
    y[1] = even + odd;
    y[2] = even - odd;
    y[3] = far_even + far_odd;
    y[4] = far_even - far_odd;
    y[5] = x[2];
  }
};

struct WeightGradientTransform {  // G'
  static constexpr int kFrom = kPatch, kTo = 3;
  static ALWAYS_INLINE void apply(const Vector (&x)[kFrom], Vector (&y)[kTo]) {
    const Vector sum = (x[1] + x[2]) * (-1 / 6.0f), far_sum = x[3] + x[4];
    const Vector difference = x[2] - x[1], far_difference = x[3] - x[4];
    y[0] = x[0] * 0.25f + sum + far_sum * (1 / 24.0f);
    y[1] = difference * (1 / 6.0f) + far_difference * (1 / 12.0f);
    y[2] = sum + far_sum * (1 / 6.0f) + x[5];
  }
};

// A square of vectors: element (i, j) starts at data[i * down + j * right].
template <typename T>
struct Square {
  T* at(int i, int j) const { return data + i * down + j * right; }

  T* data;
  std::int64_t down, right;
};

// to = M from M' for the matrix M of a transform. The outer loops are kept: unrolled they would need
// more addresses than there are registers.
template <typename Transform, typename From, typename To>
ALWAYS_INLINE void sandwich(const Square<From>& from, const Square<To>& to) {
  constexpr int kFrom = Transform::kFrom, kTo = Transform::kTo;
  Vector half[kTo][kFrom], x[kFrom], y[kTo];
#pragma GCC unroll 1
  for (int j = 0; j < kFrom; ++j) {
#pragma GCC unroll 8
    for (int i = 0; i < kFrom; ++i) x[i] = load(from.at(i, j));
    Transform::apply(x, y);
#pragma GCC unroll 8
    for (int i = 0; i < kTo; ++i) half[i][j] = y[i];
  }
#pragma GCC unroll 1
  for (int i = 0; i < kTo; ++i) {
    Transform::apply(half[i], y);
#pragma GCC unroll 8
    for (int j = 0; j < kTo; ++j) store(to.at(i, j), y[j]);
  }
}

// The elements of a tile, whose distance is `step`.
template <typename Float>
Square<Float> elements_at(Float* first, std::int64_t step) {
  return {first, kPatch * step, step};
}

// The size x size pixels from (top, left) of an image of the batch, as far as they lie inside of it.
template <typename T>
struct Window {
  Window(const Conv3x3Plan& plan, T* images, int channels, std::int64_t image, int top, int left,
         int size)
      : data(images + ((image * plan.height + top) * plan.width + left) * channels),
        down(static_cast<std::int64_t>(plan.width) * channels),
        right(channels),
        first_row(std::max(0, -top)),
        last_row(std::min(size, plan.height - top)),
        first_column(std::max(0, -left)),
        last_column(std::min(size, plan.width - left)),
        whole(first_row == 0 && first_column == 0 && last_row == size && last_column == size) {}

  Square<T> from(int channel) const { return {data + channel, down, right}; }

  // Runs visit(i, j) for the pixels inside.
  template <typename Visit>
  void for_each_pixel(const Visit& visit) const {
    for (int i = first_row; i < last_row; ++i) {
      for (int j = first_column; j < last_column; ++j) visit(i, j);
    }
  }

  T* const data;
  const std::int64_t down, right;
  const int first_row, last_row, first_column, last_column;
  const bool whole;
};

// to = M x M' of the pixels in a window, zero where there are none.
template <typename Transform, typename T>
void transform_pixels(const Window<const T>& window, int channel, const Square<float>& to) {
  constexpr int kSize = Transform::kFrom;
  const Square<const T> source = window.from(channel);
  if (window.whole) return sandwich<Transform>(source, to);
  float copies[kSize * kSize * kLanes] = {};
  const Square<float> pixels = {copies, kSize * kLanes, kLanes};
  window.for_each_pixel([&](int i, int j) { store(pixels.at(i, j), load(source.at(i, j))); });
  sandwich<Transform>(pixels, to);
}

// Calls visit(tile of the block, image, top, left) for tiles [first, first + count).
template <typename Visit>
void for_each_tile(const Tiles& tiles, std::int64_t first, std::int64_t count,
                   const Visit& visit) {
  for (std::int64_t tile = 0; tile < count; ++tile) {
    const std::int64_t number = first + tile, position = number % (tiles.down * tiles.across);
    visit(tile, number / (tiles.down * tiles.across),
          static_cast<int>(position / tiles.across) * kTile,
          static_cast<int>(position % tiles.across) * kTile);
  }
}

// B' x B of each tile: [element][tile][channel].
template <typename T>
void transform_inputs(const Conv3x3Plan& plan, const Tiles& tiles, const T* x,
                      std::int64_t element_step, std::int64_t first, std::int64_t count,
                      float* transformed) {
  for_each_tile(tiles, first, count, [&](std::int64_t tile, std::int64_t image, int top, int left) {
    const Window<const T> window(plan, x, plan.inputs, image, top - 1, left - 1, kPatch);
    for (int channel = 0; channel < plan.inputs; channel += kLanes) {
      float* target = transformed + tile * plan.inputs + channel;
      transform_pixels<InputTransform>(window, channel, elements_at(target, element_step));
    }
  });
}

// Where tile `tile`, channel `channel` of [element][panel][tile][kPanel] lies, for element 0.
inline std::int64_t in_panels(std::int64_t rows, std::int64_t row, int channel) {
  return (channel / kPanel * rows + row) * kPanel + channel % kPanel;
}

// y = A' product A of each tile.
template <typename T>
void transform_outputs(const Conv3x3Plan& plan, const Tiles& tiles, const float* products,
                       std::int64_t element_step, std::int64_t first, std::int64_t count, T* y) {
  for_each_tile(tiles, first, count, [&](std::int64_t tile, std::int64_t image, int top, int left) {
    const Window<T> window(plan, y, plan.outputs, image, top, left, kTile);
    for (int channel = 0; channel < plan.outputs; channel += kLanes) {
      const float* source = products + in_panels(tiles.block, tile, channel);
      const Square<T> target = window.from(channel);
      if (window.whole) {
        sandwich<OutputTransform>(elements_at(source, element_step), target);
        continue;
      }
      float copies[kTile * kTile * kLanes];
      const Square<float> pixels = {copies, kTile * kLanes, kLanes};
      sandwich<OutputTransform>(elements_at(source, element_step), pixels);
      window.for_each_pixel([&](int i, int j) { store(target.at(i, j), load(pixels.at(i, j))); });
    }
  });
}

// A dy A' of each tile, in panels: what the output's gradient sends to the products.
template <typename T>
void transform_upstream(const Conv3x3Plan& plan, const Tiles& tiles, const T* dy,
                        std::int64_t element_step, std::int64_t first, std::int64_t count,
                        float* products) {
  for_each_tile(tiles, first, count, [&](std::int64_t tile, std::int64_t image, int top, int left) {
    const Window<const T> window(plan, dy, plan.outputs, image, top, left, kTile);
    for (int channel = 0; channel < plan.outputs; channel += kLanes) {
      float* target = products + in_panels(tiles.block, tile, channel);
      transform_pixels<UpstreamTransform>(window, channel, elements_at(target, element_step));
    }
  });
}

// G w G' in panels: [element][panel][input][kPanel].
void transform_weights(const Conv3x3Plan& plan, const float* weights, bool transposed,
                       std::int64_t element_step, int first_input, int last_input, float* result) {
  const std::int64_t tap_size = static_cast<std::int64_t>(plan.inputs) * plan.outputs;
  for (int input = first_input; input < last_input; ++input) {
    for (int output = 0; output < plan.outputs; output += kLanes) {
      const float* source = weights + static_cast<std::int64_t>(input) * plan.outputs + output;
      Square<const float> taps = {source, 3 * tap_size, tap_size};
      float flipped[9 * kLanes];
      if (transposed) {  // weights: [8 - tap][output][input]
        for (int tap = 0; tap < 9; ++tap) {
          for (int lane = 0; lane < kLanes; ++lane) {
            const std::int64_t row = static_cast<std::int64_t>(output + lane) * plan.inputs;
            flipped[tap * kLanes + lane] = weights[(8 - tap) * tap_size + row + input];
          }
        }
        taps = {flipped, 3 * kLanes, kLanes};
      }
      float* target = result + in_panels(plan.inputs, input, output);
      sandwich<WeightTransform>(taps, elements_at(target, element_step));
    }
  }
}

}  // namespace

template <typename T>
void Conv3x3Cpu<T>::forward(const Conv3x3Plan& plan, const T* x, const float* weights,
                            bool transposed, T* y, const ParallelFor& parallel_for) {
  const Tiles tiles(plan);
  const int outputs = static_cast<int>(round_up(plan.outputs, kPanel));
  const std::int64_t weight_step = static_cast<std::int64_t>(plan.inputs) * outputs + kSkew;
  const std::int64_t product_step = tiles.block * outputs + kSkew;
  const Buffer transformed_weights(kElements * weight_step);
  parallel_for(plan.inputs, plan.outputs * 40, [&](std::int64_t begin, std::int64_t end) {
    transform_weights(plan, weights, transposed, weight_step, begin, end,
                      transformed_weights.at(0));
  });
  const std::int64_t cycles = tiles.block * plan.inputs * plan.outputs;
  parallel_for(tiles.blocks, cycles, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t input_step = tiles.block * plan.inputs + kSkew;
    const Buffer inputs(kElements * input_step), products(kElements * product_step);
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t first = block * tiles.block;
      const std::int64_t count = std::min(tiles.block, tiles.total - first);
      transform_inputs(plan, tiles, x, input_step, first, count, inputs.at(0));
      auto next_inputs = prefetch_block(plan, tiles, block + 1, x, plan.inputs);
      auto these_outputs = prefetch_block(plan, tiles, block, y, plan.outputs);
      for (int element = 0; element < kElements; ++element) {
        next_inputs.template next_piece<false>();
        these_outputs.template next_piece<true>();
        multiply<false>(count, plan.outputs, plan.inputs,
                        {inputs.at(element * input_step), plan.inputs, 1},
                        {transformed_weights.at(element * weight_step), kPanel,
                         plan.inputs * kPanel},
                        {products.at(element * product_step), kPanel, tiles.block * kPanel});
      }
      transform_outputs(plan, tiles, products.at(0), product_step, first, count, y);
    }
  });
}

template <typename T>
void Conv3x3Cpu<T>::weight_gradient(const Conv3x3Plan& plan, const T* x, const T* dy, int parts,
                                    float* dweights, const ParallelFor& parallel_for) {
  const Tiles tiles(plan);
  const int outputs = static_cast<int>(round_up(plan.outputs, kPanel));
  const std::int64_t weight_step = static_cast<std::int64_t>(plan.inputs) * outputs + kSkew;
  const std::int64_t input_step = tiles.block * plan.inputs + kSkew;
  const std::int64_t product_step = tiles.block * outputs + kSkew;
  parts = static_cast<int>(std::min<std::int64_t>(parts, tiles.blocks));
  const Buffer sums(parts * kElements * weight_step);  // each part has its own
  parallel_for(parts, 1 << 30, [&](std::int64_t begin, std::int64_t end) {
    const Buffer inputs(kElements * input_step), products(kElements * product_step);
    for (std::int64_t part = begin; part < end; ++part) {
      float* sum = sums.at(part * kElements * weight_step);
      std::memset(sum, 0, kElements * weight_step * sizeof(float));
      const std::int64_t last = tiles.blocks * (part + 1) / parts;
      for (std::int64_t block = tiles.blocks * part / parts; block < last; ++block) {
        const std::int64_t first = block * tiles.block;
        const std::int64_t count = std::min(tiles.block, tiles.total - first);
        transform_inputs(plan, tiles, x, input_step, first, count, inputs.at(0));
        transform_upstream(plan, tiles, dy, product_step, first, count, products.at(0));
        auto next_inputs = prefetch_block(plan, tiles, block + 1, x, plan.inputs);
        auto next_upstream = prefetch_block(plan, tiles, block + 1, dy, plan.outputs);
        for (int element = 0; element < kElements; ++element) {
          next_inputs.template next_piece<false>();
          next_upstream.template next_piece<false>();
          multiply<true>(plan.inputs, plan.outputs, count,
                         {inputs.at(element * input_step), 1, plan.inputs},
                         {products.at(element * product_step), kPanel, tiles.block * kPanel},
                         {sum + element * weight_step, kPanel, plan.inputs * kPanel});
        }
      }
    }
  });
  parallel_for(plan.inputs, plan.outputs * 40 * parts, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t input = begin; input < end; ++input) {
      for (int output = 0; output < plan.outputs; output += kLanes) {
        float elements[kElements * kLanes];
        for (int element = 0; element < kElements; ++element) {
          Vector sum = {};
          for (int part = 0; part < parts; ++part) {
            sum += load(sums.at((part * kElements + element) * weight_step +
                                in_panels(plan.inputs, input, output)));
          }
          store(elements + element * kLanes, sum);
        }
        const std::int64_t tap_size = static_cast<std::int64_t>(plan.inputs) * plan.outputs;
        float* target = dweights + static_cast<std::int64_t>(input) * plan.outputs + output;
        sandwich<WeightGradientTransform>(elements_at<const float>(elements, kLanes),
                                          Square<float>{target, 3 * tap_size, tap_size});
      }
    }
  });
}

FOR_ALL_ELEMENT_TYPES(Conv3x3Cpu)

}  // namespace gansformer
