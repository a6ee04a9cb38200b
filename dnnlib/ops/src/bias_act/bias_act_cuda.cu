// bias_act on CUDA: one pass over the memory; bias gradients in two steps, without atomic additions,
// so that they repeat to the last bit.
#include "bias_act/bias_act.h"
#include "common/cuda.h"

namespace gansformer {

constexpr int kThreads = 256;
constexpr int kMaximumLanes = 32;     // packs of channels side by side in one block
constexpr int kMaximumBlocks = 1024;  // about as many as the largest GPUs run at once
constexpr int kRowsOfOneBlock = 16;   // so many rows a thread, and no second kernel adds blocks up

__device__ float value_or_zero(const float* vector, int channel) {
  return vector == nullptr ? 0.0f : vector[channel];
}

template <typename T, int PackSize>
__global__ void forward_kernel(const BiasActPlan plan, const T* x, const float* bias, T* y,
                               std::int64_t packs) {
  using Packed = Pack<T, PackSize>;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  for (std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < packs; i += step) {
    const int channel = i * PackSize % plan.channels;
    Packed pack = reinterpret_cast<const Packed*>(x)[i];
    UNROLL
    for (int j = 0; j < PackSize; ++j) {
      const float shift = plan.bias_gain * value_or_zero(bias, channel + j);
      const float u = to_float(pack.values[j]) + shift;
      store(&pack.values[j], bias_act_output(u, plan));
    }
    reinterpret_cast<Packed*>(y)[i] = pack;
  }
}

// Where the gradient kernel reads and writes.
template <typename T>
struct Gradient {
  const T* dy;
  const float* dy_shift;
  const T* y;
  T* dx;
  float* partial;  // the sums of each block, [row blocks, channels], or null
};

template <typename T, int PackSize>
__device__ void multiply_pack(const BiasActPlan& plan, const Gradient<T>& job, std::int64_t start,
                              int channel, float (&sums)[PackSize]) {
  using Packed = Pack<T, PackSize>;
  Packed dy = *reinterpret_cast<const Packed*>(job.dy + start);
  const Packed y = *reinterpret_cast<const Packed*>(job.y + start);
  UNROLL
  for (int j = 0; j < PackSize; ++j) {
    const float shift = plan.bias_gain * value_or_zero(job.dy_shift, channel + j);
    const float value =
        (to_float(dy.values[j]) + shift) * bias_act_slope(to_float(y.values[j]), plan);
    sums[j] += value;
    store(&dy.values[j], value);
  }
  *reinterpret_cast<Packed*>(job.dx + start) = dy;
}

// Adds the sums of all rows of threads up, as a tree; row 0 then has the result.
template <int PackSize>
__device__ void add_rows_of_threads(float (&sums)[PackSize], float (*shared)[PackSize], int lanes) {
  for (int j = 0; j < PackSize; ++j) shared[threadIdx.x][j] = sums[j];
  for (int half = blockDim.x / lanes / 2; half > 0; half /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < half * lanes) {
      for (int j = 0; j < PackSize; ++j)
        shared[threadIdx.x][j] += shared[threadIdx.x + half * lanes][j];
    }
  }
  for (int j = 0; j < PackSize; ++j) sums[j] = shared[threadIdx.x][j];
}

// blockIdx.x: `lanes` packs of channels; blockIdx.y: every gridDim.y-th group of rows.
template <typename T, int PackSize>
__global__ void gradient_kernel(const BiasActPlan plan, const Gradient<T> job, int lanes) {
  __shared__ float shared[kThreads][PackSize];
  const int lane = threadIdx.x % lanes, row_thread = threadIdx.x / lanes;
  const int row_threads = blockDim.x / lanes;
  const int channel = (blockIdx.x * lanes + lane) * PackSize;
  float sums[PackSize] = {};
  if (channel < plan.channels) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.y) * row_threads;
    for (std::int64_t row = static_cast<std::int64_t>(blockIdx.y) * row_threads + row_thread;
         row < plan.rows; row += step) {
      multiply_pack<T, PackSize>(plan, job, row * plan.channels + channel, channel, sums);
    }
  }
  if (job.partial == nullptr) return;
  add_rows_of_threads(sums, shared, lanes);
  if (row_thread != 0 || channel >= plan.channels) return;
  float* target = job.partial + static_cast<std::int64_t>(blockIdx.y) * plan.channels + channel;
  for (int j = 0; j < PackSize; ++j) target[j] = plan.bias_gain * sums[j];
}

// One block for kMaximumLanes channels.
__global__ void add_partial_sums(const float* partial, int row_blocks, int channels, float* sums) {
  __shared__ float shared[kThreads][1];
  const int channel = blockIdx.x * kMaximumLanes + threadIdx.x % kMaximumLanes;
  float sum[1] = {};
  for (int i = threadIdx.x / kMaximumLanes; i < row_blocks && channel < channels;
       i += kThreads / kMaximumLanes) {
    sum[0] += partial[static_cast<std::int64_t>(i) * channels + channel];
  }
  add_rows_of_threads(sum, shared, kMaximumLanes);
  if (threadIdx.x < kMaximumLanes && channel < channels) sums[channel] = sum[0];
}

#define INSTANTIATE(T, PACK_SIZE)                                                               \
  template __global__ void forward_kernel<T, PACK_SIZE>(const BiasActPlan, const T*,            \
                                                        const float*, T*, std::int64_t);        \
  template __global__ void gradient_kernel<T, PACK_SIZE>(const BiasActPlan, const Gradient<T>, \
                                                         int);
FOR_ALL_PACKS(INSTANTIATE)
}  // namespace gansformer

#ifndef GANSFORMER_KERNELS_ONLY
#include "common/cuda_launch.h"

namespace gansformer {
namespace {

// How the gradient is divided among blocks and threads.
struct Division {
  int lanes, column_blocks, row_blocks;
};

Division divide(const BiasActPlan& plan, int pack_size) {
  const int packs = (plan.channels + pack_size - 1) / pack_size;
  Division division = {1, 1, 1};
  while (division.lanes < packs && division.lanes < kMaximumLanes) division.lanes *= 2;
  division.column_blocks = (packs + division.lanes - 1) / division.lanes;
  const std::int64_t groups = (plan.rows * division.lanes + kThreads - 1) / kThreads;
  if (groups <= kRowsOfOneBlock) return division;
  const int wanted = kMaximumBlocks / division.column_blocks + 1;
  division.row_blocks = static_cast<int>(groups / 2 < wanted ? groups / 2 : wanted);
  return division;
}

template <typename T>
void launch_forward(void* stream, const BiasActPlan& plan, const T* x, const float* bias, T* y) {
  constexpr int kPack = pack_size<T>();
  const bool packed = plan.channels % kPack == 0 && is_aligned(x) && is_aligned(y);
  const std::int64_t packs = plan.rows * plan.channels / (packed ? kPack : 1);
  const std::int64_t blocks = (packs + kThreads - 1) / kThreads;
  const unsigned grid = static_cast<unsigned>(blocks < 65536 ? blocks : 65536);
  if (grid == 0) return;
  if (packed) {
    LAUNCH((forward_kernel<T, kPack>), grid, kThreads, stream, plan, x, bias, y, packs);
  } else {
    LAUNCH((forward_kernel<T, 1>), grid, kThreads, stream, plan, x, bias, y, packs);
  }
}

template <typename T, int PackSize>
void launch_gradient(void* stream, const BiasActPlan& plan, Gradient<T> job, float* sums) {
  const Division division = divide(plan, PackSize);
  const dim3 grid(division.column_blocks, division.row_blocks, 1);
  if (division.row_blocks == 1) job.partial = sums;
  LAUNCH((gradient_kernel<T, PackSize>), grid, kThreads, stream, plan, job, division.lanes);
  if (job.partial == sums) return;
  const unsigned blocks = (plan.channels + kMaximumLanes - 1) / kMaximumLanes;
  LAUNCH(add_partial_sums, blocks, kThreads, stream, job.partial, division.row_blocks,
         plan.channels, sums);
}

template <typename T>
void launch_gradient(void* stream, const BiasActPlan& plan, const Gradient<T>& job, float* sums) {
  constexpr int kPack = pack_size<T>();
  if (plan.channels % kPack == 0 && is_aligned(job.dy) && is_aligned(job.y) &&
      is_aligned(job.dx)) {
    launch_gradient<T, kPack>(stream, plan, job, sums);
  } else {
    launch_gradient<T, 1>(stream, plan, job, sums);
  }
}

}  // namespace
}  // namespace gansformer

using gansformer::BiasActPlan;

extern "C" int gansformer_bias_act_cuda(void* stream, const BiasActPlan* plan, int element_type,
                                        const void* x, const float* bias, void* y) {
  return gansformer::with_element_type(element_type, [&](auto element) {
    using T = decltype(element);
    gansformer::launch_forward(stream, *plan, static_cast<const T*>(x), bias, static_cast<T*>(y));
  });
}

extern "C" std::int64_t gansformer_bias_act_workspace(const BiasActPlan* plan) {
  int row_blocks = 1;
  for (int pack_size : {1, gansformer::pack_size<float>(), gansformer::pack_size<gansformer::Float16>()}) {
    const int needed = gansformer::divide(*plan, pack_size).row_blocks;
    row_blocks = needed > row_blocks ? needed : row_blocks;
  }
  return static_cast<std::int64_t>(row_blocks) * plan->channels;
}

extern "C" int gansformer_bias_act_gradient_cuda(void* stream, const BiasActPlan* plan,
                                                 int element_type, const void* dy,
                                                 const float* dy_shift, const void* y, void* dx,
                                                 float* db, float* workspace) {
  return gansformer::with_element_type(element_type, [&](auto element) {
    using T = decltype(element);
    const gansformer::Gradient<T> job = {static_cast<const T*>(dy), dy_shift,
                                         static_cast<const T*>(y), static_cast<T*>(dx),
                                         db == nullptr ? nullptr : workspace};
    gansformer::launch_gradient(stream, gansformer::with_rounded_clamp<T>(*plan), job, db);
  });
}
#endif
