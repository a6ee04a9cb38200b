// The TensorFlow ops of attention, for CPUs only.
#include "tensorflow_support.h"

namespace gansformer {

using tensorflow::shape_inference::InferenceContext;

REGISTER_OP("GansformerAttentionProbabilities")
    .Input("x: T")
    .Input("places: float")
    .Input("weights: float")
    .Input("bias: float")
    .Output("probabilities: float")
    .Attr(ELEMENT_TYPES)
    .Attr("heads: int")
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      c->set_output(0, c->MakeShape({c->Dim(c->input(0), 0), c->Dim(c->input(0), 1),
                                     c->Dim(c->input(2), 1)}));
      return absl::OkStatus();
    });

REGISTER_OP("GansformerAttentionProbabilitiesGradient")
    .Input("upstream: float")
    .Input("probabilities: float")
    .Input("x: T")
    .Input("places: float")
    .Input("weights: float")
    .Output("dx: T")
    .Output("dweights: float")
    .Attr(ELEMENT_TYPES)
    .Attr("heads: int")
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      tensorflow::shape_inference::DimensionHandle inputs;
      TF_RETURN_IF_ERROR(c->Add(c->Dim(c->input(4), 2), 1, &inputs));
      c->set_output(0, c->input(2));
      c->set_output(1, c->MakeShape({c->Dim(c->input(2), 0), c->Dim(c->input(4), 1), inputs}));
      return absl::OkStatus();
    });

REGISTER_OP("GansformerAttentionGain")
    .Input("x: T")
    .Input("probabilities: float")
    .Input("values: float")
    .Output("y: T")
    .Attr(ELEMENT_TYPES)
    .Attr("normalize: bool")
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      c->set_output(0, c->input(0));
      return absl::OkStatus();
    });

REGISTER_OP("GansformerAttentionGainGradient")
    .Input("upstream: T")
    .Input("x: T")
    .Input("probabilities: float")
    .Input("values: float")
    .Output("dx: T")
    .Output("dprobabilities: float")
    .Output("dvalues: float")
    .Attr(ELEMENT_TYPES)
    .Attr("normalize: bool")
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      for (int i = 0; i < 3; ++i) c->set_output(i, c->input(i + 1));
      return absl::OkStatus();
    });

bool fits(OpKernelContext* context, bool condition) {
  if (!condition) context->CtxFailure(absl::InvalidArgumentError("shapes do not fit together"));
  return condition;
}

class ProbabilitiesBase : public OpKernel {
 public:
  explicit ProbabilitiesBase(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("heads", &heads_));
    OP_REQUIRES(context, heads_ >= 1, absl::InvalidArgumentError("heads must be positive"));
  }

 protected:
  bool make_plan(OpKernelContext* context, const Tensor& x, const Tensor& places,
                 const Tensor& weights, AttentionPlan* plan) const {
    if (!fits(context, x.dims() == 3 && places.dims() == 2 && weights.dims() == 3)) return false;
    const std::int64_t sets = weights.dim_size(0), columns = weights.dim_size(1);
    *plan = {x.dim_size(0), x.dim_size(1), static_cast<int>(x.dim_size(2)),
             static_cast<int>(places.dim_size(1)), heads_, static_cast<int>(columns / heads_),
             sets == 1};
    return fits(context, places.dim_size(0) == plan->positions && columns % heads_ == 0 &&
                             plan->columns <= kMaximumColumns &&
                             (sets == 1 || sets == plan->batch) &&
                             weights.dim_size(2) == plan->channels + plan->place_channels);
  }

  int heads_ = 1;
};

template <typename T>
class ProbabilitiesOp : public ProbabilitiesBase {
 public:
  using ProbabilitiesBase::ProbabilitiesBase;

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &places = context->input(1);
    const Tensor &weights = context->input(2), &bias = context->input(3);
    AttentionPlan plan;
    if (!make_plan(context, x, places, weights, &plan)) return;
    const std::int64_t columns = weights.dim_size(1);
    if (!fits(context, bias.NumElements() == weights.dim_size(0) * columns)) return;
    Tensor* result = nullptr;
    const TensorShape shape({plan.batch, plan.positions, columns});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &result));
    if (result->NumElements() == 0) return;
    attention_probabilities_cpu(plan, read<T>(x), read<float>(places), read<float>(weights),
                                read<float>(bias), write<float>(result), threads_of(context));
  }
};

template <typename T>
class ProbabilitiesGradientOp : public ProbabilitiesBase {
 public:
  using ProbabilitiesBase::ProbabilitiesBase;

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &probabilities = context->input(1);
    const Tensor &x = context->input(2), &places = context->input(3);
    const Tensor& weights = context->input(4);
    AttentionPlan plan;
    if (!make_plan(context, x, places, weights, &plan)) return;
    const std::int64_t columns = weights.dim_size(1);
    const std::int64_t size = plan.batch * plan.positions * columns;
    if (!fits(context, upstream.NumElements() == size && probabilities.NumElements() == size)) {
      return;
    }
    Tensor *dx = nullptr, *dweights = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &dx));
    const TensorShape shape({plan.batch, columns, weights.dim_size(2) + 1});
    OP_REQUIRES_OK(context, context->allocate_output(1, shape, &dweights));
    attention_probabilities_gradient_cpu(plan, read<float>(upstream), read<float>(probabilities),
                                         read<T>(x), read<float>(places), read<float>(weights),
                                         write<T>(dx), write<float>(dweights),
                                         threads_of(context));
  }
};

class GainBase : public OpKernel {
 public:
  explicit GainBase(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("normalize", &normalize_));
  }

 protected:
  static bool make_plan(OpKernelContext* context, const Tensor& x, const Tensor& probabilities,
                        const Tensor& values, AttentionPlan* plan) {
    if (!fits(context, x.dims() == 3 && probabilities.dims() == 3 && values.dims() == 3)) {
      return false;
    }
    const std::int64_t columns = probabilities.dim_size(2);
    *plan = {x.dim_size(0), x.dim_size(1), static_cast<int>(x.dim_size(2)), 0, 1,
             static_cast<int>(columns), false};
    return fits(context,
                probabilities.dim_size(0) == plan->batch &&
                    probabilities.dim_size(1) == plan->positions &&
                    values.shape() == TensorShape({plan->batch, columns + 1, plan->channels}));
  }

  bool normalize_ = false;
};

template <typename T>
class GainOp : public GainBase {
 public:
  using GainBase::GainBase;

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &probabilities = context->input(1);
    const Tensor& values = context->input(2);
    AttentionPlan plan;
    if (!make_plan(context, x, probabilities, values, &plan)) return;
    Tensor* y = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, x.shape(), &y));
    if (y->NumElements() == 0) return;
    attention_gain_cpu(plan, read<T>(x), read<float>(probabilities), read<float>(values),
                       normalize_, write<T>(y), threads_of(context));
  }
};

template <typename T>
class GainGradientOp : public GainBase {
 public:
  using GainBase::GainBase;

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &x = context->input(1);
    const Tensor &probabilities = context->input(2), &values = context->input(3);
    AttentionPlan plan;
    if (!make_plan(context, x, probabilities, values, &plan)) return;
    if (!fits(context, upstream.shape() == x.shape())) return;
    Tensor *dx = nullptr, *dprobabilities = nullptr, *dvalues = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, x.shape(), &dx));
    OP_REQUIRES_OK(context, context->allocate_output(1, probabilities.shape(), &dprobabilities));
    OP_REQUIRES_OK(context, context->allocate_output(2, values.shape(), &dvalues));
    attention_gain_gradient_cpu(plan, read<T>(upstream), read<T>(x), read<float>(probabilities),
                                read<float>(values), normalize_, write<T>(dx),
                                write<float>(dprobabilities), write<float>(dvalues),
                                threads_of(context));
  }
};

#define REGISTER_KERNEL(NAME, OP, T) \
  REGISTER_KERNEL_BUILDER(           \
      Name(NAME).Device(tensorflow::DEVICE_CPU).TypeConstraint<T>("T"), OP<T>);
#define REGISTER_ALL(T)                                                              \
  REGISTER_KERNEL("GansformerAttentionProbabilities", ProbabilitiesOp, T)            \
  REGISTER_KERNEL("GansformerAttentionProbabilitiesGradient", ProbabilitiesGradientOp, T) \
  REGISTER_KERNEL("GansformerAttentionGain", GainOp, T)                              \
  REGISTER_KERNEL("GansformerAttentionGainGradient", GainGradientOp, T)
REGISTER_ALL(float)
REGISTER_ALL(tensorflow::bfloat16)
REGISTER_ALL(Eigen::half)

}  // namespace gansformer
