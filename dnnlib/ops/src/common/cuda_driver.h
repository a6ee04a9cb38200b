// Launching, with CUDA's driver, kernels that NVRTC has compiled.
#pragma once

#include <type_traits>

namespace gansformer {

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};

// Launches the kernel whose symbol is at `kernel` in the present context; an error is kept for
// last_error(). arguments: the address of each.
void launch_symbol(const void* kernel, dim3 blocks, dim3 threads, void* stream, void** arguments);

// Returns the first error since the last call: a CUresult, 0 for none.
int last_error();

template <typename... Parameters>
void launch_kernel(void (*kernel)(Parameters...), dim3 blocks, dim3 threads, void* stream,
                   std::common_type_t<Parameters>... arguments) {
  void* addresses[] = {&arguments...};
  launch_symbol(reinterpret_cast<const void*>(kernel), blocks, threads, stream, addresses);
}

// What the kernels name; they never run as g++ compiles them.
inline const dim3 threadIdx(0), blockIdx(0), blockDim(1), gridDim(1);
inline void __syncthreads() {}

}  // namespace gansformer

constexpr int cudaErrorInvalidValue = 1;
inline int cudaGetLastError() { return gansformer::last_error(); }

#define __global__ __attribute__((noinline, used, visibility("default")))
#define __device__ inline
#define __shared__ static
#define LAUNCH(kernel, blocks, threads, stream, ...) \
  ::gansformer::launch_kernel(kernel, blocks, threads, stream, __VA_ARGS__)
