// Attention of positions to a few columns on the CPU, a block of positions at a time: what lies
// between reading x and writing the result stays in the cache.
#include <algorithm>
#include <cmath>
#include <vector>

#include "cpu_kernels.h"
#include "elementary.h"
#include "matrix_product.h"

namespace gansformer {
namespace {

constexpr int kBlock = 64;         // positions that are worked on together
constexpr int kUnit = 16 * kBlock;  // positions of one piece of work; gradients are summed in these

// Runs visit(unit, sample, first position, number of positions) for all pieces of work.
template <typename Visit>
void for_each_unit(const AttentionPlan& plan, int cycles, const ParallelFor& parallel_for,
                   const Visit& visit) {
  const std::int64_t per_sample = (plan.positions + kUnit - 1) / kUnit;
  const std::int64_t size = std::min<std::int64_t>(plan.positions, kUnit);
  parallel_for(plan.batch * per_sample, size * cycles, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t first = unit % per_sample * kUnit;
      visit(unit, unit / per_sample, first, std::min<std::int64_t>(kUnit, plan.positions - first));
    }
  });
}

// total[sample] = the sum of its units, in order.
void add_units(const AttentionPlan& plan, const std::vector<float>& units, std::int64_t size,
               float* total) {
  const std::int64_t per_sample = (plan.positions + kUnit - 1) / kUnit;
  std::fill(total, total + plan.batch * size, 0.0f);
  for (std::int64_t unit = 0; unit < plan.batch * per_sample; ++unit) {
    float* target = total + unit / per_sample * size;
    for (std::int64_t i = 0; i < size; ++i) target[i] += units[unit * size + i];
  }
}

template <typename T>
void copy_row(const T* source, int count, float* target) {
  for (int i = 0; i < count; ++i) target[i] = to_float(source[i]);
}

// Has the memory fetch a row of the next block while this one is worked on.
template <typename T>
void fetch_ahead(const T* row, int count) {
  const char* next = reinterpret_cast<const char*>(row + static_cast<std::int64_t>(kBlock) * count);
  for (std::size_t i = 0; i < count * sizeof(T); i += 64) __builtin_prefetch(next + i, 0, 2);
}

// target[j][i] = source[i][j].
void transpose(const float* source, int rows, int columns, std::int64_t target_step,
               float* target) {
  for (int i = 0; i < rows; ++i) {
    for (int j = 0; j < columns; ++j) target[j * target_step + i] = source[i * columns + j];
  }
}

// Widths, with room for whole vectors and for whole groups of rows.
struct Widths {
  explicit Widths(const AttentionPlan& plan)
      : inputs(plan.channels + plan.place_channels),
        inputs_step(round_up(inputs, kPanel)),
        columns(plan.heads * plan.columns),
        columns_step(round_up(columns + 1, kPanel)),
        channels_step(round_up(plan.channels, kPanel)) {}

  const int inputs;
  const std::int64_t inputs_step;
  const int columns;
  const std::int64_t columns_step, channels_step;
};

// Rows [x | places] of `count` positions from `first`.
template <typename T>
void read_inputs(const AttentionPlan& plan, const Widths& widths, const T* x, const float* places,
                 std::int64_t first, int count, float* rows) {
  for (int i = 0; i < count; ++i) {
    float* row = rows + i * widths.inputs_step;
    fetch_ahead(x + i * plan.channels, plan.channels);
    copy_row(x + i * plan.channels, plan.channels, row);
    copy_row(places + (first + i) * plan.place_channels, plan.place_channels, row + plan.channels);
  }
}

void softmax(const float* scores, const float* bias, int count, float* probabilities) {
  float highest = -INFINITY, sum = 0.0f, shifted[kMaximumColumns];
#pragma omp simd reduction(max : highest)
  for (int t = 0; t < count; ++t) {
    shifted[t] = scores[t] + bias[t];
    highest = std::max(highest, shifted[t]);
  }
  for (int t = 0; t < count; ++t) shifted[t] = exp_of_negative(shifted[t] - highest);
#pragma omp simd reduction(+ : sum)
  for (int t = 0; t < count; ++t) sum += shifted[t];
  const float scale = 1.0f / sum;
  for (int t = 0; t < count; ++t) probabilities[t] = shifted[t] * scale;
}

// What the gradient of probabilities P sends to the scores: P (dP - sum of P dP).
void softmax_gradient(const float* probabilities, const float* upstream, int count,
                      float* gradient) {
  float sum = 0.0f;
#pragma omp simd reduction(+ : sum)
  for (int t = 0; t < count; ++t) sum += probabilities[t] * upstream[t];
  for (int t = 0; t < count; ++t) gradient[t] = probabilities[t] * (upstream[t] - sum);
}

// Rows [P | 1] of `count` positions, padded with zeros.
void read_weights(const Widths& widths, const float* probabilities, int count, float* rows) {
  for (int i = 0; i < count; ++i) {
    float* row = rows + i * widths.columns_step;
    copy_row(probabilities + static_cast<std::int64_t>(i) * widths.columns, widths.columns, row);
    row[widths.columns] = 1.0f;
    std::fill(row + widths.columns + 1, row + widths.columns_step, 0.0f);
  }
}

// Rows of `values`, with room for whole vectors.
void read_values(const AttentionPlan& plan, const Widths& widths, const float* values,
                 float* rows) {
  for (int t = 0; t <= widths.columns; ++t) {
    copy_row(values + t * plan.channels, plan.channels, rows + t * widths.channels_step);
  }
}

// gains = [P | 1] values for `count` positions; left receives [P | 1].
void multiply_values(const AttentionPlan& plan, const Widths& widths, const float* probabilities,
                     int count, const float* values, float* left, float* gains) {
  read_weights(widths, probabilities, count, left);
  multiply<false>(count, plan.channels, widths.columns + 1, {left, widths.columns_step, 1},
                  {values, widths.channels_step}, {gains, widths.channels_step});
}

float inverse_norm(const float* x, int channels) {
  float power = 0.0f;
#pragma omp simd reduction(+ : power)
  for (int c = 0; c < channels; ++c) power += x[c] * x[c];
  return 1.0f / std::sqrt(power / channels + 1e-8f);
}

}  // namespace

template <typename T>
void attention_probabilities_cpu(const AttentionPlan& plan, const T* x, const float* places,
                                 const float* weights, const float* bias, float* probabilities,
                                 const ParallelFor& parallel_for) {
  const Widths widths(plan);
  for_each_unit(plan, widths.inputs * widths.columns / 16 + 100, parallel_for,
                [&](std::int64_t, std::int64_t sample, std::int64_t first, std::int64_t size) {
    const Buffer rows(kBlock * widths.inputs_step), scores(kBlock * widths.columns_step);
    const Buffer right(widths.inputs * widths.columns_step);
    const std::int64_t set = plan.shared ? 0 : sample;
    const float* shift = bias + set * widths.columns;
    transpose(weights + set * widths.columns * widths.inputs, widths.columns, widths.inputs,
              widths.columns_step, right.at(0));
    for (std::int64_t start = first; start < first + size; start += kBlock) {
      const int count = static_cast<int>(std::min<std::int64_t>(kBlock, first + size - start));
      const std::int64_t offset = sample * plan.positions + start;
      read_inputs(plan, widths, x + offset * plan.channels, places, start, count, rows.at(0));
      multiply<false>(count, widths.columns, widths.inputs, {rows.at(0), widths.inputs_step, 1},
                      {right.at(0), widths.columns_step}, {scores.at(0), widths.columns_step});
      for (int i = 0; i < count; ++i) {
        for (int head = 0; head < plan.heads; ++head) {
          const int column = head * plan.columns;
          softmax(scores.at(i * widths.columns_step + column), shift + column, plan.columns,
                  probabilities + (offset + i) * widths.columns + column);
        }
      }
    }
  });
}

template <typename T>
void attention_probabilities_gradient_cpu(const AttentionPlan& plan, const float* upstream,
                                          const float* probabilities, const T* x,
                                          const float* places, const float* weights, T* dx,
                                          float* dweights, const ParallelFor& parallel_for) {
  const Widths widths(plan);
  const std::int64_t sums_size = widths.columns * (widths.inputs + 1);
  const std::int64_t units = plan.batch * ((plan.positions + kUnit - 1) / kUnit);
  std::vector<float> unit_sums(units * sums_size);
  for_each_unit(plan, widths.inputs * widths.columns / 4 + 200, parallel_for,
                [&](std::int64_t unit, std::int64_t sample, std::int64_t first,
                    std::int64_t size) {
    const Buffer rows(kBlock * widths.inputs_step), scores(kBlock * widths.columns_step);
    const Buffer right(widths.columns_step * widths.inputs_step);
    const Buffer result(kBlock * widths.inputs_step);
    const Buffer sums(widths.columns_step * widths.inputs_step);
    std::fill(sums.at(0), sums.at(widths.columns_step * widths.inputs_step), 0.0f);
    std::vector<float> bias_sums(widths.columns, 0.0f);
    const float* source =
        weights + (plan.shared ? 0 : sample) * static_cast<std::int64_t>(widths.columns) *
                      widths.inputs;
    for (int t = 0; t < widths.columns; ++t) {
      copy_row(source + t * widths.inputs, widths.inputs, right.at(t * widths.inputs_step));
    }
    for (std::int64_t start = first; start < first + size; start += kBlock) {
      const int count = static_cast<int>(std::min<std::int64_t>(kBlock, first + size - start));
      const std::int64_t offset = sample * plan.positions + start;
      read_inputs(plan, widths, x + offset * plan.channels, places, start, count, rows.at(0));
      for (int i = 0; i < count; ++i) {
        float* row = scores.at(i * widths.columns_step);
        const std::int64_t place = (offset + i) * widths.columns;
        for (int head = 0; head < plan.heads; ++head) {
          const int column = head * plan.columns;
          softmax_gradient(probabilities + place + column, upstream + place + column,
                           plan.columns, row + column);
        }
        for (int t = 0; t < widths.columns; ++t) bias_sums[t] += row[t];
      }
      multiply<false>(count, plan.channels, widths.columns,
                      {scores.at(0), widths.columns_step, 1}, {right.at(0), widths.inputs_step},
                      {result.at(0), widths.inputs_step});
      multiply<true>(widths.columns, widths.inputs, count,
                     {scores.at(0), 1, widths.columns_step}, {rows.at(0), widths.inputs_step},
                     {sums.at(0), widths.inputs_step});
      for (int i = 0; i < count; ++i) {
        const float* row = result.at(i * widths.inputs_step);
        T* target = dx + (offset + i) * plan.channels;
        for (int c = 0; c < plan.channels; ++c) store(target + c, row[c]);
      }
    }
    float* target = &unit_sums[unit * sums_size];  // rows [weights | bias]
    for (int t = 0; t < widths.columns; ++t) {
      copy_row(sums.at(t * widths.inputs_step), widths.inputs, target);
      target[widths.inputs] = bias_sums[t];
      target += widths.inputs + 1;
    }
  });
  add_units(plan, unit_sums, sums_size, dweights);
}

template <typename T>
void attention_gain_cpu(const AttentionPlan& plan, const T* x, const float* probabilities,
                        const float* values, bool normalize, T* y,
                        const ParallelFor& parallel_for) {
  const Widths widths(plan);
  for_each_unit(plan, plan.channels * widths.columns / 16 + 100, parallel_for,
                [&](std::int64_t, std::int64_t sample, std::int64_t first, std::int64_t size) {
    const Buffer left(kBlock * widths.columns_step), gains(kBlock * widths.channels_step);
    const Buffer right((widths.columns + 1) * widths.channels_step), line(widths.channels_step);
    read_values(plan, widths, values + sample * (widths.columns + 1) * plan.channels, right.at(0));
    for (std::int64_t start = first; start < first + size; start += kBlock) {
      const int count = static_cast<int>(std::min<std::int64_t>(kBlock, first + size - start));
      const std::int64_t offset = sample * plan.positions + start;
      multiply_values(plan, widths, probabilities + offset * widths.columns, count, right.at(0),
                      left.at(0), gains.at(0));
      for (int i = 0; i < count; ++i) {
        const float* gain = gains.at(i * widths.channels_step);
        T* target = y + (offset + i) * plan.channels;
        float* row = line.at(0);
        fetch_ahead(x + (offset + i) * plan.channels, plan.channels);
        copy_row(x + (offset + i) * plan.channels, plan.channels, row);
        const float scale = normalize ? inverse_norm(row, plan.channels) : 1.0f;
        for (int c = 0; c < plan.channels; ++c) store(target + c, row[c] * scale * gain[c]);
      }
    }
  });
}

template <typename T>
void attention_gain_gradient_cpu(const AttentionPlan& plan, const T* upstream, const T* x,
                                 const float* probabilities, const float* values, bool normalize,
                                 T* dx, float* dprobabilities, float* dvalues,
                                 const ParallelFor& parallel_for) {
  const Widths widths(plan);
  const std::int64_t sums_size = (widths.columns + 1) * plan.channels;
  const std::int64_t units = plan.batch * ((plan.positions + kUnit - 1) / kUnit);
  std::vector<float> unit_sums(units * sums_size);
  for_each_unit(plan, plan.channels * widths.columns / 4 + 200, parallel_for,
                [&](std::int64_t unit, std::int64_t sample, std::int64_t first,
                    std::int64_t size) {
    const Buffer left(kBlock * widths.columns_step), gains(kBlock * widths.channels_step);
    const Buffer right((widths.columns + 1) * widths.channels_step);
    const Buffer turned(plan.channels * widths.columns_step), result(kBlock * widths.columns_step);
    const Buffer line(2 * widths.channels_step);
    const Buffer sums(widths.columns_step * widths.channels_step);
    std::fill(sums.at(0), sums.at(widths.columns_step * widths.channels_step), 0.0f);
    const float* source = values + sample * (widths.columns + 1) * plan.channels;
    read_values(plan, widths, source, right.at(0));
    transpose(source, widths.columns, plan.channels, widths.columns_step, turned.at(0));
    for (std::int64_t start = first; start < first + size; start += kBlock) {
      const int count = static_cast<int>(std::min<std::int64_t>(kBlock, first + size - start));
      const std::int64_t offset = sample * plan.positions + start;
      multiply_values(plan, widths, probabilities + offset * widths.columns, count, right.at(0),
                      left.at(0), gains.at(0));
      for (int i = 0; i < count; ++i) {
        float* gain = gains.at(i * widths.channels_step);
        float *row = line.at(0), *dy = line.at(widths.channels_step);
        fetch_ahead(x + (offset + i) * plan.channels, plan.channels);
        copy_row(x + (offset + i) * plan.channels, plan.channels, row);
        fetch_ahead(upstream + (offset + i) * plan.channels, plan.channels);
        copy_row(upstream + (offset + i) * plan.channels, plan.channels, dy);
        const float scale = normalize ? inverse_norm(row, plan.channels) : 1.0f;
        float product = 0.0f;
#pragma omp simd reduction(+ : product)
        for (int c = 0; c < plan.channels; ++c) product += dy[c] * gain[c] * row[c];
        const float through_norm =
            normalize ? product * scale * scale * scale / plan.channels : 0.0f;
        T* target = dx + (offset + i) * plan.channels;
        for (int c = 0; c < plan.channels; ++c) {
          store(target + c, scale * dy[c] * gain[c] - through_norm * row[c]);
          gain[c] = dy[c] * row[c] * scale;  // from here on the gradient of the gain
        }
      }
      multiply<false>(count, widths.columns, plan.channels, {gains.at(0), widths.channels_step, 1},
                      {turned.at(0), widths.columns_step}, {result.at(0), widths.columns_step});
      multiply<true>(widths.columns + 1, plan.channels, count,
                     {left.at(0), 1, widths.columns_step}, {gains.at(0), widths.channels_step},
                     {sums.at(0), widths.channels_step});
      for (int i = 0; i < count; ++i) {
        copy_row(result.at(i * widths.columns_step), widths.columns,
                 dprobabilities + (offset + i) * widths.columns);
      }
    }
    for (int t = 0; t <= widths.columns; ++t) {
      copy_row(sums.at(t * widths.channels_step), plan.channels,
               &unit_sums[unit * sums_size + t * plan.channels]);
    }
  });
  add_units(plan, unit_sums, sums_size, dvalues);
}

#define INSTANTIATE(T)                                                                           \
  template void attention_probabilities_cpu(const AttentionPlan&, const T*, const float*,       \
                                            const float*, const float*, float*,                  \
                                            const ParallelFor&);                                 \
  template void attention_probabilities_gradient_cpu(                                            \
      const AttentionPlan&, const float*, const float*, const T*, const float*, const float*,    \
      T*, float*, const ParallelFor&);                                                           \
  template void attention_gain_cpu(const AttentionPlan&, const T*, const float*, const float*,   \
                                   bool, T*, const ParallelFor&);                                \
  template void attention_gain_gradient_cpu(const AttentionPlan&, const T*, const T*,            \
                                            const float*, const float*, bool, T*, float*,        \
                                            float*, const ParallelFor&);
INSTANTIATE(float)
INSTANTIATE(BFloat16)
INSTANTIATE(Float16)
#undef INSTANTIATE

}  // namespace gansformer
