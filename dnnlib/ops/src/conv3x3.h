// 3x3 convolutions by F(4x4, 3x3) of Lavin & Gray (2016), "Fast Algorithms for Convolutional Neural
// Networks": 36 multiplications for what takes 144 directly.
//
// A tile of 4x4 outputs is y = A' [(G w G') * (B' x B)] A of its 6x6 inputs x, the product * element
// by element. Over all channels that product is one matrix product for each of the 36 places.
// With the points 0, 1, -1, 2, -2 and infinity:
//
//        4  0 -5  0  1  0           1/4    0    0
//        0 -4 -4  1  1  0          -1/6 -1/6 -1/6         1  1  1  1  1  0
//   B' = 0  4 -4 -1  1  0     G =  -1/6  1/6 -1/6    A' = 0  1 -1  2 -2  0
//        0 -2 -1  2  1  0          1/24 1/12  1/6         0  1  1  4  4  0
//        0  2 -1 -2  1  0         1/24 -1/12  1/6         0  1 -1  8 -8  1
//        0  4  0 -5  0  1             0    0    1
#pragma once

#include <cstdint>

namespace gansformer {

constexpr int kTile = 4;              // outputs of a tile, along each axis
constexpr int kPatch = kTile + 2;     // its inputs
constexpr int kPlaces = kPatch * kPatch;

constexpr int kConvChannels = 16;  // channel counts must be multiples of this

struct Conv3x3Plan {
  std::int64_t batch;
  int height, width, inputs, outputs;
};

}  // namespace gansformer
