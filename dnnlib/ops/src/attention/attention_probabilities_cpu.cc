// How much each position attends to each key, on the CPU.
#include "attention/attention_probabilities.h"

namespace gansformer {

template <typename T>
void ProbabilitiesCpu<T>::forward(const AttentionPlan& plan, const T* x,
                                  const AttentionScores& scores, float* probabilities,
                                  const ParallelFor& parallel_for) {
  const int channels = plan.channels, keys = plan.all_keys();
  with_vectors(plan, [&](auto vectors) {
    for_each_unit(plan, channels * keys / 16 + 50, parallel_for, [&](const Unit& unit) {
      const Probabilities<vectors> result(plan, unit, scores);
      const Buffer copies(kBlock * round_up(channels, kLanes));
      for_each_block(plan, unit, [&](std::int64_t first, int count) {
        const Rows<const float> rows = read_rows(x + first * channels, count, channels, copies);
        result.compute(first, count, rows, probabilities + first * keys);
      });
    });
  });
}

template <typename T>
void ProbabilitiesCpu<T>::gradient(const AttentionPlan& plan, const float* upstream,
                                   const float* probabilities, const T* x, const float* weights,
                                   T* dx, const AttentionScoreGradients& gradients,
                                   const ParallelFor& parallel_for) {
  const int channels = plan.channels, keys = plan.all_keys();
  const std::int64_t width = round_up(channels, kLanes);
  with_vectors(plan, [&](auto vectors) {
    using Gradient = ProbabilitiesGradient<vectors>;
    const std::int64_t weights_size = Gradient::weights_size(plan);
    const std::int64_t columns_size = Gradient::columns_size(plan);
    UnitSums unit_sums(plan, weights_size + columns_size);
    for_each_unit(plan, channels * keys / 8 + 50, parallel_for, [&](const Unit& unit) {
      const Gradient result(plan, unit, weights, gradients.rows, unit_sums.at(unit));
      const Buffer copies(kBlock * width), sent(kBlock * width);
      for_each_block(plan, unit, [&](std::int64_t first, int count) {
        T* const block = dx + first * channels;
        const Rows<float> target = rows_for(block, count, channels, sent);
        result.template compute<false>(
            first, count, read_rows(x + first * channels, count, channels, copies),
            probabilities + first * keys, {upstream + first * keys, keys}, target);
        write_rows(target, count, channels, block);
      });
      result.finish();
    });
    unit_sums.add(0, weights_size, gradients.weights);
    unit_sums.add(weights_size, columns_size, gradients.columns);
  });
}

FOR_ALL_ELEMENT_TYPES(ProbabilitiesCpu)

}  // namespace gansformer
