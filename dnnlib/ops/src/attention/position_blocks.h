// How kernels work on the positions of a grid in blocks, so that what lies between reading x
// and writing the result stays in the cache.
#pragma once

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "attention/attention.h"
#include "common/matrix_product.h"

namespace gansformer {

constexpr int kBlock = 64;          // positions that are worked on together
constexpr int kUnit = 16 * kBlock;  // about the positions of one piece of work, of whole grid rows

// Some positions of one sample, and their number among all pieces of work.
struct Unit {
  std::int64_t number, sample, first_row, rows;
};

inline std::int64_t rows_of_unit(const AttentionPlan& plan) {
  return std::max<std::int64_t>(1, kUnit / plan.grid_columns);
}

inline std::int64_t units_of_sample(const AttentionPlan& plan) {
  const std::int64_t rows = rows_of_unit(plan);
  return (plan.grid_rows + rows - 1) / rows;
}

// Runs visit(unit) for all pieces of work; `cycles` estimates one position.
template <typename Visit>
void for_each_unit(const AttentionPlan& plan, std::int64_t cycles, const ParallelFor& parallel_for,
                   const Visit& visit) {
  const std::int64_t rows = rows_of_unit(plan), units = units_of_sample(plan);
  const std::int64_t cost = std::min(plan.grid_rows, rows) * plan.grid_columns * cycles;
  parallel_for(plan.batch * units, cost, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t first = unit % units * rows;
      visit(Unit{unit, unit / units, first, std::min(rows, plan.grid_rows - first)});
    }
  });
}

// Runs visit(first position of the batch, count) for the blocks of a unit.
template <typename Visit>
void for_each_block(const AttentionPlan& plan, const Unit& unit, const Visit& visit) {
  const std::int64_t row = unit.sample * plan.grid_rows + unit.first_row;
  const std::int64_t last = (row + unit.rows) * plan.grid_columns;
  for (std::int64_t position = row * plan.grid_columns; position < last; position += kBlock) {
    visit(position, static_cast<int>(std::min<std::int64_t>(kBlock, last - position)));
  }
}

// Runs visit(i, grid row, grid column) for the positions of a block; rows are those of the batch.
template <typename Visit>
void for_each_position(const AttentionPlan& plan, std::int64_t position, int count,
                       const Visit& visit) {
  std::int64_t row = position / plan.grid_columns, column = position % plan.grid_columns;
  for (int i = 0; i < count; ++i) {
    visit(i, row, column);
    if (++column == plan.grid_columns) column = 0, ++row;
  }
}

// Sums of each unit, so that the result does not depend on the threads.
class UnitSums {
 public:
  UnitSums(const AttentionPlan& plan, std::int64_t size)
      : size_(size), units_(units_of_sample(plan)), values_(plan.batch * units_ * size) {}

  float* at(const Unit& unit) { return &values_[unit.number * size_]; }

  // total[sample] = the sum of its units' [offset, offset + count), in order.
  void add(std::int64_t offset, std::int64_t count, float* total) const {
    std::fill(total, total + units() / units_ * count, 0.0f);
    for (std::int64_t unit = 0; unit < units(); ++unit) {
      add_unit(unit, offset, count, total + unit / units_ * count);
    }
  }

  // total = the sum over all units.
  void add_all(std::int64_t offset, std::int64_t count, float* total) const {
    std::fill(total, total + count, 0.0f);
    for (std::int64_t unit = 0; unit < units(); ++unit) add_unit(unit, offset, count, total);
  }

 private:
  std::int64_t units() const { return values_.size() / size_; }

  void add_unit(std::int64_t unit, std::int64_t offset, std::int64_t count, float* total) const {
    const float* source = &values_[unit * size_ + offset];
    for (std::int64_t i = 0; i < count; ++i) total[i] += source[i];
  }

  const std::int64_t size_, units_;
  std::vector<float> values_;
};

inline void clear(const Buffer& buffer, std::int64_t size) {
  std::fill(buffer.at(0), buffer.at(size), 0.0f);
}

template <typename T>
void copy_row(const T* source, int count, float* target) {
  for (int i = 0; i < count; ++i) target[i] = to_float(source[i]);
}

// Has the memory fetch the row that stands one block later.
template <typename T>
void fetch_ahead(const T* row, int count) {
  const char* next = reinterpret_cast<const char*>(row + static_cast<std::int64_t>(kBlock) * count);
  for (std::size_t i = 0; i < count * sizeof(T); i += 64) __builtin_prefetch(next + i, 0, 2);
}

// Rows of floats, a step apart, with room for whole vectors and for whole groups of kRows.
template <typename Float>
struct Rows {
  Float* data;
  std::int64_t step;
};

// Whether `count` rows of memory can serve as Rows, without a copy.
template <typename T>
bool are_whole(int count, int width) {
  return std::is_same<T, float>::value && count % kRows == 0 && width % kLanes == 0;
}

// `count` rows of x, themselves or copied to `buffer`.
template <typename T>
Rows<const float> read_rows(const T* x, int count, int width, const Buffer& buffer) {
  if (are_whole<T>(count, width)) return {reinterpret_cast<const float*>(x), width};
  const std::int64_t step = round_up(width, kLanes);
  for (int i = 0; i < count; ++i) {
    copy_row(x + static_cast<std::int64_t>(i) * width, width, buffer.at(i * step));
  }
  return {buffer.at(0), step};
}

// Where to put `count` rows that write_rows then brings to y.
template <typename T>
Rows<float> rows_for(T* y, int count, int width, const Buffer& buffer) {
  if (are_whole<T>(count, width)) return {reinterpret_cast<float*>(y), width};
  return {buffer.at(0), round_up(width, kLanes)};
}

template <typename T>
void write_rows(const Rows<float>& rows, int count, int width, T* y) {
  if (are_whole<T>(count, width)) return;
  for (int i = 0; i < count; ++i) {
    const float* row = rows.data + i * rows.step;
    for (int c = 0; c < width; ++c) store(y + static_cast<std::int64_t>(i) * width + c, row[c]);
  }
}

// target[j][i] = source[i][j].
inline void transpose(const float* source, int rows, int columns, std::int64_t target_step,
                      float* target) {
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; ++j) target[j * target_step + i] = source[i * columns + j];
  }
}

}  // namespace gansformer
