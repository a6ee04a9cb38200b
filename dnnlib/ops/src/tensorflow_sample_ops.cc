// The TensorFlow ops of convolutions with weights of each sample's own, for CPUs only.
#include <algorithm>

#include "tensorflow_support.h"

namespace gansformer {

using tensorflow::shape_inference::InferenceContext;

REGISTER_OP("GansformerSampleConv")
    .Input("x: T")
    .Input("weights: float")
    .Output("y: float")
    .Attr(ELEMENT_TYPES)
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      tensorflow::shape_inference::ShapeHandle x, weights;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 5, &weights));
      TF_RETURN_IF_ERROR(c->ReplaceDim(x, 3, c->Dim(weights, 4), &x));
      c->set_output(0, x);
      return absl::OkStatus();
    });

REGISTER_OP("GansformerSampleConvGradient")
    .Input("dy: float")
    .Input("x: T")
    .Input("weights: float")
    .Output("dx: T")
    .Output("dweights: float")
    .Attr(ELEMENT_TYPES)
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      c->set_output(0, c->input(1));
      c->set_output(1, c->input(2));
      return absl::OkStatus();
    });

// Checks that x is [batch, height, width, channels] and weights [batch, n, n, channels, outputs].
bool make_sample_plan(OpKernelContext* context, const Tensor& x, const Tensor& weights,
                      SampleConvPlan* plan) {
  bool good = x.dims() == 4 && weights.dims() == 5 && weights.dim_size(0) == x.dim_size(0) &&
              weights.dim_size(3) == x.dim_size(3);
  if (good) {
    *plan = {{x.dim_size(0), x.dim_size(1), x.dim_size(2), static_cast<int>(x.dim_size(3))},
             static_cast<int>(weights.dim_size(1)), static_cast<int>(weights.dim_size(4))};
    good = plan->size == weights.dim_size(2) && plan->size % 2 == 1 &&
           plan->channels % kConvChannels == 0 && plan->outputs >= 1 &&
           plan->outputs <= kMaximumColours;
  }
  if (!good) context->CtxFailure(absl::InvalidArgumentError("x and weights do not fit together"));
  return good;
}

template <typename T>
class SampleConvOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &weights = context->input(1);
    SampleConvPlan plan;
    if (!make_sample_plan(context, x, weights, &plan)) return;
    Tensor* y = nullptr;
    const TensorShape shape({plan.batch, plan.grid_rows, plan.grid_columns, plan.outputs});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &y));
    if (y->NumElements() == 0) return;
    sample_conv_cpu(plan, read<T>(x), read<float>(weights), write<float>(y), threads_of(context));
  }
};

template <typename T>
class SampleConvGradientOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &dy = context->input(0), &x = context->input(1), &weights = context->input(2);
    SampleConvPlan plan;
    if (!make_sample_plan(context, x, weights, &plan)) return;
    const TensorShape shape({plan.batch, plan.grid_rows, plan.grid_columns, plan.outputs});
    OP_REQUIRES(context, dy.shape() == shape,
                absl::InvalidArgumentError("dy does not fit x and weights"));
    Tensor *dx = nullptr, *dweights = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &dx));
    OP_REQUIRES_OK(context, context->allocate_output(1, weights.shape(), &dweights));
    if (dx->NumElements() == 0) {
      auto values = dweights->flat<float>();
      std::fill(values.data(), values.data() + values.size(), 0.0f);
      return;
    }
    sample_conv_gradient_cpu(plan, read<float>(dy), read<T>(x), read<float>(weights), write<T>(dx),
                             write<float>(dweights), threads_of(context));
  }
};

REGISTER_CPU_KERNEL("GansformerSampleConv", SampleConvOp)
REGISTER_CPU_KERNEL("GansformerSampleConvGradient", SampleConvGradientOp)

}  // namespace gansformer
