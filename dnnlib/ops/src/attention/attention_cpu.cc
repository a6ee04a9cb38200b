// Attention whose result multiplies the features, on the CPU.
#include <cmath>

#include "attention/attention_probabilities.h"

namespace gansformer {
namespace {

// 1 / the root mean square of `channels` numbers, from the sum of their squares.
float inverse_norm(float power, int channels) { return 1.0f / std::sqrt(power / channels + 1e-8f); }

// The gain of a sample's positions, and what follows. The scale of the features is part of the rows,
// which are the values with zeros up to whole vectors.
class Gains {
 public:
  Gains(const AttentionPlan& plan, const Unit& unit, const AttentionGain& gain,
        const Epilogue& epilogue)
      : channels_(plan.channels),
        keys_(plan.all_keys()),
        width_(round_up(channels_, kLanes)),
        rows_((keys_ + 1) * width_),
        squares_(width_),
        bias_(width_),
        copies_(kBlock * round_up(keys_, kLanes)),
        gains_(kBlock * width_) {
    const float* const scale = gain.scale + unit.sample * channels_;
    const float* const values = gain.values + unit.sample * (keys_ + 1) * channels_;
    clear(rows_, (keys_ + 1) * width_);
    clear(squares_, width_);
    clear(bias_, width_);
    if (epilogue.bias != nullptr) copy_row(epilogue.bias, channels_, bias_.at(0));
    for (int c = 0; c < channels_; ++c) {
      for (int t = 0; t <= keys_; ++t) {
        *rows_.at(t * width_ + c) = values[t * channels_ + c] * scale[c];
      }
      *squares_.at(c) = gain.normalize ? scale[c] * scale[c] : 0.0f;
    }
  }

  // Computes the gain of `count` positions less its last row; returns P.
  Rows<const float> compute(const float* probabilities, int count) const {
    const Rows<const float> left = read_rows(probabilities, count, keys_, copies_);
    multiply<false>(count, channels_, keys_, {left.data, left.step, 1}, {rows_.at(0), width_},
                    {gains_.at(0), width_});
    return left;
  }

  const float* row(int key) const { return rows_.at(key * width_); }
  const float* last() const { return row(keys_); }
  const float* squares() const { return squares_.at(0); }  // of the scale; 0 without norm
  const float* bias() const { return bias_.at(0); }
  float* at(int position) const { return gains_.at(position * width_); }

 private:
  const int channels_, keys_;
  const std::int64_t width_;
  const Buffer rows_, squares_, bias_, copies_, gains_;
};

// y of one position, from its gain.
void apply_gain(const float* x, const Gains& gains, const float* gain, int channels, bool normalize,
                const Epilogue& epilogue, float noise, float* y) {
  const float *const last = gains.last(), *const squares = gains.squares();
  const float above = epilogue.above(), below = epilogue.below();
  Vector power = {};
  for (int c = 0; c < channels; c += kLanes) power += load(x + c) * load(x + c) * load(squares + c);
  const float inverse = normalize ? inverse_norm(sum_of_lanes(power), channels) : 1.0f;
  for (int c = 0; c < channels; c += kLanes) {
    const Vector u = load(x + c) * inverse * (load(gain + c) + load(last + c));
    const Vector sum = u + (load(gains.bias() + c) + noise);
    store(y + c, sum * (sum > 0.0f ? spread(above) : spread(below)));
  }
}

// What dy sends through the epilogue, whose slopes the signs of y give: to its bias, added to `bias_sums`, to its
// noise, which is retransposed_rows, and to its input, `result`, which may be dy.
float apply_slopes(const float* dy, const float* y, int channels, const Epilogue& epilogue,
                   float* bias_sums, float* result) {
  const float above = epilogue.above(), below = epilogue.below();
  Vector sum = {};
  for (int c = 0; c < channels; c += kLanes) {
    const Vector slope = load(y + c) > 0.0f ? spread(above) : spread(below);
    const Vector value = load(dy + c) * slope;
    sum += value;
    store(bias_sums + c, load(bias_sums + c) + value);
    store(result + c, value);
  }
  return sum_of_lanes(sum);
}

// dx of one position, where dx first holds dy; `gain` becomes its own gradient, and what the norm sends
// to the scale, divided by it, is subtracted from `through_norm`.
void apply_gain_gradient(const float* x, const Gains& gains, int channels, bool normalize,
                         float* gain, float* through_norm, float* dx) {
  const float *const last = gains.last(), *const squares = gains.squares();
  Vector power = {}, product = {};
  for (int c = 0; c < channels; c += kLanes) {
    const Vector value = load(x + c);
    product += load(dx + c) * (load(gain + c) + load(last + c)) * value;
    power += value * value * load(squares + c);
  }
  const float inverse = normalize ? inverse_norm(sum_of_lanes(power), channels) : 1.0f;
  const float slope = sum_of_lanes(product) * inverse * inverse * inverse / channels;
  for (int c = 0; c < channels; c += kLanes) {
    const Vector value = load(x + c), sent = load(dx + c) * inverse;
    const Vector change = value * slope;
    store(dx + c, sent * (load(gain + c) + load(last + c)) - change * load(squares + c));
    store(gain + c, sent * value);
    store(through_norm + c, load(through_norm + c) - change * value);
  }
}

// dvalues and dscale of a unit, from the gradients `rows` of the rows of its gains, of which the
// last is missing: as the probabilities of a head add up to one, it is the sum of the others over heads.
void finish_gain_gradient(const AttentionPlan& plan, const Unit& unit, const AttentionGain& gain,
                          const float* rows, const float* through_norm, float* dvalues,
                          float* dscale) {
  const int channels = plan.channels, keys = plan.all_keys();
  const std::int64_t width = round_up(channels, kLanes);
  const float* const scale = gain.scale + unit.sample * channels;
  const float* const values = gain.values + unit.sample * (keys + 1) * channels;
  for (int c = 0; c < channels; ++c) {
    float last = 0.0f, sum = gain.normalize ? through_norm[c] * scale[c] : 0.0f;
    for (int t = 0; t < keys; ++t) {
      const float row = rows[t * width + c];
      last += row;
      sum += row * values[t * channels + c];
      dvalues[t * channels + c] = row * scale[c];
    }
    last /= plan.heads;
    dvalues[keys * channels + c] = last * scale[c];
    dscale[c] = sum + last * values[keys * channels + c];
  }
}

}  // namespace

template <typename T>
void GainCpu<T>::forward(const AttentionPlan& plan, const T* x, const AttentionScores& scores,
                         const AttentionGain& gain, const Epilogue& epilogue, float* probabilities,
                         T* y, const ParallelFor& parallel_for) {
  const int channels = plan.channels, keys = plan.all_keys();
  const std::int64_t positions = plan.positions();
  const std::int64_t width = round_up(channels, kLanes);
  with_vectors(plan, [&](auto vectors) {
    for_each_unit(plan, channels * keys / 8 + 100, parallel_for, [&](const Unit& unit) {
      const Probabilities<vectors> softmax(plan, unit, scores);
      const Gains gains(plan, unit, gain, epilogue);
      const float* const noise = epilogue.noise_of(unit.sample, positions);
      const Buffer copies(kBlock * width), results(kBlock * width);
      clear(copies, kBlock * width);
      for_each_block(plan, unit, [&](std::int64_t first, int count) {
        const T* const block = x + first * channels;
        float* const p = probabilities + first * keys;
        const Rows<const float> rows = read_rows(block, count, channels, copies);
        const Rows<float> target = rows_for(y + first * channels, count, channels, results);
        softmax.compute(first, count, rows, p);
        gains.compute(p, count);
        const std::int64_t pixel = first - unit.sample * positions;
        for (int i = 0; i < count; ++i) {
          fetch_ahead(block + i * channels, channels);
          apply_gain(rows.data + i * rows.step, gains, gains.at(i), channels, gain.normalize,
                     epilogue, noise ? noise[pixel + i] : 0.0f, target.data + i * target.step);
        }
        write_rows(target, count, channels, y + first * channels);
      });
    });
  });
}

template <typename T>
void GainCpu<T>::gradient(const AttentionPlan& plan, const T* dy, const T* y,
                          const float* dprobabilities, const float* probabilities, const T* x,
                          const float* weights, const AttentionGain& gain, const Epilogue& epilogue,
                          T* dx, const AttentionGainGradients& gradients,
                          const ParallelFor& parallel_for) {
  const int channels = plan.channels, keys = plan.all_keys();
  const std::int64_t width = round_up(channels, kLanes), step = round_up(keys, kPanel);
  const std::int64_t values_size = (keys + 1) * static_cast<std::int64_t>(channels);
  const T* const signs = epilogue.signs_from(y, dy);
  with_vectors(plan, [&](auto vectors) {
    using Scores = ProbabilitiesGradient<vectors>;
    const std::int64_t weights_size = Scores::weights_size(plan);
    const std::int64_t columns_size = Scores::columns_size(plan);
    const std::int64_t scores_size = weights_size + columns_size;
    UnitSums unit_sums(plan, values_size + channels + scores_size + channels);
    for_each_unit(plan, channels * keys / 2 + 200, parallel_for, [&](const Unit& unit) {
      float* const value_sums = unit_sums.at(unit);
      float* const scale_sums = value_sums + values_size;
      const Scores scores(plan, unit, weights, gradients.scores.rows, scale_sums + channels);
      const Gains gains(plan, unit, gain, epilogue);
      const Buffer copies(kBlock * width), upstream(kBlock * width), sent(kBlock * width);
      const Buffer results(kBlock * width), bias_sums(width);
      const Buffer dprobabilities_rows(kBlock * step), transposed_rows(width * step), through_norm(width);
      const Buffer row_sums(step * width);
      for (const Buffer* rows : {&copies, &upstream, &results}) clear(*rows, kBlock * width);
      clear(bias_sums, width);
      clear(through_norm, width);
      clear(row_sums, step * width);
      transpose(gains.row(0), keys, width, step, transposed_rows.at(0));
      for_each_block(plan, unit, [&](std::int64_t first, int count) {
        const std::int64_t start = first * channels;
        const float* const p = probabilities + first * keys;
        const Rows<const float> rows = read_rows(x + start, count, channels, copies);
        const Rows<const float> dys = read_rows(dy + start, count, channels, upstream);
        const Rows<const float> ys = read_rows(signs + start, count, channels, results);
        const Rows<float> target = rows_for(dx + start, count, channels, sent);
        const Rows<const float> left = gains.compute(p, count);
        for (int i = 0; i < count; ++i) {
          for (const T* block : {x, dy, signs}) {
            fetch_ahead(block + start + i * channels, channels);
          }
          copy_row(dprobabilities + (first + i) * keys, keys, dprobabilities_rows.at(i * step));
          float* const row = target.data + i * target.step;
          const float dnoise = apply_slopes(dys.data + i * dys.step, ys.data + i * ys.step,
                                            channels, epilogue, bias_sums.at(0), row);
          if (gradients.epilogue.noise != nullptr) gradients.epilogue.noise[first + i] = dnoise;
          apply_gain_gradient(rows.data + i * rows.step, gains, channels, gain.normalize,
                              gains.at(i), through_norm.at(0), row);
        }
        multiply<true>(count, keys, channels, {gains.at(0), width, 1}, {transposed_rows.at(0), step},
                       {dprobabilities_rows.at(0), step});
        multiply<true>(keys, channels, count, {left.data, 1, left.step}, {gains.at(0), width},
                       {row_sums.at(0), width});
        scores.compute(first, count, rows, p, {dprobabilities_rows.at(0), step}, target);
        write_rows(target, count, channels, dx + start);
      });
      scores.finish();
      finish_gain_gradient(plan, unit, gain, row_sums.at(0), through_norm.at(0), value_sums,
                           scale_sums);
      copy_row(bias_sums.at(0), channels, scale_sums + channels + scores_size);
    });
    unit_sums.add(0, values_size, gradients.values);
    unit_sums.add(values_size, channels, gradients.scale);
    unit_sums.add(values_size + channels, weights_size, gradients.scores.weights);
    unit_sums.add(values_size + channels + weights_size, columns_size, gradients.scores.columns);
    if (gradients.epilogue.bias != nullptr) {
      unit_sums.add_all(values_size + channels + scores_size, channels, gradients.epilogue.bias);
    }
  });
}

FOR_ALL_ELEMENT_TYPES(GainCpu)

}  // namespace gansformer
