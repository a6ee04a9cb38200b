// The TensorFlow ops that exist for CPUs only: TensorFlow's own are good enough on GPUs.
#include "tensorflow_support.h"

namespace gansformer {

// ----- scale_channels -----

REGISTER_OP("GansformerScaleChannels")
    .Input("x: T")
    .Input("scale: float")
    .Input("noise: float")
    .Input("bias: float")
    .Output("y: T")
    .Attr(ELEMENT_TYPES)
    EPILOGUE_ATTRIBUTES
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) -> absl::Status {
      c->set_output(0, c->input(0));
      return absl::OkStatus();
    });

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
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) -> absl::Status {
      c->set_output(0, c->input(0));
      c->set_output(1, c->input(3));
      return set_epilogue_shapes(c, 2, 0);
    });

// Checks that x is [batch, ..., channels] and scale [batch, channels].
bool make_scale_plan(OpKernelContext* context, const Tensor& x, const Tensor& scale,
                     ScalePlan* plan) {
  const int rank = x.dims();
  const bool good = rank >= 2 && scale.dims() == 2 && scale.dim_size(0) == x.dim_size(0) &&
                    scale.dim_size(1) == x.dim_size(rank - 1);
  if (!good) {
    context->CtxFailure(absl::InvalidArgumentError("scale must be [batch, channels] of x"));
    return false;
  }
  plan->batch = x.dim_size(0), plan->channels = x.dim_size(rank - 1), plan->pixels = 1;
  for (int i = 1; i < rank - 1; ++i) plan->pixels *= x.dim_size(i);
  return true;
}

template <typename T>
class ScaleChannelsOp : public OpKernel {
 public:
  explicit ScaleChannelsOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, reader_.configure(context));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &scale = context->input(1);
    ScalePlan plan;
    Epilogue epilogue;
    if (!make_scale_plan(context, x, scale, &plan)) return;
    OP_REQUIRES_OK(context, reader_.read(context->input(2), context->input(3), plan.batch,
                                         plan.pixels, plan.channels, &epilogue));
    Tensor* y = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, x.shape(), &y));
    scale_channels_cpu(plan, read<T>(x), scale.flat<float>().data(), epilogue, write<T>(y),
                       threads_of(context));
  }

 private:
  EpilogueReader reader_;
};

template <typename T>
class ScaleChannelsGradientOp : public OpKernel {
 public:
  explicit ScaleChannelsGradientOp(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, reader_.configure(context));
    OP_REQUIRES_OK(context, context->GetAttr("want_epilogue", &want_epilogue_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &dy = context->input(0), &y = context->input(1), &x = context->input(2);
    const Tensor& scale = context->input(3);
    ScalePlan plan;
    if (!make_scale_plan(context, dy, scale, &plan)) return;
    OP_REQUIRES(context, x.shape() == dy.shape() && y.shape() == dy.shape(),
                absl::InvalidArgumentError("dy, y and x must have one shape"));
    Tensor *dx = nullptr, *dscale = nullptr;
    EpilogueGradients gradients = {nullptr, nullptr};
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, dy.shape(), &dx));
    OP_REQUIRES_OK(context, context->allocate_output(1, scale.shape(), &dscale));
    OP_REQUIRES_OK(context, allocate_epilogue(context, 2, want_epilogue_, plan.batch, plan.pixels,
                                              plan.channels, &gradients));
    scale_channels_gradient_cpu(plan, read<T>(dy), read<T>(y), read<T>(x),
                                scale.flat<float>().data(), reader_.slopes(), write<T>(dx),
                                dscale->flat<float>().data(), gradients, threads_of(context));
  }

 private:
  EpilogueReader reader_;
  bool want_epilogue_ = false;
};

REGISTER_CPU_KERNEL("GansformerScaleChannels", ScaleChannelsOp)
REGISTER_CPU_KERNEL("GansformerScaleChannelsGradient", ScaleChannelsGradientOp)

// ----- conv3x3 -----

REGISTER_OP("GansformerConv3x3")
    .Input("x: T")
    .Input("weights: float")
    .Output("y: T")
    .Attr(ELEMENT_TYPES)
    .Attr("transposed: bool")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) -> absl::Status {
      bool transposed;
      tensorflow::shape_inference::ShapeHandle x, weights;
      TF_RETURN_IF_ERROR(c->GetAttr("transposed", &transposed));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &weights));
      return c->ReplaceDim(x, 3, c->Dim(weights, transposed ? 2 : 3), &x).ok()
                 ? (c->set_output(0, x), absl::OkStatus())
                 : absl::InvalidArgumentError("shapes do not fit together");
    });

REGISTER_OP("GansformerConv3x3WeightGradient")
    .Input("x: T")
    .Input("dy: T")
    .Output("dweights: float")
    .Attr(ELEMENT_TYPES)
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) -> absl::Status {
      tensorflow::shape_inference::ShapeHandle x, dy;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(1), 4, &dy));
      c->set_output(0, c->MakeShape({c->MakeDim(3), c->MakeDim(3), c->Dim(x, 3), c->Dim(dy, 3)}));
      return absl::OkStatus();
    });

// Fills in the plan of a convolution of x to `outputs` channels; false if it cannot be done.
bool make_conv_plan(OpKernelContext* context, const Tensor& x, std::int64_t outputs,
                    Conv3x3Plan* plan) {
  const bool good = x.dims() == 4 && x.dim_size(3) % kConvChannels == 0 &&
                    outputs % kConvChannels == 0 && x.dim_size(3) > 0 && outputs > 0;
  if (!good) {
    context->CtxFailure(absl::InvalidArgumentError("channels must be multiples of 16"));
    return false;
  }
  *plan = {x.dim_size(0), static_cast<int>(x.dim_size(1)), static_cast<int>(x.dim_size(2)),
           static_cast<int>(x.dim_size(3)), static_cast<int>(outputs)};
  return true;
}

template <typename T>
class Conv3x3Op : public OpKernel {
 public:
  explicit Conv3x3Op(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("transposed", &transposed_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &weights = context->input(1);
    const int from = transposed_ ? 3 : 2, to = transposed_ ? 2 : 3;
    OP_REQUIRES(context,
                x.dims() == 4 && weights.dims() == 4 && weights.dim_size(0) == 3 &&
                    weights.dim_size(1) == 3 && weights.dim_size(from) == x.dim_size(3),
                absl::InvalidArgumentError("weights must be [3, 3, I, O] for the channels of x"));
    Conv3x3Plan plan;
    if (!make_conv_plan(context, x, weights.dim_size(to), &plan)) return;
    Tensor* y = nullptr;
    const TensorShape shape({plan.batch, plan.height, plan.width, plan.outputs});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &y));
    if (y->NumElements() == 0) return;
    conv3x3_cpu(plan, read<T>(x), read<float>(weights), transposed_, write<T>(y),
                threads_of(context));
  }

 private:
  bool transposed_ = false;
};

template <typename T>
class Conv3x3WeightGradientOp : public OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &dy = context->input(1);
    OP_REQUIRES(context,
                x.dims() == 4 && dy.dims() == 4 && x.dim_size(0) == dy.dim_size(0) &&
                    x.dim_size(1) == dy.dim_size(1) && x.dim_size(2) == dy.dim_size(2),
                absl::InvalidArgumentError("x and dy must have the same size"));
    Conv3x3Plan plan;
    if (!make_conv_plan(context, x, dy.dim_size(3), &plan)) return;
    Tensor* dweights = nullptr;
    const TensorShape shape({3, 3, plan.inputs, plan.outputs});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &dweights));
    const int threads = context->device()->tensorflow_cpu_worker_threads()->num_threads;
    conv3x3_weight_gradient_cpu(plan, read<T>(x), read<T>(dy), threads, write<float>(dweights),
                                threads_of(context));
  }
};

REGISTER_CPU_KERNEL("GansformerConv3x3", Conv3x3Op)
REGISTER_CPU_KERNEL("GansformerConv3x3WeightGradient", Conv3x3WeightGradientOp)

}  // namespace gansformer
