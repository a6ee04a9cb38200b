// How much each position attends to each target, block by block of positions.
#pragma once

#include <cmath>
#include <type_traits>

#include "position_blocks.h"

namespace gansformer {

// scores + row + column of `count` targets, less their maximum. Vectors: how many vectors the targets
// fill, or 0 if they fill none or too many.
template <int Vectors>
void finish_scores(float* scores, const float* row, const float* column, int) {
  Vector values[Vectors], highest;
  for (int v = 0; v < Vectors; ++v) {
    const int t = v * kLanes;
    values[v] = load(scores + t) + (load(row + t) + load(column + t));
    highest = v == 0 ? values[0] : (values[v] > highest ? values[v] : highest);
  }
  const float maximum = maximum_of_lanes(highest);
  for (int v = 0; v < Vectors; ++v) store(scores + v * kLanes, values[v] - maximum);
}

template <>
inline void finish_scores<0>(float* scores, const float* row, const float* column, int count) {
  float highest = -INFINITY;
  for (int t = 0; t < count; ++t) {
    scores[t] += row[t] + column[t];
    highest = std::max(highest, scores[t]);
  }
  for (int t = 0; t < count; ++t) scores[t] -= highest;
}

// p = powers / their sum.
template <int Vectors>
void normalize(const float* powers, int, float* p) {
  Vector sum = {};
  for (int v = 0; v < Vectors; ++v) sum += load(powers + v * kLanes);
  const float scale = 1.0f / sum_of_lanes(sum);
  for (int v = 0; v < Vectors; ++v) store(p + v * kLanes, load(powers + v * kLanes) * scale);
}

template <>
inline void normalize<0>(const float* powers, int count, float* p) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int t = 0; t < count; ++t) sum += powers[t];
  for (int t = 0; t < count; ++t) p[t] = powers[t] / sum;
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
inline void softmax_gradient<0>(const float* p, const float* upstream, int count, float* gradient,
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

// Calls run(std::integral_constant) with the template argument `Vectors` that suits the plan.
template <typename Run>
void with_vectors(const AttentionPlan& plan, const Run& run) {
  if (plan.targets == kLanes) return run(std::integral_constant<int, 1>());
  if (plan.targets == 2 * kLanes) return run(std::integral_constant<int, 2>());
  run(std::integral_constant<int, 0>());
}

// P of the blocks of a unit, see attention_probabilities_cpu.
template <int Vectors>
class Probabilities {
 public:
  Probabilities(const AttentionPlan& plan, const Unit& unit, const AttentionScores& scores)
      : plan_(plan),
        targets_(plan.heads * plan.targets),
        step_(round_up(targets_, kLanes)),
        row_scores_(scores.rows),
        column_scores_(scores.columns + unit.sample * plan.grid_columns * targets_),
        weights_(plan.channels * step_),
        scores_(kBlock * step_) {
    const std::int64_t size = static_cast<std::int64_t>(targets_) * plan.channels;
    clear(weights_, plan.channels * step_);
    transpose(scores.weights + unit.sample * size, targets_, plan.channels, step_, weights_.at(0));
  }

  // P of `count` positions from number `first` of the batch, whose features are x.
  void compute(std::int64_t first, int count, const Rows<const float>& x, float* p) const {
    multiply<false>(count, targets_, plan_.channels, {x.data, x.step, 1}, {weights_.at(0), step_},
                    {scores_.at(0), step_});
    // In three steps: in one, each position would wait for the long chain of the one before.
    for_each_position(plan_, first, count, [&](int i, std::int64_t row, std::int64_t column) {
      for (int target = 0; target < targets_; target += plan_.targets) {
        finish_scores<Vectors>(scores_.at(i * step_ + target), row_scores_ + row * targets_ + target,
                               column_scores_ + column * targets_ + target, plan_.targets);
      }
    });
    float* const scores = scores_.at(0);
#pragma omp simd
    for (std::int64_t i = 0; i < count * step_; ++i) scores[i] = exp_of_negative(scores[i]);
    for (int i = 0; i < count; ++i) {
      for (int target = 0; target < targets_; target += plan_.targets) {
        normalize<Vectors>(scores_.at(i * step_ + target), plan_.targets, p + i * targets_ + target);
      }
    }
  }

 private:
  const AttentionPlan& plan_;
  const int targets_;
  const std::int64_t step_;
  const float *const row_scores_, *const column_scores_;
  const Buffer weights_, scores_;
};

// What the gradient of a unit's P sends to the features, the weights and the scores. `sums` has room
// for sums_size() numbers: the gradients of the weights and of the column scores.
template <int Vectors>
class ProbabilitiesGradient {
 public:
  static std::int64_t weights_size(const AttentionPlan& plan) {
    return static_cast<std::int64_t>(plan.heads) * plan.targets * plan.channels;
  }

  static std::int64_t columns_size(const AttentionPlan& plan) {
    return plan.heads * plan.targets * plan.grid_columns;
  }

  ProbabilitiesGradient(const AttentionPlan& plan, const Unit& unit, const float* weights,
                        float* drow_scores, float* sums)
      : plan_(plan),
        targets_(plan.heads * plan.targets),
        step_(round_up(targets_, kPanel)),
        width_(round_up(plan.channels, kLanes)),
        row_sums_(drow_scores),
        sums_(sums),
        weights_(targets_ * width_),
        scores_(kBlock * step_),
        weight_sums_(step_ * width_) {
    clear(weight_sums_, step_ * width_);
    const float* source = weights + unit.sample * weights_size(plan);
    for (int t = 0; t < targets_; ++t) {
      copy_row(source + t * plan.channels, plan.channels, weights_.at(t * width_));
    }
    float* rows = drow_scores + (unit.sample * plan.grid_rows + unit.first_row) * targets_;
    std::fill(rows, rows + unit.rows * targets_, 0.0f);
  }

  // dx = (or += with Accumulate) what P and its gradient `upstream` send to the features x.
  template <bool Accumulate>
  void compute(std::int64_t first, int count, const Rows<const float>& x, const float* p,
               const Rows<const float>& upstream, const Rows<float>& dx) const {
    float* const column_sums = sums_ + weights_size(plan_);
    for_each_position(plan_, first, count, [&](int i, std::int64_t row, std::int64_t column) {
      for (int target = 0; target < targets_; target += plan_.targets) {
        softmax_gradient<Vectors>(p + i * targets_ + target,
                                  upstream.data + i * upstream.step + target, plan_.targets,
                                  scores_.at(i * step_ + target),
                                  row_sums_ + row * targets_ + target,
                                  column_sums + column * targets_ + target);
      }
    });
    multiply<Accumulate>(count, plan_.channels, targets_, {scores_.at(0), step_, 1},
                         {weights_.at(0), width_}, {dx.data, dx.step});
    multiply<true>(targets_, plan_.channels, count, {scores_.at(0), 1, step_}, {x.data, x.step},
                   {weight_sums_.at(0), width_});
  }

  // To be called after the last block.
  void finish() const {
    for (int t = 0; t < targets_; ++t) {
      copy_row(weight_sums_.at(t * width_), plan_.channels, sums_ + t * plan_.channels);
    }
  }

 private:
  const AttentionPlan& plan_;
  const int targets_;
  const std::int64_t step_, width_;
  float *const row_sums_, *const sums_;
  const Buffer weights_, scores_, weight_sums_;
};

}  // namespace gansformer
