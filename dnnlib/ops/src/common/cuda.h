// CUDA's extensions to C++ as the .cu files use them.
//
// Outside nvcc the file named by GANSFORMER_CUDA_SHIM stands in for them, so that the tests can
// compile the kernels for the host and run them thread by thread.
#pragma once

#ifdef __CUDACC__
#include <cuda_runtime.h>
#define LAUNCH(kernel, blocks, threads, stream, ...) \
  kernel<<<blocks, threads, 0, static_cast<cudaStream_t>(stream)>>>(__VA_ARGS__)
#else
#include GANSFORMER_CUDA_SHIM
#endif

#include "common/portable.h"

namespace gansformer {

// Neighbouring elements that are loaded and stored together: 16 bytes, or one element.
template <typename T, int Count>
struct alignas(sizeof(T) * Count) Pack {
  T values[Count];
};

template <typename T>
constexpr int pack_size() {
  return 16 / sizeof(T);
}

inline bool is_aligned(const void* pointer) {
  return reinterpret_cast<std::uintptr_t>(pointer) % 16 == 0;
}

// Calls run(T()) with the storage type.
template <typename Run>
int with_element_type(int element_type, const Run& run) {
  switch (element_type) {
    case kFloat32: run(float()); break;
    case kBFloat16: run(BFloat16()); break;
    case kFloat16: run(Float16()); break;
    default: return cudaErrorInvalidValue;
  }
  return cudaGetLastError();
}

}  // namespace gansformer
