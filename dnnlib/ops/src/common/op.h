// What the TensorFlow ops share: from tensors, attributes and threads to what the kernels take.
#pragma once

#include <string>

#include "common/parallel.h"
#include "common/portable.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"
#include "tensorflow/core/util/work_sharder.h"
#ifdef GANSFORMER_CUDA
#include "common/cuda_launch.h"
#include "xla/stream_executor/stream.h"
#endif

namespace gansformer {

using tensorflow::OpKernel;
using tensorflow::OpKernelConstruction;
using tensorflow::OpKernelContext;
using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::shape_inference::InferenceContext;
using tensorflow::shape_inference::ShapeHandle;

#define ELEMENT_TYPES "T: {float, bfloat16, half}"

// Registers the class template OP as the kernel of NAME for all element types.
#define REGISTER_KERNELS(NAME, DEVICE, OP)                        \
  REGISTER_KERNEL_OF_TYPE(NAME, DEVICE, OP, float)                \
  REGISTER_KERNEL_OF_TYPE(NAME, DEVICE, OP, tensorflow::bfloat16) \
  REGISTER_KERNEL_OF_TYPE(NAME, DEVICE, OP, Eigen::half)
#define REGISTER_KERNEL_OF_TYPE(NAME, DEVICE, OP, T) \
  REGISTER_KERNEL_BUILDER(                           \
      Name(NAME).Device(tensorflow::DEVICE).TypeConstraint<T>("T"), OP<T>);

// From TensorFlow's element types to those of the kernels.
template <typename T> struct ElementOf { using Type = T; };
template <> struct ElementOf<tensorflow::bfloat16> { using Type = BFloat16; };
template <> struct ElementOf<Eigen::half> { using Type = Float16; };
template <typename T> using Element = typename ElementOf<T>::Type;

// An op whose work ends in a status.
class Op : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) final {
    const absl::Status status = run(context);
    if (!status.ok()) context->CtxFailure(status);
  }

 protected:
  virtual absl::Status run(OpKernelContext* context) = 0;
};

#define REQUIRE(CONDITION, MESSAGE) \
  if (!(CONDITION)) return absl::InvalidArgumentError(MESSAGE)

template <typename T>
T attribute(OpKernelConstruction* context, const char* name) {
  T value = {};
  const absl::Status status = context->GetAttr(name, &value);
  if (!status.ok()) context->CtxFailure(status);
  return value;
}

template <typename T>
const Element<T>* read(const Tensor& tensor) {
  return reinterpret_cast<const Element<T>*>(tensor.flat<T>().data());
}

inline const float* read_or_null(const Tensor& tensor) {  // an empty tensor stands for "none"
  return tensor.NumElements() == 0 ? nullptr : tensor.flat<float>().data();
}

// Allocates output `index`; in the memory of input 0, if that is free, where `reuse` is set.
template <typename T>
absl::Status allocate(OpKernelContext* context, int index, const TensorShape& shape,
                      Element<T>** data, bool reuse = false) {
  Tensor* tensor = nullptr;
  TF_RETURN_IF_ERROR(reuse ? context->forward_input_or_allocate_output({0}, index, shape, &tensor)
                           : context->allocate_output(index, shape, &tensor));
  *data = reinterpret_cast<Element<T>*>(tensor->flat<T>().data());
  return absl::OkStatus();
}

inline int count_threads(OpKernelContext* context) {
  return context->device()->tensorflow_cpu_worker_threads()->num_threads;
}

inline ParallelFor threads_of(OpKernelContext* context) {
  const auto* workers = context->device()->tensorflow_cpu_worker_threads();
  return [workers](std::int64_t count, std::int64_t cycles, const Body& body) {
    tensorflow::Shard(workers->num_threads, workers->workers, count, cycles, body);
  };
}

// The shape function of ops whose first outputs have the shapes of these inputs.
template <int... kInputs>
absl::Status shapes_of_inputs(InferenceContext* c) {
  int output = 0;
  (c->set_output(output++, c->input(kInputs)), ...);
  return absl::OkStatus();
}

#ifdef GANSFORMER_CUDA
inline void* stream_of(OpKernelContext* context) {
  return context->op_device_context()->stream()->platform_specific_handle().stream;
}

inline absl::Status status_of_cuda(int error) {
  if (error == 0) return absl::OkStatus();
  return absl::InternalError(std::string("gansformer CUDA kernel: ") +
                             gansformer_cuda_error_text(error));
}

template <typename T> constexpr int element_code() {
  return sizeof(T) == 4 ? kFloat32
         : std::is_same<Element<T>, BFloat16>::value ? kBFloat16 : kFloat16;
}
#endif

}  // namespace gansformer
