// 3x3 convolutions on the CPU in float32; see conv3x3.h for the method.
#include "conv3x3.h"

#include <algorithm>

#include "cpu_kernels.h"
#include "matrix_product.h"

namespace gansformer {
namespace {

constexpr std::int64_t kCacheFloats = 1 << 18;  // of transformed tiles: half of a usual L2 cache

// Added to the distance of neighbouring places: a power of two would map all to one cache line set.
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
    const std::int64_t fitting = kCacheFloats / (kPlaces * (plan.inputs + plan.outputs));
    const std::int64_t share = (total + 3) / 4;  // small pictures: work for several threads
    const std::int64_t size = std::min<std::int64_t>({96, fitting, share});
    return round_up(std::max<std::int64_t>(1, size), kRows);
  }

  const int down, across;
  const std::int64_t total, block, blocks;
};

// The products of the matrices of conv3x3.h with a column of vectors: y[i * to] from x[j * from].
// Rows come in pairs that differ in the sign of every other term.
#define ALWAYS_INLINE inline __attribute__((always_inline))

struct InputTransform {  // B'
  static constexpr int kInputs = kPatch, kOutputs = kPatch;
  static ALWAYS_INLINE void apply(const Vector* x, int from, Vector* y, int to) {
    const Vector x0 = x[0], x1 = x[from], x2 = x[2 * from], x3 = x[3 * from], x4 = x[4 * from];
    const Vector even = x4 - 4 * x2, odd = x3 - 4 * x1, far_even = x4 - x2, far_odd = x3 - x1;
    y[0] = 4 * x0 - 5 * x2 + x4;
    y[to] = even + odd;
    y[2 * to] = even - odd;
    y[3 * to] = far_even + 2 * far_odd;
    y[4 * to] = far_even - 2 * far_odd;
    y[5 * to] = 4 * x1 - 5 * x3 + x[5 * from];
  }
};

struct OutputTransform {  // A'
  static constexpr int kInputs = kPatch, kOutputs = kTile;
  static ALWAYS_INLINE void apply(const Vector* x, int from, Vector* y, int to) {
    const Vector sum = x[from] + x[2 * from], difference = x[from] - x[2 * from];
    const Vector far_sum = x[3 * from] + x[4 * from], far_difference = x[3 * from] - x[4 * from];
    y[0] = x[0] + sum + far_sum;
    y[to] = difference + 2 * far_difference;
    y[2 * to] = sum + 4 * far_sum;
    y[3 * to] = difference + 8 * far_difference + x[5 * from];
  }
};

struct UpstreamTransform {  // A
  static constexpr int kInputs = kTile, kOutputs = kPatch;
  static ALWAYS_INLINE void apply(const Vector* x, int from, Vector* y, int to) {
    const Vector even = x[0] + x[2 * from], odd = x[from] + x[3 * from];
    const Vector far_even = x[0] + 4 * x[2 * from], far_odd = 2 * x[from] + 8 * x[3 * from];
    y[0] = x[0];
    y[to] = even + odd;
    y[2 * to] = even - odd;
    y[3 * to] = far_even + far_odd;
    y[4 * to] = far_even - far_odd;
    y[5 * to] = x[3 * from];
  }
};

struct WeightTransform {  // G
  static constexpr int kInputs = 3, kOutputs = kPatch;
  static ALWAYS_INLINE void apply(const Vector* x, int from, Vector* y, int to) {
    const Vector even = (x[0] + x[2 * from]) * (-1 / 6.0f), odd = x[from] * (-1 / 6.0f);
    const Vector far_even = x[0] * (1 / 24.0f) + x[2 * from] * (1 / 6.0f);
    const Vector far_odd = x[from] * (1 / 12.0f);
    y[0] = x[0] * 0.25f;
    y[to] = even + odd;
    y[2 * to] = even - odd;
    y[3 * to] = far_even + far_odd;
    y[4 * to] = far_even - far_odd;
    y[5 * to] = x[2 * from];
  }
};

struct WeightGradientTransform {  // G'
  static constexpr int kInputs = kPatch, kOutputs = 3;
  static ALWAYS_INLINE void apply(const Vector* x, int from, Vector* y, int to) {
    const Vector sum = (x[from] + x[2 * from]) * (-1 / 6.0f), far_sum = x[3 * from] + x[4 * from];
    const Vector difference = x[2 * from] - x[from], far_difference = x[3 * from] - x[4 * from];
    y[0] = x[0] * 0.25f + sum + far_sum * (1 / 24.0f);
    y[to] = difference * (1 / 6.0f) + far_difference * (1 / 12.0f);
    y[2 * to] = sum + far_sum * (1 / 6.0f) + x[5 * from];
  }
};

// M X M' of a square X of vectors, for the matrix M of a transform.
template <typename Transform, int Inputs, int Outputs>
ALWAYS_INLINE void sandwich(const Vector (&x)[Inputs], Vector (&result)[Outputs]) {
  constexpr int kFrom = Transform::kInputs, kTo = Transform::kOutputs;
  static_assert(Inputs == kFrom * kFrom && Outputs == kTo * kTo, "sizes do not fit");
  Vector half[kTo * kFrom];
#pragma GCC unroll 8
  for (int j = 0; j < kFrom; ++j) Transform::apply(x + j, kFrom, half + j, kFrom);
#pragma GCC unroll 8
  for (int i = 0; i < kTo; ++i) Transform::apply(half + i * kFrom, 1, result + i * kTo, 1);
}

// Reads the size x size pixels from (top, left) of an image, zero outside of it.
template <int Size>
inline void read_square(const Conv3x3Plan& plan, const float* image, int channels, int top,
                        int left, int channel, Vector (&pixels)[Size * Size]) {
  const std::int64_t start = (static_cast<std::int64_t>(top) * plan.width + left) * channels;
  if (top >= 0 && left >= 0 && top + Size <= plan.height && left + Size <= plan.width) {
    const float* corner = image + start + channel;
#pragma GCC unroll 8
    for (int y = 0; y < Size; ++y) {
#pragma GCC unroll 8
      for (int x = 0; x < Size; ++x) {
        const std::int64_t pixel = static_cast<std::int64_t>(y) * plan.width + x;
        pixels[y * Size + x] = load(corner + pixel * channels);
      }
    }
    return;
  }
  for (int y = 0; y < Size; ++y) {
    for (int x = 0; x < Size; ++x) {
      const int row = top + y, column = left + x;
      Vector value = {};
      if (row >= 0 && row < plan.height && column >= 0 && column < plan.width) {
        const std::int64_t pixel = static_cast<std::int64_t>(row) * plan.width + column;
        value = load(image + pixel * channels + channel);
      }
      pixels[y * Size + x] = value;
    }
  }
}

// Calls visit(tile of the block, image, top, left) for tiles [first, first + count).
template <typename Visit>
void for_each_tile(const Tiles& tiles, std::int64_t first, std::int64_t count,
                   const Visit& visit) {
  for (std::int64_t tile = 0; tile < count; ++tile) {
    const std::int64_t number = first + tile, place = number % (tiles.down * tiles.across);
    visit(tile, number / (tiles.down * tiles.across),
          static_cast<int>(place / tiles.across) * kTile,
          static_cast<int>(place % tiles.across) * kTile);
  }
}

// B' x B of each tile: [place][tile][channel].
void transform_inputs(const Conv3x3Plan& plan, const Tiles& tiles, const float* x,
                      std::int64_t place_size, std::int64_t first, std::int64_t count,
                      float* transformed) {
  const std::int64_t image_size = static_cast<std::int64_t>(plan.height) * plan.width * plan.inputs;
  for_each_tile(tiles, first, count, [&](std::int64_t tile, std::int64_t image, int top, int left) {
    for (int channel = 0; channel < plan.inputs; channel += kLanes) {
      Vector patch[kPlaces], result[kPlaces];
      read_square<kPatch>(plan, x + image * image_size, plan.inputs, top - 1, left - 1, channel,
                          patch);
      sandwich<InputTransform>(patch, result);
      float* target = transformed + tile * plan.inputs + channel;
      for (int place = 0; place < kPlaces; ++place) {
        store(target + place * place_size, result[place]);
      }
    }
  });
}

// Where tile `tile`, channel `channel` of [place][panel][tile][kPanel] lies, for place 0.
inline std::int64_t in_panels(std::int64_t rows, std::int64_t row, int channel) {
  return (channel / kPanel * rows + row) * kPanel + channel % kPanel;
}

// y = A' product A of each tile.
void transform_outputs(const Conv3x3Plan& plan, const Tiles& tiles, const float* products,
                       std::int64_t place_size, std::int64_t first, std::int64_t count, float* y) {
  const std::int64_t image_size =
      static_cast<std::int64_t>(plan.height) * plan.width * plan.outputs;
  for_each_tile(tiles, first, count, [&](std::int64_t tile, std::int64_t image, int top, int left) {
    for (int channel = 0; channel < plan.outputs; channel += kLanes) {
      Vector product[kPlaces], result[kTile * kTile];
      const float* source = products + in_panels(tiles.block, tile, channel);
      for (int place = 0; place < kPlaces; ++place) {
        product[place] = load(source + place * place_size);
      }
      sandwich<OutputTransform>(product, result);
      for (int i = 0; i < std::min(kTile, plan.height - top); ++i) {
        for (int j = 0; j < std::min(kTile, plan.width - left); ++j) {
          const std::int64_t pixel = static_cast<std::int64_t>(top + i) * plan.width + left + j;
          float* target = y + image * image_size + pixel * plan.outputs + channel;
          store(target, result[i * kTile + j]);
        }
      }
    }
  });
}

// A dy A' of each tile, in panels: what the output's gradient sends to the products.
void transform_upstream(const Conv3x3Plan& plan, const Tiles& tiles, const float* dy,
                        std::int64_t place_size, std::int64_t first, std::int64_t count,
                        float* products) {
  const std::int64_t image_size =
      static_cast<std::int64_t>(plan.height) * plan.width * plan.outputs;
  for_each_tile(tiles, first, count, [&](std::int64_t tile, std::int64_t image, int top, int left) {
    for (int channel = 0; channel < plan.outputs; channel += kLanes) {
      Vector pixels[kTile * kTile], result[kPlaces];
      read_square<kTile>(plan, dy + image * image_size, plan.outputs, top, left, channel, pixels);
      sandwich<UpstreamTransform>(pixels, result);
      float* target = products + in_panels(tiles.block, tile, channel);
      for (int place = 0; place < kPlaces; ++place) {
        store(target + place * place_size, result[place]);
      }
    }
  });
}

// G w G' in panels: [place][panel][input][kPanel].
void transform_weights(const Conv3x3Plan& plan, const float* weights, bool transposed,
                       std::int64_t place_size, int first_input, int last_input, float* result) {
  for (int input = first_input; input < last_input; ++input) {
    for (int output = 0; output < plan.outputs; output += kLanes) {
      Vector taps[9], places[kPlaces];
      for (int tap = 0; tap < 9; ++tap) {
        if (!transposed) {
          const std::int64_t row = static_cast<std::int64_t>(tap) * plan.inputs + input;
          taps[tap] = load(weights + row * plan.outputs + output);
          continue;
        }
        for (int lane = 0; lane < kLanes; ++lane) {  // weights: [8 - tap][output][input]
          const std::int64_t row = static_cast<std::int64_t>(8 - tap) * plan.outputs + output + lane;
          taps[tap][lane] = weights[row * plan.inputs + input];
        }
      }
      sandwich<WeightTransform>(taps, places);
      float* target = result + in_panels(plan.inputs, input, output);
      for (int place = 0; place < kPlaces; ++place) {
        store(target + place * place_size, places[place]);
      }
    }
  }
}

}  // namespace

void conv3x3_cpu(const Conv3x3Plan& plan, const float* x, const float* weights, bool transposed,
                 float* y, const ParallelFor& parallel_for) {
  const Tiles tiles(plan);
  const int outputs = static_cast<int>(round_up(plan.outputs, kPanel));
  const std::int64_t weight_place = static_cast<std::int64_t>(plan.inputs) * outputs + kSkew;
  const std::int64_t product_place = tiles.block * outputs + kSkew;
  const Buffer transformed_weights(kPlaces * weight_place);
  parallel_for(plan.inputs, plan.outputs * 40, [&](std::int64_t begin, std::int64_t end) {
    transform_weights(plan, weights, transposed, weight_place, begin, end,
                      transformed_weights.at(0));
  });
  const std::int64_t cycles = tiles.block * plan.inputs * plan.outputs;
  parallel_for(tiles.blocks, cycles, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t input_place = tiles.block * plan.inputs + kSkew;
    const Buffer inputs(kPlaces * input_place), products(kPlaces * product_place);
    for (std::int64_t block = begin; block < end; ++block) {
      const std::int64_t first = block * tiles.block;
      const std::int64_t count = std::min(tiles.block, tiles.total - first);
      transform_inputs(plan, tiles, x, input_place, first, count, inputs.at(0));
      for (int place = 0; place < kPlaces; ++place) {
        multiply<false>(count, plan.outputs, plan.inputs,
                        {inputs.at(place * input_place), plan.inputs, 1},
                        {transformed_weights.at(place * weight_place), kPanel,
                         plan.inputs * kPanel},
                        {products.at(place * product_place), kPanel, tiles.block * kPanel});
      }
      transform_outputs(plan, tiles, products.at(0), product_place, first, count, y);
    }
  });
}

void conv3x3_weight_gradient_cpu(const Conv3x3Plan& plan, const float* x, const float* dy,
                                 int shares, float* dweights, const ParallelFor& parallel_for) {
  const Tiles tiles(plan);
  const int outputs = static_cast<int>(round_up(plan.outputs, kPanel));
  const std::int64_t weight_place = static_cast<std::int64_t>(plan.inputs) * outputs + kSkew;
  const std::int64_t input_place = tiles.block * plan.inputs + kSkew;
  const std::int64_t product_place = tiles.block * outputs + kSkew;
  shares = static_cast<int>(std::min<std::int64_t>(shares, tiles.blocks));
  const Buffer sums(shares * kPlaces * weight_place);  // each share has its own
  parallel_for(shares, 1 << 30, [&](std::int64_t begin, std::int64_t end) {
    const Buffer inputs(kPlaces * input_place), products(kPlaces * product_place);
    for (std::int64_t share = begin; share < end; ++share) {
      float* sum = sums.at(share * kPlaces * weight_place);
      std::memset(sum, 0, kPlaces * weight_place * sizeof(float));
      const std::int64_t last = tiles.blocks * (share + 1) / shares;
      for (std::int64_t block = tiles.blocks * share / shares; block < last; ++block) {
        const std::int64_t first = block * tiles.block;
        const std::int64_t count = std::min(tiles.block, tiles.total - first);
        transform_inputs(plan, tiles, x, input_place, first, count, inputs.at(0));
        transform_upstream(plan, tiles, dy, product_place, first, count, products.at(0));
        for (int place = 0; place < kPlaces; ++place) {
          multiply<true>(plan.inputs, plan.outputs, count,
                         {inputs.at(place * input_place), 1, plan.inputs},
                         {products.at(place * product_place), kPanel, tiles.block * kPanel},
                         {sum + place * weight_place, kPanel, plan.inputs * kPanel});
        }
      }
    }
  });
  parallel_for(plan.inputs, plan.outputs * 40 * shares, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t input = begin; input < end; ++input) {
      for (int output = 0; output < plan.outputs; output += kLanes) {
        Vector places[kPlaces], taps[9];
        for (int place = 0; place < kPlaces; ++place) {
          Vector sum = {};
          for (int share = 0; share < shares; ++share) {
            sum += load(sums.at((share * kPlaces + place) * weight_place +
                                in_panels(plan.inputs, input, output)));
          }
          places[place] = sum;
        }
        sandwich<WeightGradientTransform>(places, taps);
        for (int tap = 0; tap < 9; ++tap) {
          const std::int64_t row = tap * plan.inputs + input;
          store(dweights + row * plan.outputs + output, taps[tap]);
        }
      }
    }
  });
}

}  // namespace gansformer
