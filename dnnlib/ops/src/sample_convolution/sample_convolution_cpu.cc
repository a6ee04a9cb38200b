// Convolutions with weights of each sample's own on the CPU.
#include "sample_convolution/sample_convolution.h"

#include "common/position_blocks.h"

namespace gansformer {
namespace {

constexpr int kGroup = 4;  // neighbouring outputs that are computed together

// The weights of a sample with the inputs last: [tap][output][input].
void put_inputs_last(const SampleConvPlan& plan, const float* weights, std::int64_t sample,
                     const Buffer& result) {
  const std::int64_t tap_size = static_cast<std::int64_t>(plan.channels) * plan.outputs;
  for (int tap = 0; tap < plan.size * plan.size; ++tap) {
    const float* source = weights + (sample * plan.size * plan.size + tap) * tap_size;
    transpose(source, plan.channels, plan.outputs, plan.channels, result.at(tap * tap_size));
  }
}

// The pixels that the taps of a group of outputs meet. Those outside of the image are zero.
template <typename T>
class Patch {
 public:
  Patch(const SampleConvPlan& plan, const T* x)
      : plan_(plan), x_(x), across_(kGroup + plan.size - 1), zeros_(plan.channels),
        pixels_(plan.size * across_) {}

  void move_to(std::int64_t sample, std::int64_t row, std::int64_t column) {
    for (int i = 0; i < plan_.size; ++i) {
      for (int j = 0; j < across_; ++j) {
        const std::int64_t r = row + i - plan_.size / 2, c = column + j - plan_.size / 2;
        const bool inside = r >= 0 && r < plan_.grid_rows && c >= 0 && c < plan_.grid_columns;
        const std::int64_t pixel = (sample * plan_.grid_rows + r) * plan_.grid_columns + c;
        pixels_[i * across_ + j] = inside ? x_ + pixel * plan_.channels : zeros_.data();
      }
    }
  }

  // Those of the first output at a tap; the others follow.
  const T* const* at(int down, int right) const { return &pixels_[down * across_ + right]; }

 private:
  const SampleConvPlan& plan_;
  const T* const x_;
  const int across_;
  const std::vector<T> zeros_;
  std::vector<const T*> pixels_;
};

// y [kGroup][outputs] from weights [tap][output][input].
template <int kOutputs, typename T>
void correlate(const SampleConvPlan& plan, const Patch<T>& patch, const float* weights, float* y) {
  Vector sums[kGroup][kOutputs] = {};
  const int channels = plan.channels;
  for (int tap = 0; tap < plan.size * plan.size; ++tap) {
    const T* pixels[kGroup];
    std::copy_n(patch.at(tap / plan.size, tap % plan.size), kGroup, pixels);
    const float* const rows = weights + static_cast<std::int64_t>(tap) * kOutputs * channels;
    for (int c = 0; c < channels; c += kLanes) {
      Vector line[kOutputs];
      UNROLL
      for (int o = 0; o < kOutputs; ++o) line[o] = load_once(rows + o * channels + c);
      UNROLL
      for (int g = 0; g < kGroup; ++g) {
        const Vector value = load(pixels[g] + c);
        UNROLL
        for (int o = 0; o < kOutputs; ++o) sums[g][o] += value * line[o];
      }
    }
  }
  for (int g = 0; g < kGroup; ++g) {
    for (int o = 0; o < kOutputs; ++o) y[g * kOutputs + o] = sum_of_lanes(sums[g][o]);
  }
}

// What each position of a block meets of dy through each tap, [position][tap][output].
void gather_upstream(const SampleConvPlan& plan, const float* dy, std::int64_t first, int count,
                     std::int64_t step, float* gathered) {
  const int middle = plan.size / 2, outputs = plan.outputs;
  for_each_position(plan, first, count, [&](int i, std::int64_t line, std::int64_t column) {
    const std::int64_t row = line % plan.grid_rows;
    float* target = gathered + i * step;
    for (int tap = 0; tap < plan.size * plan.size; ++tap, target += outputs) {
      const int down = middle - tap / plan.size, right = middle - tap % plan.size;
      const bool inside = row + down >= 0 && row + down < plan.grid_rows && column + right >= 0 &&
                          column + right < plan.grid_columns;
      const float* source = dy + (first + i + down * plan.grid_columns + right) * outputs;
      for (int o = 0; o < outputs; ++o) target[o] = inside ? source[o] : 0.0f;
    }
  });
}

// Calls run(std::integral_constant) with the number of outputs.
template <typename Run>
void with_outputs(int outputs, const Run& run) {
  switch (outputs) {
    case 1: return run(std::integral_constant<int, 1>());
    case 2: return run(std::integral_constant<int, 2>());
    case 3: return run(std::integral_constant<int, 3>());
    default: return run(std::integral_constant<int, kMaximumOutputs>());
  }
}

}  // namespace

template <typename T>
void SampleConvCpu<T>::forward(const SampleConvPlan& plan, const T* x, const float* weights, float* y,
                               const ParallelFor& parallel_for) {
  const int taps = plan.size * plan.size, outputs = plan.outputs;
  with_outputs(outputs, [&](auto count) {
    for_each_unit(plan, taps * plan.channels * outputs / 8, parallel_for, [&](const Unit& unit) {
      const Buffer rows(static_cast<std::int64_t>(taps) * outputs * plan.channels);
      put_inputs_last(plan, weights, unit.sample, rows);
      Patch<T> patch(plan, x);
      float results[kGroup * kMaximumOutputs];
      for (std::int64_t row = unit.first_row; row < unit.first_row + unit.rows; ++row) {
        const std::int64_t start = (unit.sample * plan.grid_rows + row) * plan.grid_columns;
        for (std::int64_t column = 0; column < plan.grid_columns; column += kGroup) {
          patch.move_to(unit.sample, row, column);
          correlate<count>(plan, patch, rows.at(0), results);
          const std::int64_t inside = std::min<std::int64_t>(kGroup, plan.grid_columns - column);
          std::copy_n(results, inside * outputs, y + (start + column) * outputs);
        }
      }
    });
  });
}

template <typename T>
void SampleConvCpu<T>::gradient(const SampleConvPlan& plan, const float* dy, const T* x,
                                const float* weights, T* dx, float* dweights,
                                const ParallelFor& parallel_for) {
  const int channels = plan.channels, factors = plan.size * plan.size * plan.outputs;
  const std::int64_t size = static_cast<std::int64_t>(factors) * channels;
  const std::int64_t step = round_up(factors, kPanel), sums_size = step * channels;
  UnitSums unit_sums(plan, size);
  for_each_unit(plan, size / 4, parallel_for, [&](const Unit& unit) {
    const Buffer rows(size), gathered(kBlock * step), sums(sums_size);
    const Buffer copies(kBlock * channels), results(kBlock * channels);
    put_inputs_last(plan, weights, unit.sample, rows);
    clear(gathered, kBlock * step);
    clear(sums, sums_size);
    clear(copies, kBlock * channels);
    for_each_block(plan, unit, [&](std::int64_t first, int count) {
      const std::int64_t start = first * channels;
      gather_upstream(plan, dy, first, count, step, gathered.at(0));
      for (int i = 0; i < count; ++i) fetch_ahead(x + start + i * channels, channels);
      const Rows<const float> pixels = read_rows(x + start, count, channels, copies);
      const Rows<float> target = rows_for(dx + start, count, channels, results);
      multiply<false>(count, channels, factors, {gathered.at(0), step, 1},
                      {rows.at(0), channels}, {target.data, target.step});
      multiply<true>(factors, channels, count, {gathered.at(0), 1, step},
                     {pixels.data, pixels.step}, {sums.at(0), channels});
      write_rows(target, count, channels, dx + start);
    });
    for (int tap = 0; tap < factors / plan.outputs; ++tap) {  // the inputs before the outputs again
      const std::int64_t offset = static_cast<std::int64_t>(tap) * plan.outputs * channels;
      transpose(sums.at(offset), plan.outputs, channels, plan.outputs,
                unit_sums.at(unit) + offset);
    }
  });
  unit_sums.add(0, size, dweights);
}

FOR_ALL_ELEMENT_TYPES(SampleConvCpu)

}  // namespace gansformer
