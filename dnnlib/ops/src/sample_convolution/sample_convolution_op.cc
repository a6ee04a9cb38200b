// The TensorFlow op of convolutions with weights of each sample's own, for CPUs only.
#include "sample_convolution/sample_convolution.h"

#include <algorithm>

#include "common/op.h"

namespace gansformer {
namespace {

REGISTER_OP("GansformerSampleConv")
    .Input("x: T")
    .Input("weights: float")
    .Output("y: float")
    .Attr(ELEMENT_TYPES)
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      ShapeHandle x, weights;
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
    .SetShapeFn(shapes_of_inputs<1, 2>);

// Of x [batch, height, width, channels] and weights [batch, n, n, channels, outputs].
absl::Status make_plan(const Tensor& x, const Tensor& weights, SampleConvPlan* plan) {
  REQUIRE(x.dims() == 4 && weights.dims() == 5, "x and weights do not fit together");
  *plan = {{x.dim_size(0), x.dim_size(1), x.dim_size(2), static_cast<int>(x.dim_size(3))},
           static_cast<int>(weights.dim_size(1)), static_cast<int>(weights.dim_size(4))};
  const TensorShape expected(
      {plan->batch, plan->size, plan->size, plan->channels, plan->outputs});
  REQUIRE(weights.shape() == expected && plan->size % 2 == 1 &&
              plan->channels % kSampleConvChannels == 0 && plan->outputs >= 1 &&
              plan->outputs <= kMaximumOutputs,
          "x and weights do not fit together");
  return absl::OkStatus();
}

TensorShape shape_of_y(const SampleConvPlan& plan) {
  return TensorShape({plan.batch, plan.grid_rows, plan.grid_columns, plan.outputs});
}

template <typename T>
class SampleConvOp : public Op {
 public:
  using Op::Op;

 protected:
  absl::Status run(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &weights = context->input(1);
    SampleConvPlan plan;
    float* y;
    TF_RETURN_IF_ERROR(make_plan(x, weights, &plan));
    TF_RETURN_IF_ERROR(allocate<float>(context, 0, shape_of_y(plan), &y));
    if (shape_of_y(plan).num_elements() == 0) return absl::OkStatus();
    SampleConvCpu<Element<T>>::forward(plan, read<T>(x), read<float>(weights), y,
                                       threads_of(context));
    return absl::OkStatus();
  }
};

template <typename T>
class SampleConvGradientOp : public Op {
 public:
  using Op::Op;

 protected:
  absl::Status run(OpKernelContext* context) override {
    const Tensor &dy = context->input(0), &x = context->input(1), &weights = context->input(2);
    SampleConvPlan plan;
    Element<T>* dx;
    float* dweights;
    TF_RETURN_IF_ERROR(make_plan(x, weights, &plan));
    REQUIRE(dy.shape() == shape_of_y(plan), "dy does not fit x and weights");
    TF_RETURN_IF_ERROR(allocate<T>(context, 0, x.shape(), &dx));
    TF_RETURN_IF_ERROR(allocate<float>(context, 1, weights.shape(), &dweights));
    if (x.NumElements() == 0) {
      std::fill(dweights, dweights + weights.NumElements(), 0.0f);
      return absl::OkStatus();
    }
    SampleConvCpu<Element<T>>::gradient(plan, read<float>(dy), read<T>(x), read<float>(weights), dx,
                                        dweights, threads_of(context));
    return absl::OkStatus();
  }
};

REGISTER_KERNELS("GansformerSampleConv", DEVICE_CPU, SampleConvOp)
REGISTER_KERNELS("GansformerSampleConvGradient", DEVICE_CPU, SampleConvGradientOp)

}  // namespace
}  // namespace gansformer
