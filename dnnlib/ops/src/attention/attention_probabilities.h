// How much each position attends to each key, block by block of positions.
#pragma once

#include <cmath>
#include <type_traits>

#include "attention/position_blocks.h"

namespace gansformer {

// exp(x) for x <= 0; exp(-87) is the smallest result. Plain arithmetic, as in Moshier's Cephes library,
// so that the compiler makes vector instructions of it; accurate to about 2e-7 relative.
SHARED_CODE float exp_of_negative(float x) {
  x = x < -87.0f ? -87.0f : x;
  const float shifter = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  const float n = (x * 1.44269504088896341f + shifter) - shifter;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;  // ln 2 in two parts
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const float power = float_of(static_cast<std::uint32_t>(static_cast<int>(n) + 127) << 23);
  return (p * r * r + r + 1.0f) * power;
}

// scores + row + column of `count` keys, less their maximum. Vectors: how many vectors the keys
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
  if (plan.keys == kLanes) return run(std::integral_constant<int, 1>());
  if (plan.keys == 2 * kLanes) return run(std::integral_constant<int, 2>());
  run(std::integral_constant<int, 0>());
}

// P of the blocks of a unit, see GainCpu.
template <int Vectors>
class Probabilities {
 public:
  Probabilities(const AttentionPlan& plan, const Unit& unit, const AttentionScores& scores)
      : plan_(plan),
        keys_(plan.all_keys()),
        step_(round_up(keys_, kLanes)),
        row_scores_(scores.rows),
        column_scores_(scores.columns + unit.sample * plan.grid_columns * keys_),
        weights_(plan.channels * step_),
        scores_(kBlock * step_) {
    const std::int64_t size = static_cast<std::int64_t>(keys_) * plan.channels;
    clear(weights_, plan.channels * step_);
    transpose(scores.weights + unit.sample * size, keys_, plan.channels, step_, weights_.at(0));
  }

  // P of `count` positions from number `first` of the batch, whose features are x.
  void compute(std::int64_t first, int count, const Rows<const float>& x, float* p) const {
    multiply<false>(count, keys_, plan_.channels, {x.data, x.step, 1}, {weights_.at(0), step_},
                    {scores_.at(0), step_});
    // In three steps: in one, each position would wait for the long chain of the one before.
    for_each_position(plan_, first, count, [&](int i, std::int64_t row, std::int64_t column) {
      for (int key = 0; key < keys_; key += plan_.keys) {
        finish_scores<Vectors>(scores_.at(i * step_ + key), row_scores_ + row * keys_ + key,
                               column_scores_ + column * keys_ + key, plan_.keys);
      }
    });
    float* const scores = scores_.at(0);
#pragma omp simd
    for (std::int64_t i = 0; i < count * step_; ++i) scores[i] = exp_of_negative(scores[i]);
    for (int i = 0; i < count; ++i) {
      for (int key = 0; key < keys_; key += plan_.keys) {
        normalize<Vectors>(scores_.at(i * step_ + key), plan_.keys, p + i * keys_ + key);
      }
    }
  }

 private:
  const AttentionPlan& plan_;
  const int keys_;
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
    return static_cast<std::int64_t>(plan.heads) * plan.keys * plan.channels;
  }

  static std::int64_t columns_size(const AttentionPlan& plan) {
    return plan.all_keys() * plan.grid_columns;
  }

  ProbabilitiesGradient(const AttentionPlan& plan, const Unit& unit, const float* weights,
                        float* drow_scores, float* sums)
      : plan_(plan),
        keys_(plan.all_keys()),
        step_(round_up(keys_, kPanel)),
        width_(round_up(plan.channels, kLanes)),
        row_sums_(drow_scores),
        sums_(sums),
        weights_(keys_ * width_),
        scores_(kBlock * step_),
        weight_sums_(step_ * width_) {
    clear(weight_sums_, step_ * width_);
    const float* source = weights + unit.sample * weights_size(plan);
    for (int t = 0; t < keys_; ++t) {
      copy_row(source + t * plan.channels, plan.channels, weights_.at(t * width_));
    }
    float* rows = drow_scores + (unit.sample * plan.grid_rows + unit.first_row) * keys_;
    std::fill(rows, rows + unit.rows * keys_, 0.0f);
  }

  // dx += what P and its gradient `upstream` send to the features x.
  void compute(std::int64_t first, int count, const Rows<const float>& x, const float* p,
               const Rows<const float>& upstream, const Rows<float>& dx) const {
    float* const column_sums = sums_ + weights_size(plan_);
    for_each_position(plan_, first, count, [&](int i, std::int64_t row, std::int64_t column) {
      for (int key = 0; key < keys_; key += plan_.keys) {
        softmax_gradient<Vectors>(p + i * keys_ + key,
                                  upstream.data + i * upstream.step + key, plan_.keys,
                                  scores_.at(i * step_ + key),
                                  row_sums_ + row * keys_ + key,
                                  column_sums + column * keys_ + key);
      }
    });
    multiply<true>(count, plan_.channels, keys_, {scores_.at(0), step_, 1},
                         {weights_.at(0), width_}, {dx.data, dx.step});
    multiply<true>(keys_, plan_.channels, count, {scores_.at(0), 1, step_}, {x.data, x.step},
                   {weight_sums_.at(0), width_});
  }

  // To be called after the last block.
  void finish() const {
    for (int t = 0; t < keys_; ++t) {
      copy_row(weight_sums_.at(t * width_), plan_.channels, sums_ + t * plan_.channels);
    }
  }

 private:
  const AttentionPlan& plan_;
  const int keys_;
  const std::int64_t step_, width_;
  float *const row_sums_, *const sums_;
  const Buffer weights_, scores_, weight_sums_;
};

}  // namespace gansformer
