// Features multiplied by what their positions attend to, on the CPU.
#include <cmath>

#include "attention_blocks.h"

namespace gansformer {
namespace {

float inverse_norm(const float* row, std::int64_t width, int channels) {
  return 1.0f / std::sqrt(inner_product(row, row, width) / channels + 1e-8f);
}

// Rows of the values but the last, with room for whole vectors.
void read_values(const AttentionPlan& plan, const float* values, std::int64_t width,
                 const Buffer& rows) {
  for (int t = 0; t < plan.targets; ++t) {
    copy_row(values + t * plan.channels, plan.channels, rows.at(t * width));
  }
}

// gains = P values for `count` positions; returns P.
Rows<const float> multiply_values(const AttentionPlan& plan, const float* probabilities, int count,
                                  const Buffer& values, std::int64_t width, const Buffer& copies,
                                  const Buffer& gains) {
  const Rows<const float> left = read_rows(probabilities, count, plan.targets, copies);
  multiply<false>(count, plan.channels, plan.targets, {left.data, left.step, 1},
                  {values.at(0), width}, {gains.at(0), width});
  return left;
}

// What one position's gradient needs and what it adds to. Rows are padded with zeros to `width`.
struct Line {
  std::int64_t width;
  const float *scale, *last;  // last row of the values
  float *row, *sent, *gain, *dscale, *dlast;
};

// dx of a position; gain becomes the gradient of the gain.
template <typename T>
void gain_gradient(const T* upstream, const T* x, int channels, bool normalize, const Line& line,
                   T* dx) {
  const float *const scale = line.scale, *const last = line.last;
  float *const row = line.row, *const sent = line.sent, *const gain = line.gain;
  float *const dscale = line.dscale, *const dlast = line.dlast;
#pragma omp simd
  for (int c = 0; c < channels; ++c) {
    row[c] = to_float(x[c]) * scale[c];
    sent[c] = to_float(upstream[c]) * (gain[c] + last[c]);
  }
  const float inverse = normalize ? inverse_norm(row, line.width, channels) : 1.0f;
  const float through_norm =
      normalize
          ? inner_product(sent, row, line.width) * inverse * inverse * inverse / channels
          : 0.0f;
#pragma omp simd
  for (int c = 0; c < channels; ++c) {
    const float drow = inverse * sent[c] - through_norm * row[c];
    gain[c] = to_float(upstream[c]) * inverse * row[c];
    dlast[c] += gain[c];
    dscale[c] += drow * to_float(x[c]);
    store(dx + c, drow * scale[c]);
  }
}

}  // namespace

template <typename T>
void attention_gain_cpu(const AttentionPlan& plan, const T* x, const float* scale,
                        const float* probabilities, const float* values, bool normalize, T* y,
                        const ParallelFor& parallel_for) {
  const int channels = plan.channels, targets = plan.targets;
  const std::int64_t width = round_up(channels, kLanes);
  for_each_unit(plan, channels * targets / 16 + 50, parallel_for, [&](const Unit& unit) {
    const Buffer copies(kBlock * round_up(targets, kLanes)), gains(kBlock * width);
    const Buffer right(targets * width), line(width);
    std::fill(line.at(0), line.at(width), 0.0f);
    const float* source = values + unit.sample * (targets + 1) * channels;
    const float* last = source + targets * channels;
    const float* factors = scale + unit.sample * channels;
    read_values(plan, source, width, right);
    for_each_block(plan, unit, [&](std::int64_t first, int count) {
      multiply_values(plan, probabilities + first * targets, count, right, width, copies, gains);
      for (int i = 0; i < count; ++i) {
        const T* source_row = x + (first + i) * channels;
        fetch_ahead(source_row, channels);
        const float* gain = gains.at(i * width);
        float* row = line.at(0);
#pragma omp simd
        for (int c = 0; c < channels; ++c) row[c] = to_float(source_row[c]) * factors[c];
        const float inverse = normalize ? inverse_norm(row, width, channels) : 1.0f;
        T* target = y + (first + i) * channels;
#pragma omp simd
        for (int c = 0; c < channels; ++c) {
          store(target + c, row[c] * inverse * (gain[c] + last[c]));
        }
      }
    });
  });
}

template <typename T>
void attention_gain_gradient_cpu(const AttentionPlan& plan, const T* upstream, const T* x,
                                 const float* scale, const float* probabilities,
                                 const float* values, bool normalize, T* dx, float* dscale,
                                 float* dprobabilities, float* dvalues,
                                 const ParallelFor& parallel_for) {
  const int channels = plan.channels, targets = plan.targets;
  const std::int64_t width = round_up(channels, kLanes), step = round_up(targets, kPanel);
  const std::int64_t values_size = (targets + 1) * static_cast<std::int64_t>(channels);
  UnitSums unit_sums(plan, values_size + channels);
  for_each_unit(plan, channels * targets / 4 + 100, parallel_for, [&](const Unit& unit) {
    const Buffer copies(kBlock * step), gains(kBlock * width), result(kBlock * step);
    const Buffer right(targets * width), turned(channels * step);
    const Buffer lines(2 * width), sums(step * width);
    std::fill(lines.at(0), lines.at(2 * width), 0.0f);
    std::fill(sums.at(0), sums.at(step * width), 0.0f);
    const float* source = values + unit.sample * values_size;
    read_values(plan, source, width, right);
    transpose(source, targets, channels, step, turned.at(0));
    float* const unit_sum = unit_sums.at(unit);
    for_each_block(plan, unit, [&](std::int64_t first, int count) {
      const Rows<const float> left =
          multiply_values(plan, probabilities + first * targets, count, right, width, copies, gains);
      for (int i = 0; i < count; ++i) {
        const std::int64_t place = (first + i) * channels;
        fetch_ahead(x + place, channels);
        fetch_ahead(upstream + place, channels);
        gain_gradient(upstream + place, x + place, channels, normalize,
                      {width, scale + unit.sample * channels, source + targets * channels,
                       lines.at(0), lines.at(width), gains.at(i * width), unit_sum + values_size,
                       unit_sum + targets * channels},
                      dx + place);
      }
      float* const dshares = dprobabilities + first * targets;
      const Rows<float> target = rows_for(dshares, count, targets, result);
      multiply<false>(count, targets, channels, {gains.at(0), width, 1}, {turned.at(0), step},
                      {target.data, target.step});
      multiply<true>(targets, channels, count, {left.data, 1, left.step}, {gains.at(0), width},
                     {sums.at(0), width});
      write_rows(target, count, targets, dshares);
    });
    for (int t = 0; t < targets; ++t) {
      copy_row(sums.at(t * width), channels, unit_sum + t * channels);
    }
  });
  unit_sums.add(0, values_size, dvalues);
  unit_sums.add(values_size, channels, dscale);
}

#define INSTANTIATE(T)                                                                             \
  template void attention_gain_cpu(const AttentionPlan&, const T*, const float*, const float*,     \
                                   const float*, bool, T*, const ParallelFor&);                    \
  template void attention_gain_gradient_cpu(const AttentionPlan&, const T*, const T*,              \
                                            const float*, const float*, const float*, bool, T*,    \
                                            float*, float*, float*, const ParallelFor&);
INSTANTIATE(float)
INSTANTIATE(BFloat16)
INSTANTIATE(Float16)
#undef INSTANTIATE

}  // namespace gansformer
