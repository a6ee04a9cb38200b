// bias_act on CUDA: one pass over the memory; bias gradients in two steps, without atomic additions,
// so that they repeat to the last bit.
#include "cuda_language.h"
#include "cuda_launch.h"

namespace gansformer {
namespace {

constexpr int kLanes = 32;      // packs of channels side by side
constexpr int kRowThreads = 8;  // rows in flight in one block
constexpr int kThreads = kLanes * kRowThreads;
constexpr int kRowBlocks = 256;  // at most so many partial sums per channel

// Calls the template for the activation that the plan names.
#define CHOOSE_ACTIVATION(function, ...)                       \
  switch (plan.activation) {                                   \
    case kRelu: return function<kRelu>(__VA_ARGS__);           \
    case kLrelu: return function<kLrelu>(__VA_ARGS__);         \
    case kTanh: return function<kTanh>(__VA_ARGS__);           \
    case kSigmoid: return function<kSigmoid>(__VA_ARGS__);     \
    case kElu: return function<kElu>(__VA_ARGS__);             \
    case kSelu: return function<kSelu>(__VA_ARGS__);           \
    case kSoftplus: return function<kSoftplus>(__VA_ARGS__);   \
    case kSwish: return function<kSwish>(__VA_ARGS__);         \
    default: return function<kLinear>(__VA_ARGS__);            \
  }

__device__ float output_of(const BiasActPlan& plan, float u) {
  CHOOSE_ACTIVATION(bias_act_output, u, plan)
}
__device__ float slope_of(const BiasActPlan& plan, float known) {
  CHOOSE_ACTIVATION(bias_act_slope, known, plan)
}
__device__ float curvature_of(const BiasActPlan& plan, float u) {
  CHOOSE_ACTIVATION(bias_act_curvature, u, plan)
}
#undef CHOOSE_ACTIVATION

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
      store(&pack.values[j], output_of(plan, u));
    }
    reinterpret_cast<Packed*>(y)[i] = pack;
  }
}

// Where a derivative kernel reads and writes; dy is null for the first derivative.
template <typename T>
struct Derivative {
  const T* v;
  const float* v_shift;
  const T* dy;
  const T* known;
  const float* bias;
  T* result;
  float* partial;  // [row blocks, channels] or null
};

template <typename T, int PackSize>
__device__ void derive_pack(const BiasActPlan& plan, const Derivative<T>& job, std::int64_t start,
                            int channel, float (&sums)[PackSize]) {
  using Packed = Pack<T, PackSize>;
  Packed v = *reinterpret_cast<const Packed*>(job.v + start), dy = {};
  const Packed known = *reinterpret_cast<const Packed*>(job.known + start);
  if (job.dy != nullptr) dy = *reinterpret_cast<const Packed*>(job.dy + start);
  UNROLL
  for (int j = 0; j < PackSize; ++j) {
    const float at = to_float(known.values[j]) + value_or_zero(job.bias, channel + j);
    const float factor = job.dy == nullptr ? slope_of(plan, at)
                                           : to_float(dy.values[j]) * curvature_of(plan, at);
    const float value =
        (to_float(v.values[j]) + value_or_zero(job.v_shift, channel + j)) * factor;
    sums[j] += value;
    store(&v.values[j], value);
  }
  *reinterpret_cast<Packed*>(job.result + start) = v;
}

// blockIdx.x: kLanes packs of channels; blockIdx.y: every gridDim.y-th group of kRowThreads rows.
template <typename T, int PackSize>
__global__ void derivative_kernel(const BiasActPlan plan, const Derivative<T> job) {
  __shared__ float shared_sums[kRowThreads][kLanes][PackSize];
  const int lane = threadIdx.x % kLanes, row_thread = threadIdx.x / kLanes;
  const int channel = (blockIdx.x * kLanes + lane) * PackSize;
  float sums[PackSize] = {};
  if (channel < plan.channels) {
    const std::int64_t step = static_cast<std::int64_t>(gridDim.y) * kRowThreads;
    for (std::int64_t row = static_cast<std::int64_t>(blockIdx.y) * kRowThreads + row_thread;
         row < plan.rows; row += step) {
      derive_pack<T, PackSize>(plan, job, row * plan.channels + channel, channel, sums);
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
void launch_derivative(void* stream, const BiasActPlan& plan, const Derivative<T>& job,
                       float* sums) {
  constexpr int kPack = pack_size<T>();
  const bool packed = plan.channels % kPack == 0 && is_aligned(job.v) && is_aligned(job.known) &&
                      is_aligned(job.dy) && is_aligned(job.result);
  const int width = kLanes * (packed ? kPack : 1), row_blocks = row_blocks_of(plan);
  const dim3 grid((plan.channels + width - 1) / width, row_blocks, 1);
  if (packed) {
    LAUNCH((derivative_kernel<T, kPack>), grid, kThreads, stream, plan, job);
  } else {
    LAUNCH((derivative_kernel<T, 1>), grid, kThreads, stream, plan, job);
  }
  if (sums == nullptr) return;
  const unsigned blocks = (plan.channels + kThreads - 1) / kThreads;
  LAUNCH(add_partial_sums, blocks, kThreads, stream, job.partial, row_blocks, plan.channels, sums);
}

int derive(void* stream, const BiasActPlan& plan, int element_type, const void* v,
           const float* v_shift, const void* dy, const void* known, const float* bias,
           void* result, float* sums, float* workspace) {
  return with_element_type(element_type, [&](auto element) {
    using T = decltype(element);
    const bool knows_y = dy == nullptr && is_piecewise_linear(plan.activation);
    const BiasActPlan exact = knows_y ? with_rounded_clamp<T>(plan) : plan;
    const Derivative<T> job = {static_cast<const T*>(v), v_shift, static_cast<const T*>(dy),
                               static_cast<const T*>(known), bias, static_cast<T*>(result),
                               sums == nullptr ? nullptr : workspace};
    launch_derivative(stream, exact, job, sums);
  });
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
                                                 const float* dy_shift, const void* known,
                                                 const float* bias, void* dx, float* db,
                                                 float* workspace) {
  return gansformer::derive(stream, *plan, element_type, dy, dy_shift, nullptr, known, bias, dx,
                            db, workspace);
}

extern "C" int gansformer_bias_act_curvature_cuda(void* stream, const BiasActPlan* plan,
                                                  int element_type, const void* v,
                                                  const float* v_shift, const void* dy,
                                                  const void* x, const float* bias, void* du,
                                                  float* db, float* workspace) {
  return gansformer::derive(stream, *plan, element_type, v, v_shift, dy, x, bias, du, db,
                            workspace);
}
