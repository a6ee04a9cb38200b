// Random numbers on CUDA, as tf.random.stateless_normal and stateless_uniform draw them by Philox.
// A thread has four neighbouring numbers of one row, for which Philox gives four words.
//
// Philox-4x32-10: Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3 (2011). How TensorFlow
// gets key and counter from a seed, and numbers from words, is in its stateless_random_ops.cc and
// random_distributions_utils.h (Apache 2.0); the constants are theirs.
#include "common/cuda.h"
#include "stateless_random/stateless_random.h"
#ifndef GANSFORMER_KERNELS_ONLY
#include <cmath>
#endif

namespace gansformer {

constexpr int kWords = 4;  // of one evaluation of Philox

struct Words {
  std::uint32_t word[kWords];
};

__device__ std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
__device__ std::uint32_t high(std::uint64_t value) { return low(value >> 32); }

__device__ Words philox(Words counter, std::uint32_t key_0, std::uint32_t key_1) {
  UNROLL
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t first = std::uint64_t{0xd2511f53} * counter.word[0];
    const std::uint64_t second = std::uint64_t{0xcd9e8d57} * counter.word[2];
    counter = {{high(second) ^ counter.word[1] ^ key_0, low(second),
                high(first) ^ counter.word[3] ^ key_1, low(first)}};
    key_0 += 0x9e3779b9;
    key_1 += 0xbb67ae85;
  }
  return counter;
}

// Uniform in [0, 1): the lower 23 bits are the mantissa of a number in [1, 2).
__device__ float uniform(std::uint32_t word) {
  return float_of(0x3f800000 | (word & 0x7fffff)) - 1.0f;
}

// Two independent N(0, 1) numbers in place of two uniform ones: Box and Muller 1958.
__device__ void make_normal(float* pair) {
  const float radius = sqrtf(-2.0f * logf(fmaxf(pair[0], 1.0e-7f)));
  const float angle = static_cast<float>(6.283185307179586 * pair[1]);  // in double, as TensorFlow
  sincosf(angle, &pair[0], &pair[1]);
  pair[0] *= radius;
  pair[1] *= radius;
}

// seeds: [rows, 2], y: [rows, numbers].
__global__ void stateless_random_kernel(const StatelessRandomPlan plan, const std::int64_t* seeds,
                                        float* y) {
  const std::int64_t groups = (plan.numbers + kWords - 1) / kWords;
  const std::int64_t i = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= plan.rows * groups) return;
  const std::int64_t row = i / groups, group = i % groups;
  const std::uint64_t seed_0 = seeds[2 * row], seed_1 = seeds[2 * row + 1];
  const Words mixed =
      philox({{low(seed_0), high(seed_0), low(seed_1), high(seed_1)}}, 0x3ec8f720, 0x02461e29);
  const Words random = philox({{low(group), high(group), mixed.word[2], mixed.word[3]}},
                              mixed.word[0], mixed.word[1]);
  float values[kWords];
  UNROLL
  for (int j = 0; j < kWords; ++j) values[j] = uniform(random.word[j]);
  UNROLL
  for (int j = 0; j < kWords; j += 2) {
    if (plan.normal) make_normal(values + j);
  }
  const std::int64_t first = group * kWords;
  UNROLL
  for (int j = 0; j < kWords; ++j) {
    if (first + j < plan.numbers) y[row * plan.numbers + first + j] = values[j];
  }
}

}  // namespace gansformer

#ifndef GANSFORMER_KERNELS_ONLY
#include "common/cuda_launch.h"

extern "C" int gansformer_stateless_random_cuda(void* stream,
                                                const gansformer::StatelessRandomPlan* plan,
                                                const std::int64_t* seeds, float* y) {
  using namespace gansformer;
  constexpr int kThreads = 256;
  const std::int64_t threads = plan->rows * ((plan->numbers + kWords - 1) / kWords);
  const unsigned blocks = static_cast<unsigned>((threads + kThreads - 1) / kThreads);
  if (blocks > 0) LAUNCH(stateless_random_kernel, blocks, kThreads, stream, *plan, seeds, y);
  return cudaGetLastError();
}
#endif
