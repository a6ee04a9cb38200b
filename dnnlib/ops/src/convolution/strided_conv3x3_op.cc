// The TensorFlow ops for 3x3 convolutions with stride 2, for CPUs only.
#include "common/op.h"
#include "convolution/conv3x3.h"
#include "convolution/strided_conv3x3.h"

namespace gansformer {
namespace {

REGISTER_OP("GansformerTransposedConv3x3")
    .Input("x: float")
    .Input("weights: float")
    .Output("y: float")
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      ShapeHandle x, weights;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &weights));
      const auto doubled = [&](int axis) {
        if (!c->ValueKnown(c->Dim(x, axis))) return c->UnknownDim();
        return c->MakeDim(2 * c->Value(c->Dim(x, axis)) + 1);
      };
      c->set_output(0, c->MakeShape({c->Dim(x, 0), doubled(1), doubled(2), c->Dim(weights, 2)}));
      return absl::OkStatus();
    });

REGISTER_OP("GansformerStridedConv3x3WeightGradient")
    .Input("large: float")
    .Input("small: float")
    .Output("dweights: float")
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      ShapeHandle large, small;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &large));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &small));
      c->set_output(0, c->MakeShape({c->MakeDim(3), c->MakeDim(3), c->Dim(large, 3),
                                     c->Dim(small, 3)}));
      return absl::OkStatus();
    });

// Of a small side and the channels of the large one.
absl::Status make_plan(const Tensor& small, std::int64_t large_channels, StridedPlan* plan) {
  REQUIRE(small.dims() == 4 && small.dim_size(1) > 0 && small.dim_size(2) > 0 &&
              small.dim_size(3) > 0 && large_channels > 0 && large_channels % kConvChannels == 0 &&
              small.dim_size(3) % kConvChannels == 0,
          "channels must be multiples of 16, images not empty");
  *plan = {small.dim_size(0), static_cast<int>(small.dim_size(1)),
           static_cast<int>(small.dim_size(2)), static_cast<int>(large_channels),
           static_cast<int>(small.dim_size(3))};
  return absl::OkStatus();
}

class TransposedConv3x3Op : public Op {
 public:
  using Op::Op;

 protected:
  absl::Status run(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &weights = context->input(1);
    StridedPlan plan;
    float* y;
    REQUIRE(weights.dims() == 4, "weights must be [3, 3, large, small channels]");
    TF_RETURN_IF_ERROR(make_plan(x, weights.dim_size(2), &plan));
    REQUIRE(weights.shape() == TensorShape({3, 3, plan.large_channels, plan.small_channels}),
            "weights must be 3x3 for the channels of x");
    const TensorShape shape(
        {plan.batch, plan.large_height(), plan.large_width(), plan.large_channels});
    TF_RETURN_IF_ERROR(allocate<float>(context, 0, shape, &y));
    if (shape.num_elements() == 0) return absl::OkStatus();
    transposed_conv3x3_cpu(plan, read<float>(x), read<float>(weights), y, threads_of(context));
    return absl::OkStatus();
  }
};

class StridedConv3x3WeightGradientOp : public Op {
 public:
  using Op::Op;

 protected:
  absl::Status run(OpKernelContext* context) override {
    const Tensor &large = context->input(0), &small = context->input(1);
    StridedPlan plan;
    float* dweights;
    REQUIRE(large.dims() == 4, "large must be [B, H, W, C]");
    TF_RETURN_IF_ERROR(make_plan(small, large.dim_size(3), &plan));
    REQUIRE(large.shape() == TensorShape({plan.batch, plan.large_height(), plan.large_width(),
                                          plan.large_channels}),
            "large and small must have fitting sizes");
    const TensorShape shape({3, 3, plan.large_channels, plan.small_channels});
    TF_RETURN_IF_ERROR(allocate<float>(context, 0, shape, &dweights));
    strided_conv3x3_weight_gradient_cpu(plan, read<float>(large), read<float>(small),
                                        count_threads(context), dweights, threads_of(context));
    return absl::OkStatus();
  }
};

REGISTER_KERNEL_BUILDER(Name("GansformerTransposedConv3x3").Device(tensorflow::DEVICE_CPU),
                        TransposedConv3x3Op);
REGISTER_KERNEL_BUILDER(
    Name("GansformerStridedConv3x3WeightGradient").Device(tensorflow::DEVICE_CPU),
    StridedConv3x3WeightGradientOp);

}  // namespace
}  // namespace gansformer
