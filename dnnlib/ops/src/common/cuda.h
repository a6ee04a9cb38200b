// CUDA's extensions to C++ as the .cu files use them.
//
// A .cu file is compiled twice. NVRTC, when the first GPU is used, makes the kernels and sees nothing
// else: GANSFORMER_KERNELS_ONLY. g++ makes the functions that launch them, for which a kernel is no more than a symbol: the
// compilers agree on its name (cuda_driver.h). The tests define GANSFORMER_CUDA_SHIM, a header with
// which g++'s kernels run on the host.
#pragma once

#include "common/portable.h"

#ifdef GANSFORMER_KERNELS_ONLY
#elif defined(GANSFORMER_CUDA_SHIM)
#include GANSFORMER_CUDA_SHIM
#else
#include "common/cuda_driver.h"
#endif

namespace gansformer {

// Neighbouring elements that are loaded and stored together: 16 bytes, or one element.
template <typename T, int Count>
struct alignas(sizeof(T) * Count) Pack {
  T values[Count];
};

// Calls INSTANTIATE(type, pack size) for all that are launched.
#define FOR_ALL_PACKS(INSTANTIATE)                        \
  INSTANTIATE(float, 1) INSTANTIATE(float, 4)             \
  INSTANTIATE(BFloat16, 1) INSTANTIATE(BFloat16, 8)       \
  INSTANTIATE(Float16, 1) INSTANTIATE(Float16, 8)

#ifndef GANSFORMER_KERNELS_ONLY
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
#endif

}  // namespace gansformer
