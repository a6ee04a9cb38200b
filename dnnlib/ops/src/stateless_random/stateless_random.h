// Random numbers of a batch, each row of which has a seed of its own. On GPUs only.
#pragma once

#include "common/portable.h"

namespace gansformer {

struct StatelessRandomPlan {
  std::int64_t rows, numbers;  // numbers: of one row
  bool normal;                 // N(0, 1), else uniform in [0, 1)
};

}  // namespace gansformer
