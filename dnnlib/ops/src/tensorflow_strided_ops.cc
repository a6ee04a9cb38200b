// The TensorFlow ops for 3x3 convolutions with stride 2, for CPUs only.
#include "tensorflow_support.h"

namespace gansformer {

REGISTER_OP("GansformerTransposedConv3x3")
    .Input("x: float")
    .Input("weights: float")
    .Output("y: float")
    .Attr("flipped: bool")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) -> absl::Status {
      bool flipped;
      tensorflow::shape_inference::ShapeHandle x, weights;
      TF_RETURN_IF_ERROR(c->GetAttr("flipped", &flipped));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &weights));
      const auto doubled = [&](int axis) {
        if (!c->ValueKnown(c->Dim(x, axis))) return c->UnknownDim();
        return c->MakeDim(2 * c->Value(c->Dim(x, axis)) + 1);
      };
      c->set_output(0, c->MakeShape({c->Dim(x, 0), doubled(1), doubled(2),
                                     c->Dim(weights, flipped ? 3 : 2)}));
      return absl::OkStatus();
    });

REGISTER_OP("GansformerStridedConv3x3WeightGradient")
    .Input("large: T")
    .Input("small: T")
    .Output("dweights: float")
    .Attr(ELEMENT_TYPES)
    .Attr("flipped: bool")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) -> absl::Status {
      bool flipped;
      tensorflow::shape_inference::ShapeHandle large, small;
      TF_RETURN_IF_ERROR(c->GetAttr("flipped", &flipped));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &large));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &small));
      auto from = c->Dim(large, 3), to = c->Dim(small, 3);
      if (flipped) std::swap(from, to);
      c->set_output(0, c->MakeShape({c->MakeDim(3), c->MakeDim(3), from, to}));
      return absl::OkStatus();
    });

// Fills in the plan for a small side and the channels of the large one; false if it cannot be done.
bool make_strided_plan(OpKernelContext* context, const Tensor& small, std::int64_t large_channels,
                       StridedPlan* plan) {
  const bool good = small.dims() == 4 && small.dim_size(1) > 0 && small.dim_size(2) > 0 &&
                    small.dim_size(3) > 0 && large_channels > 0 &&
                    large_channels % kConvChannels == 0 && small.dim_size(3) % kConvChannels == 0;
  if (!good) {
    context->CtxFailure(
        absl::InvalidArgumentError("channels must be multiples of 16, pictures not empty"));
    return false;
  }
  *plan = {small.dim_size(0), static_cast<int>(small.dim_size(1)),
           static_cast<int>(small.dim_size(2)), static_cast<int>(large_channels),
           static_cast<int>(small.dim_size(3))};
  return true;
}

class TransposedConv3x3Op : public OpKernel {
 public:
  explicit TransposedConv3x3Op(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("flipped", &flipped_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &weights = context->input(1);
    const int from = flipped_ ? 2 : 3, to = flipped_ ? 3 : 2;
    OP_REQUIRES(context,
                x.dims() == 4 && weights.dims() == 4 && weights.dim_size(0) == 3 &&
                    weights.dim_size(1) == 3 && weights.dim_size(from) == x.dim_size(3),
                absl::InvalidArgumentError("weights must be 3x3 for the channels of x"));
    StridedPlan plan;
    if (!make_strided_plan(context, x, weights.dim_size(to), &plan)) return;
    Tensor* y = nullptr;
    const TensorShape shape(
        {plan.batch, plan.large_height(), plan.large_width(), plan.large_channels});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &y));
    if (y->NumElements() == 0) return;
    transposed_conv3x3_cpu(plan, read<float>(x), read<float>(weights), flipped_, write<float>(y),
                           threads_of(context));
  }

 private:
  bool flipped_ = false;
};

template <typename T>
class StridedConv3x3WeightGradientOp : public OpKernel {
 public:
  explicit StridedConv3x3WeightGradientOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("flipped", &flipped_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &large = context->input(0), &small = context->input(1);
    OP_REQUIRES(context,
                large.dims() == 4 && small.dims() == 4 && large.dim_size(0) == small.dim_size(0) &&
                    large.dim_size(1) == 2 * small.dim_size(1) + 1 &&
                    large.dim_size(2) == 2 * small.dim_size(2) + 1,
                absl::InvalidArgumentError("large and small must have fitting sizes"));
    StridedPlan plan;
    if (!make_strided_plan(context, small, large.dim_size(3), &plan)) return;
    Tensor* dweights = nullptr;
    const int first = flipped_ ? plan.small_channels : plan.large_channels;
    const int second = flipped_ ? plan.large_channels : plan.small_channels;
    const TensorShape shape({3, 3, first, second});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &dweights));
    const int threads = context->device()->tensorflow_cpu_worker_threads()->num_threads;
    strided_conv3x3_weight_gradient_cpu(plan, read<T>(large), read<T>(small), flipped_, threads,
                                        write<float>(dweights), threads_of(context));
  }

 private:
  bool flipped_ = false;
};

REGISTER_KERNEL_BUILDER(Name("GansformerTransposedConv3x3").Device(tensorflow::DEVICE_CPU),
                        TransposedConv3x3Op);
REGISTER_CPU_KERNEL("GansformerStridedConv3x3WeightGradient", StridedConv3x3WeightGradientOp)

}  // namespace gansformer
