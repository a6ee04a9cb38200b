// The TensorFlow op of 3x3 convolutions and its weight gradient, for CPUs only.
#include "common/op.h"
#include "convolution/conv3x3.h"

namespace gansformer {
namespace {

REGISTER_OP("GansformerConv3x3")
    .Input("x: T")
    .Input("weights: float")
    .Output("y: T")
    .Attr(ELEMENT_TYPES)
    .Attr("transposed: bool")
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      bool transposed;
      ShapeHandle x, weights;
      TF_RETURN_IF_ERROR(c->GetAttr("transposed", &transposed));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &weights));
      TF_RETURN_IF_ERROR(c->ReplaceDim(x, 3, c->Dim(weights, transposed ? 2 : 3), &x));
      c->set_output(0, x);
      return absl::OkStatus();
    });

REGISTER_OP("GansformerConv3x3WeightGradient")
    .Input("x: T")
    .Input("dy: T")
    .Output("dweights: float")
    .Attr(ELEMENT_TYPES)
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      ShapeHandle x, dy;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &dy));
      c->set_output(0, c->MakeShape({c->MakeDim(3), c->MakeDim(3), c->Dim(x, 3), c->Dim(dy, 3)}));
      return absl::OkStatus();
    });

// Of a convolution of x to `outputs` channels.
absl::Status make_plan(const Tensor& x, std::int64_t outputs, Conv3x3Plan* plan) {
  REQUIRE(x.dims() == 4 && x.dim_size(3) > 0 && outputs > 0 && x.dim_size(3) % kConvChannels == 0 &&
              outputs % kConvChannels == 0,
          "channels must be multiples of 16");
  *plan = {x.dim_size(0), static_cast<int>(x.dim_size(1)), static_cast<int>(x.dim_size(2)),
           static_cast<int>(x.dim_size(3)), static_cast<int>(outputs)};
  return absl::OkStatus();
}

template <typename T>
class Conv3x3Op : public Op {
 public:
  explicit Conv3x3Op(OpKernelConstruction* context)
      : Op(context), transposed_(attribute<bool>(context, "transposed")) {}

 protected:
  absl::Status run(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &weights = context->input(1);
    const int from = transposed_ ? 3 : 2, to = transposed_ ? 2 : 3;
    REQUIRE(x.dims() == 4 && weights.dims() == 4 && weights.dim_size(0) == 3 &&
                weights.dim_size(1) == 3 && weights.dim_size(from) == x.dim_size(3),
            "weights must be [3, 3, I, O] for the channels of x");
    Conv3x3Plan plan;
    Element<T>* y;
    TF_RETURN_IF_ERROR(make_plan(x, weights.dim_size(to), &plan));
    const TensorShape shape({plan.batch, plan.height, plan.width, plan.outputs});
    TF_RETURN_IF_ERROR(allocate<T>(context, 0, shape, &y));
    if (shape.num_elements() == 0) return absl::OkStatus();
    Conv3x3Cpu<Element<T>>::forward(plan, read<T>(x), read<float>(weights), transposed_, y,
                                    threads_of(context));
    return absl::OkStatus();
  }

 private:
  const bool transposed_;
};

template <typename T>
class Conv3x3WeightGradientOp : public Op {
 public:
  using Op::Op;

 protected:
  absl::Status run(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &dy = context->input(1);
    REQUIRE(x.dims() == 4 && dy.dims() == 4 && x.dim_size(0) == dy.dim_size(0) &&
                x.dim_size(1) == dy.dim_size(1) && x.dim_size(2) == dy.dim_size(2),
            "x and dy must have the same size");
    Conv3x3Plan plan;
    float* dweights;
    TF_RETURN_IF_ERROR(make_plan(x, dy.dim_size(3), &plan));
    const TensorShape shape({3, 3, plan.inputs, plan.outputs});
    TF_RETURN_IF_ERROR(allocate<float>(context, 0, shape, &dweights));
    Conv3x3Cpu<Element<T>>::weight_gradient(plan, read<T>(x), read<T>(dy), count_threads(context),
                                            dweights, threads_of(context));
    return absl::OkStatus();
  }
};

REGISTER_KERNELS("GansformerConv3x3", DEVICE_CPU, Conv3x3Op)
REGISTER_KERNELS("GansformerConv3x3WeightGradient", DEVICE_CPU, Conv3x3WeightGradientOp)

}  // namespace
}  // namespace gansformer
