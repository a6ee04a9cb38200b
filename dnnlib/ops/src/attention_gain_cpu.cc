// Attention whose result multiplies the features, on the CPU.
#include <cmath>

#include "attention_probabilities.h"

namespace gansformer {
namespace {

// 1 / the root mean square of `channels` numbers, from the sum of their squares.
float inverse_norm(float power, int channels) { return 1.0f / std::sqrt(power / channels + 1e-8f); }

// The gain of a sample's positions. The scale of the features is part of its rows, which are the
// values with zeros up to whole vectors.
class Gains {
 public:
  Gains(const AttentionPlan& plan, const Unit& unit, const AttentionGain& gain)
      : channels_(plan.channels),
        targets_(plan.heads * plan.targets),
        width_(round_up(channels_, kLanes)),
        rows_((targets_ + 1) * width_),
        squares_(width_),
        shares_(kBlock * round_up(targets_, kLanes)),
        gains_(kBlock * width_) {
    const float* const scale = gain.scale + unit.sample * channels_;
    const float* const values = gain.values + unit.sample * (targets_ + 1) * channels_;
    clear(rows_, (targets_ + 1) * width_);
    clear(squares_, width_);
    for (int c = 0; c < channels_; ++c) {
      for (int t = 0; t <= targets_; ++t) {
        *rows_.at(t * width_ + c) = values[t * channels_ + c] * scale[c];
      }
      *squares_.at(c) = gain.normalize ? scale[c] * scale[c] : 0.0f;
    }
  }

  // Computes the gain of `count` positions less its last row; returns P.
  Rows<const float> compute(const float* probabilities, int count) const {
    const Rows<const float> left = read_rows(probabilities, count, targets_, shares_);
    multiply<false>(count, channels_, targets_, {left.data, left.step, 1}, {rows_.at(0), width_},
                    {gains_.at(0), width_});
    return left;
  }

  const float* row(int target) const { return rows_.at(target * width_); }
  const float* last() const { return row(targets_); }
  const float* squares() const { return squares_.at(0); }  // of the scale; 0 without norm
  float* at(int position) const { return gains_.at(position * width_); }

 private:
  const int channels_, targets_;
  const std::int64_t width_;
  const Buffer rows_, squares_, shares_, gains_;
};

// y of one position, from its gain.
void apply_gain(const float* x, const Gains& gains, const float* gain, int channels, bool normalize,
                float* y) {
  const float *const last = gains.last(), *const squares = gains.squares();
  Vector power = {};
  for (int c = 0; c < channels; c += kLanes) power += load(x + c) * load(x + c) * load(squares + c);
  const float inverse = normalize ? inverse_norm(sum_of_lanes(power), channels) : 1.0f;
  for (int c = 0; c < channels; c += kLanes) {
    store(y + c, load(x + c) * inverse * (load(gain + c) + load(last + c)));
  }
}

// dx of one position; `gain` becomes its own gradient, and what the norm sends to the scale, divided
// by it, is subtracted from `through_norm`.
void apply_gain_gradient(const float* dy, const float* x, const Gains& gains, int channels,
                         bool normalize, float* gain, float* through_norm, float* dx) {
  const float *const last = gains.last(), *const squares = gains.squares();
  Vector power = {}, product = {};
  for (int c = 0; c < channels; c += kLanes) {
    const Vector value = load(x + c);
    product += load(dy + c) * (load(gain + c) + load(last + c)) * value;
    power += value * value * load(squares + c);
  }
  const float inverse = normalize ? inverse_norm(sum_of_lanes(power), channels) : 1.0f;
  const float slope = sum_of_lanes(product) * inverse * inverse * inverse / channels;
  for (int c = 0; c < channels; c += kLanes) {
    const Vector value = load(x + c), sent = load(dy + c) * inverse;
    const Vector change = value * slope;
    store(dx + c, sent * (load(gain + c) + load(last + c)) - change * load(squares + c));
    store(gain + c, sent * value);
    store(through_norm + c, load(through_norm + c) - change * value);
  }
}

// dvalues and dscale of a unit, from the gradients `rows` of the rows of its gains, of which the
// last is missing: as the shares of a head add up to one, it is the sum of the others over heads.
void finish_gain_gradient(const AttentionPlan& plan, const Unit& unit, const AttentionGain& gain,
                          const float* rows, const float* through_norm, float* dvalues,
                          float* dscale) {
  const int channels = plan.channels, targets = plan.heads * plan.targets;
  const std::int64_t width = round_up(channels, kLanes);
  const float* const scale = gain.scale + unit.sample * channels;
  const float* const values = gain.values + unit.sample * (targets + 1) * channels;
  for (int c = 0; c < channels; ++c) {
    float last = 0.0f, sum = gain.normalize ? through_norm[c] * scale[c] : 0.0f;
    for (int t = 0; t < targets; ++t) {
      const float row = rows[t * width + c];
      last += row;
      sum += row * values[t * channels + c];
      dvalues[t * channels + c] = row * scale[c];
    }
    last /= plan.heads;
    dvalues[targets * channels + c] = last * scale[c];
    dscale[c] = sum + last * values[targets * channels + c];
  }
}

}  // namespace

template <typename T>
void attention_gain_cpu(const AttentionPlan& plan, const T* x, const AttentionScores& scores,
                        const AttentionGain& gain, float* probabilities, T* y,
                        const ParallelFor& parallel_for) {
  const int channels = plan.channels, targets = plan.heads * plan.targets;
  const std::int64_t width = round_up(channels, kLanes);
  with_vectors(plan, [&](auto vectors) {
    for_each_unit(plan, channels * targets / 8 + 100, parallel_for, [&](const Unit& unit) {
      const Probabilities<vectors> shares(plan, unit, scores);
      const Gains gains(plan, unit, gain);
      const Buffer copies(kBlock * width), results(kBlock * width);
      clear(copies, kBlock * width);
      for_each_block(plan, unit, [&](std::int64_t first, int count) {
        const T* const block = x + first * channels;
        float* const p = probabilities + first * targets;
        const Rows<const float> rows = read_rows(block, count, channels, copies);
        const Rows<float> target = rows_for(y + first * channels, count, channels, results);
        shares.compute(first, count, rows, p);
        gains.compute(p, count);
        for (int i = 0; i < count; ++i) {
          fetch_ahead(block + i * channels, channels);
          apply_gain(rows.data + i * rows.step, gains, gains.at(i), channels, gain.normalize,
                     target.data + i * target.step);
        }
        write_rows(target, count, channels, y + first * channels);
      });
    });
  });
}

template <typename T>
void attention_gain_gradient_cpu(const AttentionPlan& plan, const T* dy,
                                 const float* dprobabilities, const float* probabilities,
                                 const T* x, const float* weights, const AttentionGain& gain,
                                 T* dx, const AttentionScoreGradients& gradients, float* dscale,
                                 float* dvalues, const ParallelFor& parallel_for) {
  const int channels = plan.channels, targets = plan.heads * plan.targets;
  const std::int64_t width = round_up(channels, kLanes), step = round_up(targets, kPanel);
  const std::int64_t values_size = (targets + 1) * static_cast<std::int64_t>(channels);
  with_vectors(plan, [&](auto vectors) {
    using Scores = ProbabilitiesGradient<vectors>;
    const std::int64_t weights_size = Scores::weights_size(plan);
    const std::int64_t columns_size = Scores::columns_size(plan);
    UnitSums unit_sums(plan, values_size + channels + weights_size + columns_size);
    for_each_unit(plan, channels * targets / 2 + 200, parallel_for, [&](const Unit& unit) {
      float* const value_sums = unit_sums.at(unit);
      float* const scale_sums = value_sums + values_size;
      const Scores scores(plan, unit, weights, gradients.rows, scale_sums + channels);
      const Gains gains(plan, unit, gain);
      const Buffer copies(kBlock * width), upstream(kBlock * width), sent(kBlock * width);
      const Buffer dshares(kBlock * step), turned(width * step), through_norm(width);
      const Buffer row_sums(step * width);
      clear(copies, kBlock * width);
      clear(upstream, kBlock * width);
      clear(through_norm, width);
      clear(row_sums, step * width);
      transpose(gains.row(0), targets, width, step, turned.at(0));
      for_each_block(plan, unit, [&](std::int64_t first, int count) {
        const float* const p = probabilities + first * targets;
        const Rows<const float> rows = read_rows(x + first * channels, count, channels, copies);
        const Rows<const float> dys = read_rows(dy + first * channels, count, channels, upstream);
        const Rows<float> target = rows_for(dx + first * channels, count, channels, sent);
        const Rows<const float> left = gains.compute(p, count);
        for (int i = 0; i < count; ++i) {
          fetch_ahead(x + (first + i) * channels, channels);
          fetch_ahead(dy + (first + i) * channels, channels);
          copy_row(dprobabilities + (first + i) * targets, targets, dshares.at(i * step));
          apply_gain_gradient(dys.data + i * dys.step, rows.data + i * rows.step, gains, channels,
                              gain.normalize, gains.at(i), through_norm.at(0),
                              target.data + i * target.step);
        }
        multiply<true>(count, targets, channels, {gains.at(0), width, 1}, {turned.at(0), step},
                       {dshares.at(0), step});
        multiply<true>(targets, channels, count, {left.data, 1, left.step}, {gains.at(0), width},
                       {row_sums.at(0), width});
        scores.template compute<true>(first, count, rows, p, {dshares.at(0), step}, target);
        write_rows(target, count, channels, dx + first * channels);
      });
      scores.finish();
      finish_gain_gradient(plan, unit, gain, row_sums.at(0), through_norm.at(0), value_sums,
                           scale_sums);
    });
    unit_sums.add(0, values_size, dvalues);
    unit_sums.add(values_size, channels, dscale);
    unit_sums.add(values_size + channels, weights_size, gradients.weights);
    unit_sums.add(values_size + channels + weights_size, columns_size, gradients.columns);
  });
}

#define INSTANTIATE(T)                                                                           \
  template void attention_gain_cpu(const AttentionPlan&, const T*, const AttentionScores&,       \
                                   const AttentionGain&, float*, T*, const ParallelFor&);        \
  template void attention_gain_gradient_cpu(                                                     \
      const AttentionPlan&, const T*, const float*, const float*, const T*, const float*,        \
      const AttentionGain&, T*, const AttentionScoreGradients&, float*, float*,                  \
      const ParallelFor&);
INSTANTIATE(float)
INSTANTIATE(BFloat16)
INSTANTIATE(Float16)
#undef INSTANTIATE

}  // namespace gansformer
