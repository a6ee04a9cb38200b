// upfirdn2d on the CPU: one output row at a time, vectorised over neighbouring channels.
#include <vector>

#include "upfirdn2d/upfirdn2d.h"

namespace gansformer {
namespace {

// target[c] = sum of `count` samples that lie `stride` apart, c contiguous.
template <int Count, typename T, typename Target>
void combine(const T* samples, std::int64_t stride, const float* weights, Target* __restrict target,
             std::int64_t length) {
  for (std::int64_t c = 0; c < length; ++c) {
    store(target + c, weighted_sum<Count>(samples + c, stride, weights));
  }
}

template <typename T, typename Target>
void combine_many(const T* samples, std::int64_t stride, const float* weights, int count,
                  Target* target, std::int64_t length) {
  constexpr int kChunk = 256;
  float sums[kChunk];
  for (std::int64_t begin = 0; begin < length; begin += kChunk) {
    const int size = static_cast<int>(length - begin < kChunk ? length - begin : kChunk);
    for (int c = 0; c < size; ++c) sums[c] = 0.0f;
    for (int i = 0; i < count; ++i) {
      const T* line = samples + begin + i * stride;
      const float weight = weights[i];
      for (int c = 0; c < size; ++c) sums[c] += weight * to_float(line[c]);
    }
    for (int c = 0; c < size; ++c) store(target + begin + c, sums[c]);
  }
}

template <typename T, typename Target>
void combine(const T* samples, std::int64_t stride, const float* weights, int count,
             Target* target, std::int64_t length) {
  switch (count) {
    case 1: return combine<1>(samples, stride, weights, target, length);
    case 2: return combine<2>(samples, stride, weights, target, length);
    case 3: return combine<3>(samples, stride, weights, target, length);
    case 4: return combine<4>(samples, stride, weights, target, length);
    default: return combine_many(samples, stride, weights, count, target, length);
  }
}

// The weights that a TapRange selects, gathered.
const float* gather(const TapRange& range, const float* taps, int up, float* buffer) {
  for (int i = 0; i < range.count; ++i) buffer[i] = taps[range.first_tap + i * up];
  return buffer;
}

// The separable path: per output row, first down the columns (over whole contiguous rows), then
// along the row.
template <typename T>
class SeparableFilter {
 public:
  explicit SeparableFilter(const Upfirdn2dPlan& plan)
      : plan_(plan), uniform_(plan.up_x == 1 && plan.down_x == 1) {
    const int right = plan.out_width - 1 + plan.kernel_width - plan.pad_left - plan.in_width;
    left_margin_ = uniform_ && plan.pad_left > 0 ? plan.pad_left : 0;
    right_margin_ = uniform_ && right > 0 ? right : 0;
    if (uniform_) return;
    weights_.resize(static_cast<std::size_t>(plan.out_width) * plan.kernel_width);
    for (int x = 0; x < plan.out_width; ++x) {
      columns_.push_back(columns_of_output(plan, x));
      gather(columns_.back(), plan.taps + plan.kernel_height, plan.up_x,
             &weights_[static_cast<std::size_t>(x) * plan.kernel_width]);
    }
  }

  // Output rows [begin, end), counted over the whole batch.
  void operator()(const T* input, T* output, std::int64_t begin, std::int64_t end) const {
    const std::int64_t channels = plan_.channels;
    const std::int64_t width = left_margin_ + plan_.in_width + right_margin_;
    std::vector<float> line(width * channels, 0.0f);  // the margins stay zero
    float* centre = line.data() + left_margin_ * channels;
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t image = row / plan_.out_height;
      const T* source = input + image * plan_.in_height * plan_.in_width * channels;
      filter_columns(source, static_cast<int>(row % plan_.out_height), centre);
      filter_row(centre, output + row * plan_.out_width * channels);
    }
  }

 private:
  void filter_columns(const T* source, int y, float* line) const {
    float buffer[kMaximumTaps];
    const TapRange rows = rows_of_output(plan_, y);
    const std::int64_t stride = static_cast<std::int64_t>(plan_.in_width) * plan_.channels;
    combine(source + rows.first_sample * stride, stride,
            gather(rows, plan_.taps, plan_.up_y, buffer), rows.count, line, stride);
  }

  void filter_row(const float* line, T* target) const {
    const std::int64_t channels = plan_.channels;
    if (uniform_) {  // the whole row has the same taps
      combine(line - plan_.pad_left * channels, channels, plan_.taps + plan_.kernel_height,
              plan_.kernel_width, target, plan_.out_width * channels);
      return;
    }
    for (int x = 0; x < plan_.out_width; ++x) {
      const TapRange& range = columns_[x];
      combine(line + range.first_sample * channels, channels,
              &weights_[static_cast<std::size_t>(x) * plan_.kernel_width], range.count,
              target + x * channels, channels);
    }
  }

  const Upfirdn2dPlan& plan_;
  bool uniform_;
  int left_margin_, right_margin_;
  std::vector<TapRange> columns_;
  std::vector<float> weights_;  // [out_width, kernel_width]
};

// Filters that are no outer product: straight from the definition.
template <typename T>
void filter_directly(const Upfirdn2dPlan& plan, const T* input, T* output, std::int64_t begin,
                     std::int64_t end) {
  const std::int64_t image_size =
      static_cast<std::int64_t>(plan.in_height) * plan.in_width * plan.channels;
  for (std::int64_t row = begin; row < end; ++row) {
    const T* image = input + row / plan.out_height * image_size;
    const int y = static_cast<int>(row % plan.out_height);
    for (int x = 0; x < plan.out_width; ++x) {
      T* target = output + (row * plan.out_width + x) * plan.channels;
      for (int c = 0; c < plan.channels; ++c) {
        store(target + c, upfirdn2d_output(plan, image + c, y, x));
      }
    }
  }
}

}  // namespace

template <typename T>
void Upfirdn2dCpu<T>::run(const Upfirdn2dPlan& plan, const T* x, T* y,
                          const ParallelFor& parallel_for) {
  const std::int64_t rows = static_cast<std::int64_t>(plan.batch) * plan.out_height;
  if (!plan.separable) {
    const std::int64_t cycles = static_cast<std::int64_t>(plan.out_width) * plan.channels *
                                plan.kernel_height * plan.kernel_width;
    parallel_for(rows, cycles, [&](std::int64_t begin, std::int64_t end) {
      filter_directly(plan, x, y, begin, end);
    });
    return;
  }
  const SeparableFilter<T> filter(plan);
  const std::int64_t cycles =
      static_cast<std::int64_t>(plan.in_width + plan.out_width) * plan.channels / 2 + 100;
  parallel_for(rows, cycles,
               [&](std::int64_t begin, std::int64_t end) { filter(x, y, begin, end); });
}

FOR_ALL_ELEMENT_TYPES(Upfirdn2dCpu)

}  // namespace gansformer
