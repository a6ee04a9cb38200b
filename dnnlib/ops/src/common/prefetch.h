// Asking for memory before it is needed.
#pragma once

#include <algorithm>
#include <cstdint>

namespace gansformer {

// Asks for [first, last), a piece at a time while something else is computed: strides of pixels hide
// from the processor what comes next.
template <typename T>
struct Prefetch {
  Prefetch(const T* first, const T* last, std::int64_t pieces)
      : next(first), end(last), piece((last - first) / pieces + 1) {}

  template <bool ForWriting>
  void next_piece() {
    constexpr int kLine = 64 / sizeof(T);
    const T* stop = std::min(end, next + piece);
    for (; next < stop; next += kLine) __builtin_prefetch(next, ForWriting, 2);
  }

  const T *next, *end;
  std::int64_t piece;
};

}  // namespace gansformer
