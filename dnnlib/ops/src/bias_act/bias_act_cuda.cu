// bias_act on CUDA: one pass over the memory; bias gradients in two steps, without atomic additions,
// so that they repeat to the last bit.
#include "common/cuda.h"
#include "common/cuda_launch.h"

namespace gansformer {
namespace {

constexpr int kLanes = 32;      // packs of channels side by side
constexpr int kRowThreads = 8;  // rows in flight in one block
constexpr int kThreads = kLanes * kRowThreads;
constexpr int kRowBlocks = 256;  // at most so many partial sums per channel

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
      const float u = to_float(pack.values[j]) + value_or_zero(bias, channel + j);
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
  float* partial;  // [row blocks, channels] or null
};

template <typename T, int PackSize>
__device__ void multiply_pack(const BiasActPlan& plan, const Gradient<T>& job, std::int64_t start,
                              int channel, float (&sums)[PackSize]) {
  using Packed = Pack<T, PackSize>;
  Packed dy = *reinterpret_cast<const Packed*>(job.dy + start);
  const Packed y = *reinterpret_cast<const Packed*>(job.y + start);
  UNROLL
  for (int j = 0; j < PackSize; ++j) {
    const float value = (to_float(dy.values[j]) + value_or_zero(job.dy_shift, channel + j)) *
                        bias_act_slope(to_float(y.values[j]), plan);
    sums[j] += value;
    store(&dy.values[j], value);
  }
  *reinterpret_cast<Packed*>(job.dx + start) = dy;
}

// blockIdx.x: kLanes packs of channels; blockIdx.y: every gridDim.y-th group of kRowThreads rows.
template <typename T, int PackSize>
__global__ void gradient_kernel(const BiasActPlan plan, const Gradient<T> job) {
  __shared__ float shared_sums[kRowThreads][kLanes][PackSize];
  const int lane = threadIdx.x % kLanes, row_thread = threadIdx.x / kLanes;
  const int channel = (blockIdx.x * kLanes + lane) * PackSize;
  float sums[PackSize] = {};
  if (channel < plan.channels) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.y) * kRowThreads;
    for (std::int64_t row = static_cast<std::int64_t>(blockIdx.y) * kRowThreads + row_thread;
         row < plan.rows; row += step) {
      multiply_pack<T, PackSize>(plan, job, row * plan.channels + channel, channel, sums);
    }
  }
  if (job.partial == nullptr) return;
  for (int j = 0; j < PackSize; ++j) shared_sums[row_thread][lane][j] = sums[j];
  __syncthreads();
  if (row_thread != 0 || channel >= plan.channels) return;
  for (int j = 0; j < PackSize; ++j) {
    float sum = 0.0f;
    for (int i = 0; i < kRowThreads; ++i) sum += shared_sums[i][lane][j];
    job.partial[static_cast<std::int64_t>(blockIdx.y) * plan.channels + channel + j] = sum;
  }
}

__global__ void add_partial_sums(const float* partial, int row_blocks, int channels, float* sums) {
  const int channel = blockIdx.x * blockDim.x + threadIdx.x;
  if (channel >= channels) return;
  float sum = 0.0f;
  for (int i = 0; i < row_blocks; ++i) sum += partial[i * channels + channel];
  sums[channel] = sum;
}

int row_blocks_of(const BiasActPlan& plan) {
  const std::int64_t blocks = (plan.rows + kRowThreads - 1) / kRowThreads;
  return blocks < 1 ? 1 : blocks < kRowBlocks ? static_cast<int>(blocks) : kRowBlocks;
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

template <typename T>
void launch_gradient(void* stream, const BiasActPlan& plan, const Gradient<T>& job,
                       float* sums) {
  constexpr int kPack = pack_size<T>();
  const bool packed = plan.channels % kPack == 0 && is_aligned(job.dy) && is_aligned(job.y) &&
                      is_aligned(job.dx);
  const int width = kLanes * (packed ? kPack : 1), row_blocks = row_blocks_of(plan);
  const dim3 grid((plan.channels + width - 1) / width, row_blocks, 1);
  if (packed) {
    LAUNCH((gradient_kernel<T, kPack>), grid, kThreads, stream, plan, job);
  } else {
    LAUNCH((gradient_kernel<T, 1>), grid, kThreads, stream, plan, job);
  }
  if (sums == nullptr) return;
  const unsigned blocks = (plan.channels + kThreads - 1) / kThreads;
  LAUNCH(add_partial_sums, blocks, kThreads, stream, job.partial, row_blocks, plan.channels, sums);
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
  return static_cast<std::int64_t>(gansformer::row_blocks_of(*plan)) * plan->channels;
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
