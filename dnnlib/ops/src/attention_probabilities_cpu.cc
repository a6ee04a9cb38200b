// How much each position attends to each target, on the CPU.
#include <cmath>

#include "attention_blocks.h"

namespace gansformer {
namespace {

inline Vector exp_of_negatives(Vector x) {
  Vector result;
#pragma omp simd
  for (int lane = 0; lane < kLanes; ++lane) result[lane] = exp_of_negative(x[lane]);
  return result;
}

// p = softmax(scores + row + column) of `count` targets. Vectors: how many vectors these fill, or 0
// if they fill none or too many.
template <int Vectors>
void softmax(const float* scores, const float* row, const float* column, int, float* p) {
  Vector values[Vectors], highest, sum = {};
  for (int v = 0; v < Vectors; ++v) {
    const int t = v * kLanes;
    values[v] = load(scores + t) + (load(row + t) + load(column + t));
    highest = v == 0 ? values[0] : (values[v] > highest ? values[v] : highest);
  }
  const float maximum = maximum_of_lanes(highest);
  for (int v = 0; v < Vectors; ++v) {
    values[v] = exp_of_negatives(values[v] - maximum);
    sum += values[v];
  }
  const float scale = 1.0f / sum_of_lanes(sum);
  for (int v = 0; v < Vectors; ++v) store(p + v * kLanes, values[v] * scale);
}

template <>
void softmax<0>(const float* scores, const float* row, const float* column, int count, float* p) {
  float highest = -INFINITY, sum = 0.0f;
  for (int t = 0; t < count; ++t) {
    p[t] = scores[t] + (row[t] + column[t]);
    highest = std::max(highest, p[t]);
  }
#pragma omp simd reduction(+ : sum)
  for (int t = 0; t < count; ++t) {
    p[t] = exp_of_negative(p[t] - highest);
    sum += p[t];
  }
  for (int t = 0; t < count; ++t) p[t] /= sum;
}

// What the gradient of probabilities P sends to the scores: P (dP - sum of P dP). It is also added to
// the sums of the position's grid row and grid column.
template <int Vectors>
void softmax_gradient(const float* p, const float* upstream, int, float* gradient,
                      float* row_sums, float* column_sums) {
  const float sum = inner_product(p, upstream, Vectors * kLanes);
  for (int v = 0; v < Vectors; ++v) {
    const int t = v * kLanes;
    const Vector value = load(p + t) * (load(upstream + t) - sum);
    store(gradient + t, value);
    store(row_sums + t, load(row_sums + t) + value);
    store(column_sums + t, load(column_sums + t) + value);
  }
}

template <>
void softmax_gradient<0>(const float* p, const float* upstream, int count, float* gradient,
                         float* row_sums, float* column_sums) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int t = 0; t < count; ++t) sum += p[t] * upstream[t];
#pragma omp simd
  for (int t = 0; t < count; ++t) {
    gradient[t] = p[t] * (upstream[t] - sum);
    row_sums[t] += gradient[t];
    column_sums[t] += gradient[t];
  }
}

template <int Vectors, typename T>
void probabilities_of(const AttentionPlan& plan, const T* x, const float* weights,
                      const float* row_scores, const float* column_scores, float* probabilities,
                      const ParallelFor& parallel_for) {
  const int targets = plan.heads * plan.targets;
  const std::int64_t step = round_up(targets, kPanel);
  for_each_unit(plan, plan.channels * targets / 16 + 50, parallel_for, [&](const Unit& unit) {
    const Buffer copies(kBlock * round_up(plan.channels, kLanes)), scores(kBlock * step);
    const Buffer right(plan.channels * step);
    const std::int64_t set = unit.sample * targets;
    transpose(weights + set * plan.channels, targets, plan.channels, step, right.at(0));
    for_each_block(plan, unit, [&](std::int64_t first, int count) {
      const T* block = x + first * plan.channels;
      const Rows<const float> rows = read_rows(block, count, plan.channels, copies);
      multiply<false>(count, targets, plan.channels, {rows.data, rows.step, 1},
                      {right.at(0), step}, {scores.at(0), step});
      for_each_position(plan, first, count, [&](int i, std::int64_t row, std::int64_t column) {
        fetch_ahead(block + i * plan.channels, plan.channels);
        for (int target = 0; target < targets; target += plan.targets) {
          softmax<Vectors>(scores.at(i * step + target), row_scores + row * targets + target,
                           column_scores + set * plan.grid_columns + column * targets + target,
                           plan.targets, probabilities + (first + i) * targets + target);
        }
      });
    });
  });
}

template <int Vectors, typename T>
void gradient_of(const AttentionPlan& plan, const float* upstream, const float* probabilities,
                 const T* x, const float* weights, T* dx, float* dweights, float* drow_scores,
                 float* dcolumn_scores, const ParallelFor& parallel_for) {
  const int targets = plan.heads * plan.targets;
  const std::int64_t step = round_up(targets, kPanel), width = round_up(plan.channels, kLanes);
  const std::int64_t weights_size = targets * static_cast<std::int64_t>(plan.channels);
  const std::int64_t columns_size = plan.grid_columns * targets;
  UnitSums unit_sums(plan, weights_size + columns_size);
  for_each_unit(plan, plan.channels * targets / 8 + 50, parallel_for, [&](const Unit& unit) {
    const Buffer copies(kBlock * width), scores(kBlock * step), result(kBlock * width);
    const Buffer right(targets * width), sums(step * width);
    std::fill(sums.at(0), sums.at(step * width), 0.0f);
    const float* source = weights + unit.sample * weights_size;
    for (int t = 0; t < targets; ++t) {
      copy_row(source + t * plan.channels, plan.channels, right.at(t * width));
    }
    float* column_sums = unit_sums.at(unit) + weights_size;
    float* row_sums = drow_scores + (unit.sample * plan.grid_rows + unit.first_row) * targets;
    std::fill(row_sums, row_sums + unit.rows * targets, 0.0f);
    for_each_block(plan, unit, [&](std::int64_t first, int count) {
      const T* block = x + first * plan.channels;
      for_each_position(plan, first, count, [&](int i, std::int64_t row, std::int64_t column) {
        fetch_ahead(block + i * plan.channels, plan.channels);
        for (int target = 0; target < targets; target += plan.targets) {
          const std::int64_t place = (first + i) * targets + target;
          softmax_gradient<Vectors>(probabilities + place, upstream + place, plan.targets,
                                    scores.at(i * step + target),
                                    drow_scores + row * targets + target,
                                    column_sums + column * targets + target);
        }
      });
      const Rows<float> target = rows_for(dx + first * plan.channels, count, plan.channels, result);
      multiply<false>(count, plan.channels, targets, {scores.at(0), step, 1}, {right.at(0), width},
                      {target.data, target.step});
      const Rows<const float> rows = read_rows(block, count, plan.channels, copies);
      multiply<true>(targets, plan.channels, count, {scores.at(0), 1, step},
                     {rows.data, rows.step}, {sums.at(0), width});
      write_rows(target, count, plan.channels, dx + first * plan.channels);
    });
    for (int t = 0; t < targets; ++t) {
      copy_row(sums.at(t * width), plan.channels, unit_sums.at(unit) + t * plan.channels);
    }
  });
  unit_sums.add(0, weights_size, dweights);
  unit_sums.add(weights_size, columns_size, dcolumn_scores);
}

}  // namespace

template <typename T>
void attention_probabilities_cpu(const AttentionPlan& plan, const T* x, const float* weights,
                                 const float* row_scores, const float* column_scores,
                                 float* probabilities, const ParallelFor& parallel_for) {
  const auto run = plan.targets == kLanes       ? probabilities_of<1, T>
                   : plan.targets == 2 * kLanes ? probabilities_of<2, T>
                                                : probabilities_of<0, T>;
  run(plan, x, weights, row_scores, column_scores, probabilities, parallel_for);
}

template <typename T>
void attention_probabilities_gradient_cpu(const AttentionPlan& plan, const float* upstream,
                                          const float* probabilities, const T* x,
                                          const float* weights, T* dx, float* dweights,
                                          float* drow_scores, float* dcolumn_scores,
                                          const ParallelFor& parallel_for) {
  const auto run = plan.targets == kLanes       ? gradient_of<1, T>
                   : plan.targets == 2 * kLanes ? gradient_of<2, T>
                                                : gradient_of<0, T>;
  run(plan, upstream, probabilities, x, weights, dx, dweights, drow_scores, dcolumn_scores,
      parallel_for);
}

#define INSTANTIATE(T)                                                                             \
  template void attention_probabilities_cpu(const AttentionPlan&, const T*, const float*,         \
                                            const float*, const float*, float*,                    \
                                            const ParallelFor&);                                   \
  template void attention_probabilities_gradient_cpu(                                              \
      const AttentionPlan&, const float*, const float*, const T*, const float*, T*, float*,        \
      float*, float*, const ParallelFor&);
INSTANTIATE(float)
INSTANTIATE(BFloat16)
INSTANTIATE(Float16)
#undef INSTANTIATE

}  // namespace gansformer
