// 3x3 convolutions by F(4x4, 3x3) of Lavin & Gray (2016), "Fast Algorithms for Convolutional Neural
// Networks": 36 multiplications for what takes 144 directly.
//
// A tile of 4x4 outputs is y = A' [(G w G') * (B' x B)] A of its 6x6 inputs x, the product * element
// by element. Over all channels that product is one matrix product for each of the 36 elements.
// With the points 0, 1, -1, 2, -2 and infinity:
//
//        4  0 -5  0  1  0           1/4    0    0
//        0 -4 -4  1  1  0          -1/6 -1/6 -1/6         1  1  1  1  1  0
//   B' = 0  4 -4 -1  1  0     G =  -1/6  1/6 -1/6    A' = 0  1 -1  2 -2  0
//        0 -2 -1  2  1  0          1/24 1/12  1/6         0  1  1  4  4  0
//        0  2 -1 -2  1  0         1/24 -1/12  1/6         0  1 -1  8 -8  1
//        0  4  0 -5  0  1             0    0    1
#pragma once

#include "common/parallel.h"
#include "common/portable.h"

namespace gansformer {

constexpr int kTile = 4;              // outputs of a tile, along each axis
constexpr int kPatch = kTile + 2;     // its inputs
constexpr int kElements = kPatch * kPatch;

constexpr int kConvChannels = 16;  // channel counts must be multiples of this

struct Conv3x3Plan {
  std::int64_t batch;
  int height, width, inputs, outputs;
};

template <typename T>
struct Conv3x3Cpu {
  // y = x correlated with weights [3, 3, inputs, outputs], zeros around x. transposed: with the adjoint
  // of that, from weights [3, 3, outputs, inputs].
  static void forward(const Conv3x3Plan& plan, const T* x, const float* weights, bool transposed,
                      T* y, const ParallelFor& parallel_for);

  // dweights [3, 3, inputs, outputs]. It is summed up in `parts`, whose number decides on the rounding.
  static void weight_gradient(const Conv3x3Plan& plan, const T* x, const T* dy, int parts,
                              float* dweights, const ParallelFor& parallel_for);
};

}  // namespace gansformer
