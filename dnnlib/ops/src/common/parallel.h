// How a kernel runs on the threads that its caller brings.
#pragma once

#include <cstdint>
#include <functional>

namespace gansformer {

// Runs body(begin, end) over disjoint ranges that cover [0, count); `cycles` estimates one unit.
using Body = std::function<void(std::int64_t begin, std::int64_t end)>;
using ParallelFor =
    std::function<void(std::int64_t count, std::int64_t cycles, const Body& body)>;

// Kernels are class templates of the type that features are stored in: makes all of them.
#define FOR_ALL_ELEMENT_TYPES(KERNELS)  \
  template struct KERNELS<float>;       \
  template struct KERNELS<BFloat16>;    \
  template struct KERNELS<Float16>;

}  // namespace gansformer
