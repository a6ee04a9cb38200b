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

// Registers the class template OP as the CPU kernel of NAME for all element types.
#define REGISTER_CPU_KERNEL(NAME, OP)                  \
  REGISTER_CPU_KERNEL_OF_TYPE(NAME, OP, float)         \
  REGISTER_CPU_KERNEL_OF_TYPE(NAME, OP, tensorflow::bfloat16) \
  REGISTER_CPU_KERNEL_OF_TYPE(NAME, OP, Eigen::half)
#define REGISTER_CPU_KERNEL_OF_TYPE(NAME, OP, T) \
  REGISTER_KERNEL_BUILDER(                       \
      Name(NAME).Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"), OP<T>);

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

// The attributes of ops with an epilogue, and their inputs `noise` and `bias`, empty for "none".
#define EPILOGUE_ATTRIBUTES .Attr("alpha: float = 1").Attr("gain: float = 1")

class EpilogueReader {
 public:
  absl::Status configure(OpKernelConstruction* context) {
    TF_RETURN_IF_ERROR(context->GetAttr("alpha", &alpha_));
    TF_RETURN_IF_ERROR(context->GetAttr("gain", &gain_));
    if (alpha_ > 0.0f && gain_ > 0.0f) return absl::OkStatus();
    return absl::InvalidArgumentError("alpha and gain must be positive");
  }

  // Without noise and bias: what the gradient needs.
  Epilogue slopes() const { return {nullptr, 0, nullptr, alpha_, gain_}; }

  absl::Status read(const Tensor& noise, const Tensor& bias, std::int64_t batch,
                    std::int64_t pixels, std::int64_t channels, Epilogue* epilogue) const {
    const std::int64_t count = noise.NumElements();
    *epilogue = {read_or_null(noise), count == pixels ? 1 : batch, read_or_null(bias), alpha_, gain_};
    const bool good = (count == 0 || count == pixels || count == batch * pixels) &&
                      (bias.NumElements() == 0 || bias.NumElements() == channels);
    if (good) return absl::OkStatus();
    return absl::InvalidArgumentError("noise or bias do not fit x");
  }

 private:
  float alpha_ = 1.0f, gain_ = 1.0f;
};

// Outputs `first` and `first + 1` of a gradient's op: what allocate_epilogue makes, for the input
// number `x` of that op, if its attribute want_epilogue is set.
inline absl::Status set_epilogue_shapes(tensorflow::shape_inference::InferenceContext* c, int first,
                                        int x) {
  bool wanted;
  TF_RETURN_IF_ERROR(c->GetAttr("want_epilogue", &wanted));
  auto pixels = c->RankKnown(c->input(x)) ? c->MakeDim(1) : c->UnknownDim();
  for (int i = 1; i < c->Rank(c->input(x)) - 1; ++i) {
    TF_RETURN_IF_ERROR(c->Multiply(pixels, c->Dim(c->input(x), i), &pixels));
  }
  const auto batch = c->Dim(c->input(x), 0), channels = c->Dim(c->input(x), -1);
  c->set_output(first, wanted ? c->MakeShape({batch, pixels}) : c->Vector(0));
  c->set_output(first + 1, wanted ? c->Vector(channels) : c->Vector(0));
  return absl::OkStatus();
}

// Allocates outputs `first` and the next: what is sent to noise and bias, empty unless wanted.
inline absl::Status allocate_epilogue(OpKernelContext* context, int first, bool wanted,
                                      std::int64_t batch, std::int64_t pixels,
                                      std::int64_t channels, EpilogueGradients* gradients) {
  Tensor *noise = nullptr, *bias = nullptr;
  const TensorShape none({0});
  TF_RETURN_IF_ERROR(context->allocate_output(
      first, wanted ? TensorShape({batch, pixels}) : none, &noise));
  TF_RETURN_IF_ERROR(context->allocate_output(
      first + 1, wanted ? TensorShape({channels}) : none, &bias));
  if (wanted) *gradients = {noise->flat<float>().data(), bias->flat<float>().data()};
  return absl::OkStatus();
}

inline ParallelFor threads_of(OpKernelContext* context) {
  const auto* workers = context->device()->tensorflow_cpu_worker_threads();
  return [workers](std::int64_t count, std::int64_t cycles, const Body& body) {
    tensorflow::Shard(workers->num_threads, workers->workers, count, cycles, body);
  };
}

}  // namespace gansformer
