// Attention whose result multiplies the features, on CUDA. At one position, with features x_c of
// channels c, and keys k; the last row of the values, K, belongs to no key:
//
//   P_k = softmax over k of (sum_c x_c weights_kc + row score + column score)
//   y_c = epilogue of z_c = u_c g_c,  u_c = x_c scale_c r,  g_c = sum_k P_k values_kc + values_Kc
//
// where r = 1 / sqrt(mean_c (x_c scale_c)^2 + 1e-8) with `normalize`, else 1. Backwards, from dz:
//
//   dP_k += sum_c dz_c u_c values_kc,  dS_k = P_k (dP_k - sum of P dP over the keys of its head)
//   dx_c  = scale_c (dz_c g_c r - t x_c scale_c) + sum_k dS_k weights_kc
//   t     = r^3 / C sum_c dz_c g_c x_c scale_c with `normalize`, else 0
//
// and, as sums over positions, R_kc = sum P_k dz_c x_c r, from which the gradients of values and
// scale follow, and the gradients of weights (sum dS_k x_c), scores, noise and bias.
//
// Value and dx: a block of threads has kPositions positions of one sample. It goes through their
// channels, kLanes at a time, once for what is summed over channels, and once for the result. The
// lanes of a warp are channels; a thread has one channel of kOwn positions. The sums over positions
// are a kernel of their own, in which a thread has one channel and its share of the positions. All
// is added up in an order that depends on the shapes only.
#include "attention/attention.h"
#include "common/cuda.h"
#ifndef GANSFORMER_KERNELS_ONLY
#include <cmath>
#endif

namespace gansformer {

constexpr int kLanes = 32;      // channels side by side: one warp
constexpr int kRows = 8;        // warps of a block
constexpr int kThreads = kLanes * kRows;
constexpr int kPositions = 32;  // of a tile
constexpr int kOwn = kPositions / kRows;
constexpr int kKeys = kMaximumKeysOnGpu;
constexpr int kKeysAtOnce = 8;  // whose sums over positions a thread has in registers

// One more column, so that the rows of a warp begin in different banks of the shared memory.
using LaneRow = float[kLanes + 1];
using KeyRow = float[kKeys + 1];

// The positions that a block of threads has.
struct Positions {
  std::int64_t sample, first;  // the first position, of the batch
  int count;
};

__device__ Positions find_positions(const AttentionPlan& plan) {
  const std::int64_t positions = plan.positions();
  const std::int64_t tiles = (positions + kPositions - 1) / kPositions;
  const std::int64_t sample = blockIdx.x / tiles, start = blockIdx.x % tiles * kPositions;
  const std::int64_t left = positions - start;
  const int count = static_cast<int>(left < kPositions ? left : kPositions);
  return {sample, sample * positions + start, count};
}

__device__ int my_lane() { return threadIdx.x % kLanes; }
__device__ int my_position(int i) { return threadIdx.x / kLanes + i * kRows; }

// x at a position and channel of the tile, 0 outside.
template <typename T>
__device__ float read(const T* x, const AttentionPlan& plan, const Positions& tile, int position,
                      int channel) {
  const bool inside = position < tile.count && channel < plan.channels;
  return inside ? to_float(x[(tile.first + position) * plan.channels + channel]) : 0.0f;
}

// rows[k][lane] = source[k][first + lane], 0 beyond the channels.
__device__ void load_rows(const float* source, const AttentionPlan& plan, int first,
                          LaneRow* rows) {
  const int channel = first + my_lane();
  for (int k = threadIdx.x / kLanes; k < plan.all_keys(); k += kRows) {
    rows[k][my_lane()] = channel < plan.channels ? source[k * plan.channels + channel] : 0.0f;
  }
}

__device__ void fill_zeros(KeyRow* rows, int keys) {
  for (int i = threadIdx.x; i < kPositions * keys; i += kThreads) rows[i / keys][i % keys] = 0.0f;
}

// sums[position][k] += the product of two rows, over their lanes.
__device__ void add_products(const LaneRow* of_positions, const LaneRow* of_keys, int keys,
                             KeyRow* sums) {
  for (int i = threadIdx.x; i < kPositions * keys; i += kThreads) {
    const int position = i / keys, k = i % keys;
    float sum = 0.0f;
    for (int lane = 0; lane < kLanes; ++lane) {
      sum += of_positions[position][lane] * of_keys[k][lane];
    }
    sums[position][k] += sum;
  }
}

// sums[i] += the combination of column[k], for all keys, with what this thread's i-th position has.
__device__ void add_combination(const KeyRow* left, const float* column, const AttentionPlan& plan,
                                float (&sums)[kOwn]) {
  for (int k = 0; k < plan.all_keys(); ++k) {
    const float value = column[k * plan.channels];
    UNROLL
    for (int i = 0; i < kOwn; ++i) sums[i] += left[my_position(i)][k] * value;
  }
}

// totals[position] = the sum over lanes of what the threads of this position have.
__device__ void add_lanes(const float (&values)[kOwn], LaneRow* scratch, float* totals) {
  __syncthreads();
  for (int i = 0; i < kOwn; ++i) scratch[my_position(i)][my_lane()] = values[i];
  __syncthreads();
  if (threadIdx.x < kPositions) {
    float sum = 0.0f;
    for (int lane = 0; lane < kLanes; ++lane) sum += scratch[threadIdx.x][lane];
    totals[threadIdx.x] = sum;
  }
  __syncthreads();
}

__device__ float inverse_norm(const AttentionPlan& plan, const AttentionGain& gain, float power) {
  return gain.normalize ? 1.0f / sqrtf(power / plan.channels + 1e-8f) : 1.0f;
}

// Makes probabilities of the products in p. One thread for a position and a head.
__device__ void apply_softmax(const AttentionPlan& plan, const Positions& tile,
                              const AttentionScores& scores, KeyRow* p) {
  const int keys = plan.all_keys();
  for (int i = threadIdx.x; i < tile.count * plan.heads; i += kThreads) {
    const int position = i / plan.heads;
    const int first = i % plan.heads * plan.keys, end = first + plan.keys;
    const std::int64_t row = (tile.first + position) / plan.grid_columns;  // of the batch
    const std::int64_t column =
        tile.sample * plan.grid_columns + (tile.first + position) % plan.grid_columns;
    float maximum = -3.4e38f, sum = 0.0f;
    for (int k = first; k < end; ++k) {
      p[position][k] += scores.rows[row * keys + k] + scores.columns[column * keys + k];
      maximum = fmaxf(maximum, p[position][k]);
    }
    for (int k = first; k < end; ++k) sum += p[position][k] = expf(p[position][k] - maximum);
    for (int k = first; k < end; ++k) p[position][k] /= sum;
  }
}

template <typename T>
__global__ void gain_kernel(const AttentionPlan plan, const T* x, const AttentionScores scores,
                            const AttentionGain gain, const Epilogue epilogue,
                            float* probabilities, T* y) {
  __shared__ LaneRow features[kPositions], weights[kKeys];
  __shared__ KeyRow p[kPositions];
  __shared__ float powers[kPositions];
  const Positions tile = find_positions(plan);
  const int keys = plan.all_keys(), channels = plan.channels;
  const float* const scale = gain.scale + tile.sample * channels;
  fill_zeros(p, keys);
  float power[kOwn] = {};
  for (int first = 0; first < channels; first += kLanes) {
    const int channel = first + my_lane();
    const float factor = channel < channels ? scale[channel] : 0.0f;
    for (int i = 0; i < kOwn; ++i) {
      const float value = read(x, plan, tile, my_position(i), channel);
      features[my_position(i)][my_lane()] = value;
      power[i] += value * factor * (value * factor);
    }
    load_rows(scores.weights + tile.sample * keys * channels, plan, first, weights);
    __syncthreads();
    add_products(features, weights, keys, p);
    __syncthreads();
  }
  apply_softmax(plan, tile, scores, p);
  add_lanes(power, features, powers);
  for (int i = threadIdx.x; i < tile.count * keys; i += kThreads) {
    probabilities[tile.first * keys + i] = p[i / keys][i % keys];
  }
  const float* const values = gain.values + tile.sample * (keys + 1) * channels;
  const float* const noise = epilogue.noise_of(tile.sample, plan.positions());
  for (int channel = my_lane(); channel < channels; channel += kLanes) {
    const float last = values[keys * channels + channel];
    const float bias = epilogue.bias == nullptr ? 0.0f : epilogue.bias[channel];
    float gains[kOwn];
    for (int i = 0; i < kOwn; ++i) gains[i] = last;
    add_combination(p, values + channel, plan, gains);
    for (int i = 0; i < kOwn && my_position(i) < tile.count; ++i) {
      const std::int64_t position = tile.first + my_position(i);
      const float added = noise == nullptr ? 0.0f : noise[position % plan.positions()];
      const float u = to_float(x[position * channels + channel]) * scale[channel] *
                      inverse_norm(plan, gain, powers[my_position(i)]);
      const float sum = u * gains[i] + (added + bias);
      const float slope = sum > 0.0f ? epilogue.above() : epilogue.below();
      store(y + position * channels + channel, sum * slope);
    }
  }
}

// What the gradient reads, see GainCpu, and what its kernels hand on.
template <typename T>
struct GainJob {
  const T *dy, *signs, *x;
  const float *dprobabilities, *probabilities, *weights;
  float* dscores;          // dS [batch, positions, all keys]
  float *inverse, *slope;  // r and t, [batch, positions]
  // [slabs, batch, 2 all keys + 2, channels], the sums of a slab: R, of dS x, of t x^2, of dz.
  float* partial;
};

// dz at a position and channel of the tile, 0 outside.
template <typename T>
__device__ float read_dz(const GainJob<T>& job, const AttentionPlan& plan, const Epilogue& epilogue,
                         const Positions& tile, int position, int channel) {
  const float sign = read(job.signs, plan, tile, position, channel);
  return read(job.dy, plan, tile, position, channel) *
         (sign > 0.0f ? epilogue.above() : epilogue.below());
}

// Makes dS of dP, which is the sum of `job.dprobabilities` and inverse * dp, in dp.
template <typename T>
__device__ void apply_softmax_gradient(const AttentionPlan& plan, const Positions& tile,
                                       const GainJob<T>& job, const KeyRow* p,
                                       const float* inverse, KeyRow* dp) {
  const int keys = plan.all_keys();
  for (int i = threadIdx.x; i < tile.count * plan.heads; i += kThreads) {
    const int position = i / plan.heads;
    const int first = i % plan.heads * plan.keys, end = first + plan.keys;
    const std::int64_t start = (tile.first + position) * keys;
    float sum = 0.0f;
    for (int k = first; k < end; ++k) {
      dp[position][k] = dp[position][k] * inverse[position] + job.dprobabilities[start + k];
      sum += p[position][k] * dp[position][k];
    }
    for (int k = first; k < end; ++k) {
      dp[position][k] = p[position][k] * (dp[position][k] - sum);
      job.dscores[start + k] = dp[position][k];
    }
  }
}

// dx and dnoise; dS, r and t for what follows.
template <typename T>
__global__ void positions_kernel(const AttentionPlan plan, const GainJob<T> job,
                                 const AttentionGain gain, const Epilogue epilogue, T* dx,
                                 float* dnoise) {
  __shared__ LaneRow products[kPositions], values_rows[kKeys];
  __shared__ KeyRow p[kPositions], dp[kPositions];
  __shared__ float powers[kPositions], slopes[kPositions], noises[kPositions];
  const Positions tile = find_positions(plan);
  const int keys = plan.all_keys(), channels = plan.channels;
  const float* const scale = gain.scale + tile.sample * channels;
  const float* const values = gain.values + tile.sample * (keys + 1) * channels;
  const float* const weights = job.weights + tile.sample * keys * channels;
  fill_zeros(p, keys);
  fill_zeros(dp, keys);
  __syncthreads();
  for (int i = threadIdx.x; i < tile.count * keys; i += kThreads) {
    p[i / keys][i % keys] = job.probabilities[tile.first * keys + i];
  }
  __syncthreads();
  float power[kOwn] = {}, slope[kOwn] = {}, noise[kOwn] = {};
  for (int first = 0; first < channels; first += kLanes) {
    const int channel = first + my_lane();
    const bool inside = channel < channels;
    const float factor = inside ? scale[channel] : 0.0f;
    float gains[kOwn];
    for (int i = 0; i < kOwn; ++i) gains[i] = inside ? values[keys * channels + channel] : 0.0f;
    if (inside) add_combination(p, values + channel, plan, gains);
    for (int i = 0; i < kOwn; ++i) {
      const float dz = read_dz(job, plan, epilogue, tile, my_position(i), channel);
      const float scaled = read(job.x, plan, tile, my_position(i), channel) * factor;
      products[my_position(i)][my_lane()] = dz * scaled;
      power[i] += scaled * scaled;
      slope[i] += dz * scaled * gains[i];
      noise[i] += dz;
    }
    load_rows(values, plan, first, values_rows);
    __syncthreads();
    add_products(products, values_rows, keys, dp);
    __syncthreads();
  }
  add_lanes(power, products, powers);
  add_lanes(slope, products, slopes);
  add_lanes(noise, products, noises);
  const int position = threadIdx.x;
  if (position < tile.count) {
    const float inverse = inverse_norm(plan, gain, powers[position]);
    powers[position] = inverse;
    slopes[position] *= gain.normalize ? inverse * inverse * inverse / channels : 0.0f;
    job.inverse[tile.first + position] = inverse;
    job.slope[tile.first + position] = slopes[position];
    if (dnoise != nullptr) dnoise[tile.first + position] = noises[position];
  }
  __syncthreads();
  apply_softmax_gradient(plan, tile, job, p, powers, dp);
  __syncthreads();
  for (int channel = my_lane(); channel < channels; channel += kLanes) {
    float gains[kOwn], through_scores[kOwn] = {};
    for (int i = 0; i < kOwn; ++i) gains[i] = values[keys * channels + channel];
    add_combination(p, values + channel, plan, gains);
    add_combination(dp, weights + channel, plan, through_scores);
    for (int i = 0; i < kOwn && my_position(i) < tile.count; ++i) {
      const int own = my_position(i);
      const float dz = read_dz(job, plan, epilogue, tile, own, channel);
      const float scaled = read(job.x, plan, tile, own, channel) * scale[channel];
      const float sent = dz * gains[i] * powers[own] - slopes[own] * scaled;
      store(dx + (tile.first + own) * channels + channel,
            scale[channel] * sent + through_scores[i]);
    }
  }
}

// The sum over the warps of a block of what each lane has; the first warp gets it.
__device__ float add_warps(float value, float (*scratch)[kLanes]) {
  __syncthreads();
  scratch[threadIdx.x / kLanes][my_lane()] = value;
  __syncthreads();
  float sum = 0.0f;
  for (int row = 0; row < kRows; ++row) sum += scratch[row][my_lane()];
  return sum;
}

// Sums over positions. blockIdx.x: a sample, kKeysAtOnce keys and kLanes channels; blockIdx.y: a
// slab, which is every gridDim.y-th group of kRows positions.
template <typename T>
__global__ void channels_kernel(const AttentionPlan plan, const GainJob<T> job,
                                const Epilogue epilogue) {
  __shared__ float scratch[kRows][kLanes];
  const int keys = plan.all_keys(), channels = plan.channels;
  const int channel_blocks = (channels + kLanes - 1) / kLanes;
  const int key_blocks = (keys + kKeysAtOnce - 1) / kKeysAtOnce;
  const int channel = blockIdx.x % channel_blocks * kLanes + my_lane();
  const int first_key = blockIdx.x / channel_blocks % key_blocks * kKeysAtOnce;
  const int count = keys - first_key < kKeysAtOnce ? keys - first_key : kKeysAtOnce;
  const std::int64_t sample = blockIdx.x / channel_blocks / key_blocks;
  float values[kKeysAtOnce] = {}, weights[kKeysAtOnce] = {}, through_norm = 0.0f, bias = 0.0f;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.y) * kRows;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.y) * kRows + threadIdx.x / kLanes;
       i < plan.positions(); i += step) {
    const Positions here = {sample, sample * plan.positions() + i, 1};
    const float dz = read_dz(job, plan, epilogue, here, 0, channel);
    const float x = read(job.x, plan, here, 0, channel), product = dz * x * job.inverse[here.first];
    const float* const p = job.probabilities + here.first * keys + first_key;
    const float* const dscores = job.dscores + here.first * keys + first_key;
    UNROLL
    for (int k = 0; k < kKeysAtOnce; ++k) {
      if (k < count) values[k] += p[k] * product, weights[k] += dscores[k] * x;
    }
    through_norm += job.slope[here.first] * x * x;
    bias += dz;
  }
  const std::int64_t slab = blockIdx.y * plan.batch + sample;
  float* const target = job.partial + slab * (2 * keys + 2) * channels + channel;
  const bool writes = threadIdx.x < kLanes && channel < channels;
  for (int k = 0; k < count; ++k) {
    const float value = add_warps(values[k], scratch), weight = add_warps(weights[k], scratch);
    if (!writes) continue;
    target[(first_key + k) * channels] = value;
    target[(keys + first_key + k) * channels] = weight;
  }
  const float sum = add_warps(through_norm, scratch), bias_sum = add_warps(bias, scratch);
  if (!writes || first_key != 0) return;
  target[2 * keys * channels] = sum;
  target[(2 * keys + 1) * channels] = bias_sum;
}

// The sum over slabs of one number of `partial`.
__device__ float add_slabs(const AttentionPlan& plan, const float* partial, int slabs,
                           std::int64_t sample, int row, int channel) {
  const int rows = 2 * plan.all_keys() + 2;
  float sum = 0.0f;
  for (int slab = 0; slab < slabs; ++slab) {
    sum += partial[((slab * plan.batch + sample) * rows + row) * plan.channels + channel];
  }
  return sum;
}

// From the sums over positions to the gradients of values, weights, scale and bias. One thread for
// each row of `partial`, sample and channel. As the probabilities of a head add up to one, the last
// row of R is the sum of the others over heads.
__global__ void finish_kernel(const AttentionPlan plan, const AttentionGain gain,
                              const float* partial, int slabs,
                              const AttentionGainGradients gradients) {
  const int keys = plan.all_keys(), channels = plan.channels, rows = 2 * keys + 2;
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  const int channel = i % channels, row = i / channels % rows;
  const std::int64_t sample = i / channels / rows;
  if (sample >= plan.batch) return;
  const float scale = gain.scale[sample * channels + channel];
  const float* const values = gain.values + sample * (keys + 1) * channels + channel;
  float* const dvalues = gradients.values + sample * (keys + 1) * channels + channel;
  float sum = add_slabs(plan, partial, slabs, sample, row, channel);
  if (row < keys) {
    dvalues[row * channels] = sum * scale;
  } else if (row < 2 * keys) {
    gradients.scores.weights[(sample * keys + row - keys) * channels + channel] = sum;
  } else if (row == 2 * keys) {
    float last = 0.0f, dscale = -sum * scale;
    for (int k = 0; k < keys; ++k) {
      const float value = add_slabs(plan, partial, slabs, sample, k, channel);
      last += value;
      dscale += value * values[k * channels];
    }
    last /= plan.heads;
    dvalues[keys * channels] = last * scale;
    gradients.scale[sample * channels + channel] = dscale + last * values[keys * channels];
  } else if (sample == 0 && gradients.epilogue.bias != nullptr) {
    for (int other = 1; other < plan.batch; ++other) {
      sum += add_slabs(plan, partial, slabs, other, row, channel);
    }
    gradients.epilogue.bias[channel] = sum;
  }
}

// dS summed over the columns of each row of the grid, and over the rows of each column. One thread
// for each sum.
__global__ void grid_kernel(const AttentionPlan plan, const float* dscores, float* drows,
                            float* dcolumns) {
  const int keys = plan.all_keys();
  const std::int64_t rows = plan.batch * plan.grid_rows * keys;
  std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  float sum = 0.0f;
  if (i < rows) {
    const float* const source = dscores + i / keys * plan.grid_columns * keys + i % keys;
    for (std::int64_t n = 0; n < plan.grid_columns; ++n) sum += source[n * keys];
    drows[i] = sum;
    return;
  }
  i -= rows;
  if (i >= plan.batch * plan.grid_columns * keys) return;
  const std::int64_t row = plan.grid_columns * keys;
  const float* const source = dscores + i / row * plan.positions() * keys + i % row;
  for (std::int64_t r = 0; r < plan.grid_rows; ++r) sum += source[r * row];
  dcolumns[i] = sum;
}

#define INSTANTIATE(T)                                                                           \
  template __global__ void gain_kernel<T>(const AttentionPlan, const T*, const AttentionScores,  \
                                          const AttentionGain, const Epilogue, float*, T*);      \
  template __global__ void positions_kernel<T>(const AttentionPlan, const GainJob<T>,            \
                                               const AttentionGain, const Epilogue, T*, float*); \
  template __global__ void channels_kernel<T>(const AttentionPlan, const GainJob<T>,             \
                                              const Epilogue);
INSTANTIATE(float)
INSTANTIATE(BFloat16)
INSTANTIATE(Float16)
}  // namespace gansformer

#ifndef GANSFORMER_KERNELS_ONLY
#include "common/cuda_launch.h"

namespace gansformer {
namespace {

constexpr int kWantedBlocks = 1024;   // about as many as the largest GPUs run at once
constexpr int kPositionsOfSlab = 64;  // at least

std::int64_t divide_up(std::int64_t count, std::int64_t size) { return (count + size - 1) / size; }

unsigned tiles_of(const AttentionPlan& plan) {
  return static_cast<unsigned>(plan.batch * divide_up(plan.positions(), kPositions));
}

std::int64_t columns_of_blocks(const AttentionPlan& plan) {
  return plan.batch * divide_up(plan.channels, kLanes) * divide_up(plan.all_keys(), kKeysAtOnce);
}

// Among how many blocks the positions of a sample are divided.
int count_slabs(const AttentionPlan& plan) {
  const std::int64_t wanted = divide_up(kWantedBlocks, columns_of_blocks(plan));
  const std::int64_t possible = divide_up(plan.positions(), kPositionsOfSlab);
  return static_cast<int>(wanted < possible ? wanted : possible);
}

template <typename T>
void launch_gradient(void* stream, const AttentionPlan& plan, GainJob<T> job,
                     const AttentionGain& gain, const Epilogue& epilogue, T* dx,
                     const AttentionGainGradients& gradients, float* workspace) {
  const std::int64_t positions = plan.batch * plan.positions(), keys = plan.all_keys();
  job.dscores = workspace;
  job.inverse = job.dscores + positions * keys;
  job.slope = job.inverse + positions;
  job.partial = job.slope + positions;
  const int slabs = count_slabs(plan);
  LAUNCH(positions_kernel<T>, tiles_of(plan), kThreads, stream, plan, job, gain, epilogue, dx,
         gradients.epilogue.noise);
  const dim3 grid(static_cast<unsigned>(columns_of_blocks(plan)), slabs, 1);
  LAUNCH(channels_kernel<T>, grid, kThreads, stream, plan, job, epilogue);
  const std::int64_t sums = plan.batch * (2 * keys + 2) * plan.channels;
  LAUNCH(finish_kernel, static_cast<unsigned>(divide_up(sums, kThreads)), kThreads, stream, plan,
         gain, job.partial, slabs, gradients);
  const std::int64_t grid_sums = plan.batch * (plan.grid_rows + plan.grid_columns) * keys;
  LAUNCH(grid_kernel, static_cast<unsigned>(divide_up(grid_sums, kThreads)), kThreads, stream, plan,
         job.dscores, gradients.scores.rows, gradients.scores.columns);
}

}  // namespace
}  // namespace gansformer

using gansformer::AttentionPlan;

extern "C" int gansformer_attention_gain_cuda(
    void* stream, const AttentionPlan* plan, int element_type, const void* x,
    const gansformer::AttentionScores* scores, const gansformer::AttentionGain* gain,
    const gansformer::Epilogue* epilogue, float* probabilities, void* y) {
  return gansformer::with_element_type(element_type, [&](auto element) {
    using T = decltype(element);
    LAUNCH(gansformer::gain_kernel<T>, gansformer::tiles_of(*plan), gansformer::kThreads, stream,
           *plan, static_cast<const T*>(x), *scores, *gain, *epilogue, probabilities,
           static_cast<T*>(y));
  });
}

extern "C" std::int64_t gansformer_attention_gain_workspace(const AttentionPlan* plan) {
  const std::int64_t positions = plan->batch * plan->positions(), keys = plan->all_keys();
  const std::int64_t sums = plan->batch * (2 * keys + 2) * plan->channels;
  return positions * (keys + 2) + gansformer::count_slabs(*plan) * sums;
}

extern "C" int gansformer_attention_gain_gradient_cuda(
    void* stream, const AttentionPlan* plan, int element_type, const void* dy, const void* y,
    const float* dprobabilities, const float* probabilities, const void* x, const float* weights,
    const gansformer::AttentionGain* gain, const gansformer::Epilogue* epilogue, void* dx,
    const gansformer::AttentionGainGradients* gradients, float* workspace) {
  return gansformer::with_element_type(element_type, [&](auto element) {
    using T = decltype(element);
    gansformer::GainJob<T> job = {};
    job.dy = static_cast<const T*>(dy);
    job.signs = epilogue->signs_from(static_cast<const T*>(y), job.dy);
    job.x = static_cast<const T*>(x);
    job.dprobabilities = dprobabilities, job.probabilities = probabilities, job.weights = weights;
    gansformer::launch_gradient(stream, *plan, job, *gain, *epilogue, static_cast<T*>(dx),
                                *gradients, workspace);
  });
}
#endif
