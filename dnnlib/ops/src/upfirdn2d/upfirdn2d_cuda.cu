// upfirdn2d on CUDA: tiles in shared memory for filters of up to 4 x 4 taps that are outer products,
// with factors 1 and 2 and many channels; one thread per output sample for everything else.
#include "upfirdn2d/upfirdn2d.h"

#include "common/cuda.h"

namespace gansformer {

constexpr int kTileChannels = 32;  // one warp across
constexpr int kTileColumns = 8;    // of threads; each makes Up x Up outputs per input row
constexpr int kThreads = kTileChannels * kTileColumns;
constexpr int kTileTaps = 4;

// Output Up * i + phase reads the samples Down * i + origin + j with weights[phase][j].
template <int Up>
struct AxisWeights {
  static constexpr int kSamples = kTileTaps / Up + (Up > 1 ? 1 : 0);
  int origin;
  float weights[Up][kSamples];
};

template <int Up, int Down>
struct Tile {
  static constexpr int kOutputs = kTileColumns * Up;  // rows and columns of output
  static constexpr int kInputs = (kTileColumns - 1) * Down + AxisWeights<Up>::kSamples;
};

// Copies the input that a tile needs to shared memory, zeros where it lies outside the image.
template <int Inputs, int PackSize, typename T>
__device__ void load_tile(const Upfirdn2dPlan& plan, const T* image, int first_y, int first_x,
                          int first_channel, float (&tile)[Inputs][Inputs][kTileChannels]) {
  constexpr int kPacks = kTileChannels / PackSize;
  for (int i = threadIdx.x; i < Inputs * Inputs * kPacks; i += kThreads) {
    const int lane = i % kPacks * PackSize, x = i / kPacks % Inputs, y = i / kPacks / Inputs;
    const int source_y = first_y + y, source_x = first_x + x, channel = first_channel + lane;
    const bool inside = source_y >= 0 && source_y < plan.in_height && source_x >= 0 &&
                        source_x < plan.in_width && channel < plan.channels;
    Pack<T, PackSize> pack = {};
    if (inside) {
      const std::int64_t pixel = static_cast<std::int64_t>(source_y) * plan.in_width + source_x;
      pack = *reinterpret_cast<const Pack<T, PackSize>*>(image + pixel * plan.channels + channel);
    }
    for (int j = 0; j < PackSize; ++j) tile[y][x][lane + j] = to_float(pack.values[j]);
  }
}

// Each thread has one channel and Up output columns: it filters along the rows into registers, then
// down the columns.
template <typename T, int Up, int Down, int PackSize>
__global__ void tile_kernel(const Upfirdn2dPlan plan, const AxisWeights<Up> vertical,
                            const AxisWeights<Up> horizontal, const T* x, T* y) {
  constexpr int kInputs = Tile<Up, Down>::kInputs, kOutputs = Tile<Up, Down>::kOutputs;
  constexpr int kSamples = AxisWeights<Up>::kSamples;
  __shared__ float tile[kInputs][kInputs][kTileChannels];
  const int channel_blocks = (plan.channels + kTileChannels - 1) / kTileChannels;
  const int tiles_x = (plan.out_width + kOutputs - 1) / kOutputs;
  const int tiles_y = (plan.out_height + kOutputs - 1) / kOutputs;
  const int first_channel = blockIdx.x % channel_blocks * kTileChannels;
  const int tile_x = blockIdx.x / channel_blocks % tiles_x;
  const int tile_y = blockIdx.x / channel_blocks / tiles_x % tiles_y;
  const std::int64_t image = blockIdx.x / channel_blocks / tiles_x / tiles_y;
  load_tile<kInputs, PackSize>(
      plan, x + image * plan.in_height * plan.in_width * plan.channels,
      tile_y * kTileColumns * Down + vertical.origin,
      tile_x * kTileColumns * Down + horizontal.origin, first_channel, tile);
  __syncthreads();
  const int lane = threadIdx.x % kTileChannels, column = threadIdx.x / kTileChannels;
  const int channel = first_channel + lane;
  if (channel >= plan.channels) return;
  UNROLL
  for (int phase_x = 0; phase_x < Up; ++phase_x) {
    const int out_x = tile_x * kOutputs + column * Up + phase_x;
    if (out_x >= plan.out_width) return;
    float filtered[kInputs];
    UNROLL
    for (int i = 0; i < kInputs; ++i) {
      filtered[i] = weighted_sum<kSamples>(&tile[i][column * Down][lane], kTileChannels,
                                           horizontal.weights[phase_x]);
    }
    UNROLL
    for (int row = 0; row < kOutputs; ++row) {
      const int out_y = tile_y * kOutputs + row;
      const float sum =
          weighted_sum<kSamples>(filtered + row / Up * Down, 1, vertical.weights[row % Up]);
      const std::int64_t pixel = (image * plan.out_height + out_y) * plan.out_width + out_x;
      if (out_y < plan.out_height) store(y + pixel * plan.channels + channel, sum);
    }
  }
}

template <typename T>
__global__ void general_kernel(const Upfirdn2dPlan plan, const T* x, T* y, std::int64_t total) {
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < total; i += step) {
    const int channel = i % plan.channels;
    const std::int64_t pixel = i / plan.channels;
    const int out_x = pixel % plan.out_width, out_y = pixel / plan.out_width % plan.out_height;
    const std::int64_t image = pixel / plan.out_width / plan.out_height;
    const T* source = x + image * plan.in_height * plan.in_width * plan.channels + channel;
    store(y + i, upfirdn2d_output(plan, source, out_y, out_x));
  }
}

#define INSTANTIATE_TILES(T, PACK_SIZE, UP, DOWN)                          \
  template __global__ void tile_kernel<T, UP, DOWN, PACK_SIZE>(            \
      const Upfirdn2dPlan, const AxisWeights<UP>, const AxisWeights<UP>, const T*, T*);
#define INSTANTIATE(T, PACK_SIZE)       \
  INSTANTIATE_TILES(T, PACK_SIZE, 1, 1) \
  INSTANTIATE_TILES(T, PACK_SIZE, 2, 1) \
  INSTANTIATE_TILES(T, PACK_SIZE, 1, 2)
FOR_ALL_PACKS(INSTANTIATE)
#define INSTANTIATE_GENERAL(T) \
  template __global__ void general_kernel<T>(const Upfirdn2dPlan, const T*, T*, std::int64_t);
INSTANTIATE_GENERAL(float)
INSTANTIATE_GENERAL(BFloat16)
INSTANTIATE_GENERAL(Float16)
}  // namespace gansformer

#ifndef GANSFORMER_KERNELS_ONLY
#include "common/cuda_launch.h"

namespace gansformer {
namespace {

int ceiling_half(int value) { return value >= 0 ? (value + 1) / 2 : -(-value / 2); }

// Sorts the taps of one axis by phase. Taps beyond the filter's end count as zero.
template <int Up>
AxisWeights<Up> arrange(const float* taps, int count, int padding) {
  AxisWeights<Up> axis = {};
  const auto first_sample = [&](int phase) {
    return Up == 1 ? phase - padding : ceiling_half(phase - padding);
  };
  axis.origin = first_sample(0);  // phase 1 begins there or one later
  for (int phase = 0; phase < Up; ++phase) {
    const int first = first_sample(phase);
    for (int tap = first * Up - (phase - padding), j = first - axis.origin; tap < count;
         tap += Up, ++j) {
      axis.weights[phase][j] = taps[tap];
    }
  }
  return axis;
}

template <typename T, int Up, int Down>
void launch_tiles(void* stream, const Upfirdn2dPlan& plan, const T* x, T* y) {
  constexpr int kOutputs = Tile<Up, Down>::kOutputs;
  const std::int64_t blocks = static_cast<std::int64_t>(plan.batch) *
                              ((plan.channels + kTileChannels - 1) / kTileChannels) *
                              ((plan.out_width + kOutputs - 1) / kOutputs) *
                              ((plan.out_height + kOutputs - 1) / kOutputs);
  const AxisWeights<Up> vertical = arrange<Up>(plan.taps, plan.kernel_height, plan.pad_top);
  const AxisWeights<Up> horizontal =
      arrange<Up>(plan.taps + plan.kernel_height, plan.kernel_width, plan.pad_left);
  const unsigned grid = static_cast<unsigned>(blocks);
  if (plan.channels % pack_size<T>() == 0 && is_aligned(x)) {
    LAUNCH((tile_kernel<T, Up, Down, pack_size<T>()>), grid, kThreads, stream, plan, vertical,
           horizontal, x, y);
  } else {
    LAUNCH((tile_kernel<T, Up, Down, 1>), grid, kThreads, stream, plan, vertical, horizontal, x,
           y);
  }
}

bool fits_tiles(const Upfirdn2dPlan& plan) {
  return plan.separable && plan.kernel_height <= kTileTaps && plan.kernel_width <= kTileTaps &&
         plan.up_y == plan.up_x && plan.down_y == plan.down_x && plan.up_x <= 2 &&
         plan.down_x <= 2 && plan.up_x * plan.down_x <= 2 && plan.channels >= kTileChannels / 2;
}

template <typename T>
void launch(void* stream, const Upfirdn2dPlan& plan, const T* x, T* y) {
  if (fits_tiles(plan)) {
    if (plan.up_x == 2) return launch_tiles<T, 2, 1>(stream, plan, x, y);
    if (plan.down_x == 2) return launch_tiles<T, 1, 2>(stream, plan, x, y);
    return launch_tiles<T, 1, 1>(stream, plan, x, y);
  }
  const std::int64_t total =
      static_cast<std::int64_t>(plan.batch) * plan.out_height * plan.out_width * plan.channels;
  const std::int64_t blocks = (total + kThreads - 1) / kThreads;
  const unsigned grid = static_cast<unsigned>(blocks < 65536 ? blocks : 65536);
  LAUNCH(general_kernel<T>, grid, kThreads, stream, plan, x, y, total);
}

}  // namespace
}  // namespace gansformer

extern "C" int gansformer_upfirdn2d_cuda(void* stream, const gansformer::Upfirdn2dPlan* plan,
                                         int element_type, const void* x, void* y) {
  return gansformer::with_element_type(element_type, [&](auto element) {
    using T = decltype(element);
    gansformer::launch(stream, *plan, static_cast<const T*>(x), static_cast<T*>(y));
  });
}
#endif
