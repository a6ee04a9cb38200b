// The TensorFlow op that ends a layer, and its gradient, for CPUs only.
#include "epilogue/epilogue_arguments.h"

namespace gansformer {
namespace {

REGISTER_OP("GansformerScaleChannels")
    .Input("x: T")
    .Input("scale: float")
    .Input("noise: float")
    .Input("bias: float")
    .Output("y: T")
    .Attr(ELEMENT_TYPES)
    EPILOGUE_ATTRIBUTES
    .SetShapeFn(shapes_of_inputs<0>);

REGISTER_OP("GansformerScaleChannelsGradient")
    .Input("dy: T")
    .Input("y: T")
    .Input("x: T")
    .Input("scale: float")
    .Output("dx: T")
    .Output("dscale: float")
    .Output("dnoise: float")
    .Output("dbias: float")
    .Attr(ELEMENT_TYPES)
    .Attr("want_epilogue: bool")
    EPILOGUE_ATTRIBUTES
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      TF_RETURN_IF_ERROR((shapes_of_inputs<0, 3>(c)));
      return set_epilogue_shapes(c, 2, 0);
    });

// Of x [batch, ..., channels] and scale [batch, channels].
absl::Status make_plan(const Tensor& x, const Tensor& scale, ScalePlan* plan) {
  const int last = x.dims() - 1;
  REQUIRE(last >= 1 && scale.shape() == TensorShape({x.dim_size(0), x.dim_size(last)}),
          "scale must be [batch, channels] of x");
  *plan = {x.dim_size(0), 1, static_cast<int>(x.dim_size(last))};
  for (int i = 1; i < last; ++i) plan->pixels *= x.dim_size(i);
  return absl::OkStatus();
}

template <typename T>
class ScaleChannelsOp : public EpilogueOp {
 public:
  using EpilogueOp::EpilogueOp;

 protected:
  absl::Status run(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &scale = context->input(1);
    ScalePlan plan;
    Epilogue epilogue;
    Element<T>* y;
    TF_RETURN_IF_ERROR(make_plan(x, scale, &plan));
    TF_RETURN_IF_ERROR(read_epilogue(context, 2, plan, &epilogue));
    TF_RETURN_IF_ERROR(allocate<T>(context, 0, x.shape(), &y, true));
    ScaleChannelsCpu<Element<T>>::forward(plan, read<T>(x), read<float>(scale), epilogue, y,
                                          threads_of(context));
    return absl::OkStatus();
  }
};

template <typename T>
class ScaleChannelsGradientOp : public EpilogueOp {
 public:
  using EpilogueOp::EpilogueOp;

 protected:
  absl::Status run(OpKernelContext* context) override {
    const Tensor &dy = context->input(0), &y = context->input(1), &x = context->input(2);
    const Tensor& scale = context->input(3);
    ScalePlan plan;
    EpilogueGradients gradients;
    Element<T>* dx;
    float* dscale;
    TF_RETURN_IF_ERROR(make_plan(dy, scale, &plan));
    REQUIRE(x.shape() == dy.shape() && y.shape() == dy.shape(), "dy, y and x must have one shape");
    TF_RETURN_IF_ERROR(allocate<T>(context, 0, dy.shape(), &dx, true));
    TF_RETURN_IF_ERROR(allocate<float>(context, 1, scale.shape(), &dscale));
    TF_RETURN_IF_ERROR(allocate_epilogue(context, 2, plan, &gradients));
    ScaleChannelsCpu<Element<T>>::gradient(plan, read<T>(dy), read<T>(y), read<T>(x),
                                           read<float>(scale), slopes_, dx, dscale, gradients,
                                           threads_of(context));
    return absl::OkStatus();
  }
};

REGISTER_KERNELS("GansformerScaleChannels", DEVICE_CPU, ScaleChannelsOp)
REGISTER_KERNELS("GansformerScaleChannelsGradient", DEVICE_CPU, ScaleChannelsGradientOp)

}  // namespace
}  // namespace gansformer
