// Stands in for CUDA so that g++ can compile the .cu files: every block runs on its own, its threads
// as fibers that take turns at __syncthreads(). Errors that a GPU would hide end the program: threads
// that miss a barrier others wait at, and blocks with impossible sizes.
#pragma once

#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <vector>

#define __global__
#define __device__
#define __shared__ static

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x_, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
inline dim3 threadIdx(0), blockIdx(0), blockDim(1), gridDim(1);

enum cudaError_t { cudaSuccess = 0, cudaErrorInvalidValue = 1 };
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline const char* cudaGetErrorString(cudaError_t) { return "shim"; }

namespace shim {

[[noreturn]] inline void fail(const char* reason) {
  std::fprintf(stderr, "cuda_shim: %s\n", reason);
  std::exit(3);
}

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool done = false;
};

inline ucontext_t scheduler;
inline Fiber* current = nullptr;
inline const std::function<void()>* body = nullptr;

inline void enter() {
  (*body)();
  current->done = true;
  swapcontext(&current->context, &scheduler);
}

inline void run_block(std::vector<Fiber>& fibers) {
  constexpr std::size_t kStack = 64 * 1024;
  for (Fiber& fiber : fibers) {
    if (!fiber.stack) fiber.stack.reset(new char[kStack]);
    fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, enter, 0);
  }
  for (std::size_t done = 0; done < fibers.size();) {
    done = 0;
    for (std::size_t i = 0; i < fibers.size(); ++i) {  // up to the next barrier or the end
      if (fibers[i].done) fail("a thread ended before a barrier that others wait at");
      threadIdx.x = static_cast<unsigned>(i);
      current = &fibers[i];
      swapcontext(&scheduler, &fibers[i].context);
      done += fibers[i].done;
    }
    if (done != 0 && done != fibers.size()) fail("only some threads reached a barrier");
  }
}

inline void launch(dim3 blocks, dim3 threads, const std::function<void()>& kernel) {
  if (threads.x == 0 || threads.x > 1024 || threads.y != 1 || threads.z != 1)
    fail("impossible block size");
  if (blocks.x == 0 || blocks.y == 0 || blocks.y > 65535 || blocks.z != 1)
    fail("impossible grid size");
  std::vector<Fiber> fibers(threads.x);
  body = &kernel;
  blockDim = threads, gridDim = blocks;
  for (blockIdx.y = 0; blockIdx.y < blocks.y; ++blockIdx.y)
    for (blockIdx.x = 0; blockIdx.x < blocks.x; ++blockIdx.x) run_block(fibers);
}

}  // namespace shim

inline void __syncthreads() { swapcontext(&shim::current->context, &shim::scheduler); }

#define LAUNCH(kernel, blocks, threads, stream, ...) \
  shim::launch(blocks, threads, [&] { kernel(__VA_ARGS__); })
