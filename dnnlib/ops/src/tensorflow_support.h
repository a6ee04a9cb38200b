// What the TensorFlow ops share: from tensors and threads to what the kernels take.
#pragma once

#include "cpu_kernels.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/util/work_sharder.h"

namespace gansformer {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;

#define ELEMENT_TYPES "T: {float, bfloat16, half}"

template <typename TensorType> struct Storage;
template <> struct Storage<float> {
  using Type = float;
  static constexpr int kCode = kFloat32;
};
template <> struct Storage<tensorflow::bfloat16> {
  using Type = BFloat16;
  static constexpr int kCode = kBFloat16;
};
template <> struct Storage<Eigen::half> {
  using Type = Float16;
  static constexpr int kCode = kFloat16;
};

template <typename T>
const typename Storage<T>::Type* read(const Tensor& tensor) {
  return reinterpret_cast<const typename Storage<T>::Type*>(tensor.flat<T>().data());
}

template <typename T>
typename Storage<T>::Type* write(Tensor* tensor) {
  return reinterpret_cast<typename Storage<T>::Type*>(tensor->flat<T>().data());
}

inline const float* read_or_null(const Tensor& tensor) {  // an empty tensor stands for "none"
  return tensor.NumElements() == 0 ? nullptr : tensor.flat<float>().data();
}

inline ParallelFor threads_of(OpKernelContext* context) {
  const auto* workers = context->device()->tensorflow_cpu_worker_threads();
  return [workers](std::int64_t count, std::int64_t cycles, const Body& body) {
    tensorflow::Shard(workers->num_threads, workers->workers, count, cycles, body);
  };
}

}  // namespace gansformer
