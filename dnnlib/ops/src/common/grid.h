// What kernels share that work on the positions of a grid.
#pragma once

#include "common/parallel.h"
#include "common/portable.h"

namespace gansformer {

// A batch of grids of positions with `channels` features each.
struct GridPlan {
  std::int64_t batch, grid_rows, grid_columns;
  int channels;
};

}  // namespace gansformer
