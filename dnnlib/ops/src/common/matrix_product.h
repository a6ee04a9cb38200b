// Products of small float32 matrices that lie in the cache.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#include "common/portable.h"

namespace gansformer {

#ifdef __AVX512F__
constexpr int kLanes = 16, kRows = 8;  // kRows x 2 vectors of sums stay in registers
#else
constexpr int kLanes = 8, kRows = 4;
#endif
constexpr int kPanel = 2 * kLanes;  // neighbouring columns that are computed together

using Vector = float __attribute__((vector_size(kLanes * sizeof(float))));

inline Vector load(const float* source) {
  Vector value;
  std::memcpy(&value, source, sizeof(value));
  return value;
}

using Bits = std::uint32_t __attribute__((vector_size(kLanes * sizeof(std::uint32_t))));
using Halves = std::uint16_t __attribute__((vector_size(kLanes * sizeof(std::uint16_t))));

inline Vector load(const BFloat16* source) {
  Halves halves;
  std::memcpy(&halves, source, sizeof(halves));
  const Bits bits = __builtin_convertvector(halves, Bits) << 16;
  Vector value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

inline Vector load(const Float16* source) {
  float lanes[kLanes];
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane] = to_float(source[lane]);
  return load(lanes);
}

// A vector that is read once and then used many times. Left alone, GCC makes such a read part of each
// product, and with the few registers of AVX2 the reads then take twice as long as the products.
inline Vector load_once(const float* source) {
  Vector value = load(source);
#if defined(__AVX__) && !defined(__AVX512F__)
  asm("" : "+v"(value));
#endif
  return value;
}

inline void store(float* target, Vector value) { std::memcpy(target, &value, sizeof(value)); }

// Like that of portable.h. As a loop over lanes GCC would leave it one value at a time.
inline void store(BFloat16* target, Vector value) {
  Bits bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const Bits rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Bits kept = value == value ? rounded : Bits{} + 0x7fc0u;
  const Halves halves = __builtin_convertvector(kept, Halves);
  std::memcpy(target, &halves, sizeof(halves));
}

inline void store(Float16* target, Vector value) {
  for (int lane = 0; lane < kLanes; ++lane) store(target + lane, float{value[lane]});
}

inline Vector spread(float value) { return value - Vector{}; }

// combine() of all lanes of a vector, by halves: in a chain each step would wait for the one before.
template <typename Combine>
inline float over_lanes(Vector value, const Combine& combine) {
  using Half = float __attribute__((vector_size(kLanes / 2 * sizeof(float))));
  using Quarter = float __attribute__((vector_size(kLanes / 4 * sizeof(float))));
  Half halves[2];
  std::memcpy(halves, &value, sizeof(value));
  const Half half = combine(halves[0], halves[1]);
  Quarter quarters[2];
  std::memcpy(quarters, &half, sizeof(half));
  const Quarter quarter = combine(quarters[0], quarters[1]);
  float result = quarter[0];
  for (int lane = 1; lane < kLanes / 4; ++lane) result = combine(result, quarter[lane]);
  return result;
}

inline float sum_of_lanes(Vector value) {
  return over_lanes(value, [](auto a, auto b) { return a + b; });
}

inline float maximum_of_lanes(Vector value) {
  return over_lanes(value, [](auto a, auto b) { return a > b ? a : b; });
}

// The inner product of rows whose length is a multiple of kLanes.
inline float inner_product(const float* a, const float* b, std::int64_t count) {
  Vector sum = {};
  for (std::int64_t i = 0; i < count; i += kLanes) sum += load(a + i) * load(b + i);
  return sum_of_lanes(sum);
}

inline std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// Memory that starts with a cache line and is not cleared first.
class Buffer {
 public:
  explicit Buffer(std::int64_t size)
      : data_(static_cast<float*>(std::aligned_alloc(64, round_up(size * sizeof(float), 64)))) {
    if (data_ == nullptr) throw std::bad_alloc();
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }
  float* at(std::int64_t offset) const { return data_ + offset; }

 private:
  float* const data_;
};

// Element (row, k) of the left factor is data[row * row_step + k * depth_step].
struct LeftMatrix {
  const float* data;
  std::int64_t row_step, depth_step;
};

// Element (row, column) is data[row * row_step + column / kPanel * panel_step + column % kPanel].
// Ordinary rows have panel_step = kPanel.
template <typename Element>
struct Panels {
  Element* data;
  std::int64_t row_step, panel_step = kPanel;
};

// A function of its own, so that its inner loop has all registers.
template <int Vectors, bool Accumulate>
__attribute__((noinline)) void multiply_tile(const LeftMatrix& a, const float* b, std::int64_t b_step,
                                             std::int64_t depth, float* c, std::int64_t c_step) {
  Vector sums[kRows][Vectors] = {};
  // Four rows share a pointer and its multiples of the step, or the addresses fill the registers.
  const float* quads[kRows / 4];
  for (int q = 0; q < kRows / 4; ++q) quads[q] = a.data + 4 * q * a.row_step;
  const std::int64_t step = a.row_step, steps[4] = {0, step, 2 * step, 3 * step};
  for (std::int64_t k = 0; k < depth; ++k) {
    Vector line[Vectors];
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) line[v] = load_once(b + k * b_step + v * kLanes);
#pragma GCC unroll 4
    for (int q = 0; q < kRows / 4; ++q) {
#pragma GCC unroll 4
      for (int r = 0; r < 4; ++r) {
        const float factor = quads[q][steps[r]];
#pragma GCC unroll 2
        for (int v = 0; v < Vectors; ++v) sums[4 * q + r][v] += factor * line[v];
      }
      quads[q] += a.depth_step;
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < Vectors; ++v) {
      float* target = c + r * c_step + v * kLanes;
      store(target, Accumulate ? load(target) + sums[r][v] : sums[r][v]);
    }
  }
}

// c (+)= a b for c [rows, columns], a [rows, depth], b [depth, columns]; rows is rounded up to a
// multiple of kRows and columns to one of kLanes: there must be memory for that.
template <bool Accumulate>
void multiply(std::int64_t rows, std::int64_t columns, std::int64_t depth, const LeftMatrix& a,
              const Panels<const float>& b, const Panels<float>& c) {
  for (std::int64_t column = 0; column < columns; column += kPanel) {
    const float* right = b.data + column / kPanel * b.panel_step;
    float* target = c.data + column / kPanel * c.panel_step;
    for (std::int64_t row = 0; row < rows; row += kRows) {
      const LeftMatrix left = {a.data + row * a.row_step, a.row_step, a.depth_step};
      float* tile = target + row * c.row_step;
      if (columns - column > kLanes) {
        multiply_tile<2, Accumulate>(left, right, b.row_step, depth, tile, c.row_step);
      } else {
        multiply_tile<1, Accumulate>(left, right, b.row_step, depth, tile, c.row_step);
      }
    }
  }
}

}  // namespace gansformer
