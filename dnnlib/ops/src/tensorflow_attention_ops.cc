// The TensorFlow ops of attention, for CPUs only.
#include "tensorflow_support.h"

namespace gansformer {

using tensorflow::shape_inference::InferenceContext;

REGISTER_OP("GansformerAttentionProbabilities")
    .Input("x: T")
    .Input("weights: float")
    .Input("row_scores: float")
    .Input("column_scores: float")
    .Output("probabilities: float")
    .Attr(ELEMENT_TYPES)
    .Attr("heads: int")
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      c->set_output(0, c->MakeShape({c->Dim(c->input(0), 0), c->Dim(c->input(0), 1),
                                     c->Dim(c->input(1), 1)}));
      return absl::OkStatus();
    });

REGISTER_OP("GansformerAttentionProbabilitiesGradient")
    .Input("upstream: float")
    .Input("probabilities: float")
    .Input("x: T")
    .Input("weights: float")
    .Output("dx: T")
    .Output("dweights: float")
    .Output("drow_scores: float")
    .Output("dcolumn_scores: float")
    .Attr(ELEMENT_TYPES)
    .Attr("heads: int")
    .Attr("grid_columns: int")
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      std::int64_t columns;
      TF_RETURN_IF_ERROR(c->GetAttr("grid_columns", &columns));
      tensorflow::shape_inference::DimensionHandle rows;
      TF_RETURN_IF_ERROR(c->Divide(c->Dim(c->input(2), 1), columns, true, &rows));
      const auto batch = c->Dim(c->input(2), 0), targets = c->Dim(c->input(3), 1);
      c->set_output(0, c->input(2));
      c->set_output(1, c->input(3));
      c->set_output(2, c->MakeShape({batch, rows, targets}));
      c->set_output(3, c->MakeShape({batch, c->MakeDim(columns), targets}));
      return absl::OkStatus();
    });

REGISTER_OP("GansformerAttentionGain")
    .Input("x: T")
    .Input("scale: float")
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
    .Input("scale: float")
    .Input("probabilities: float")
    .Input("values: float")
    .Output("dx: T")
    .Output("dscale: float")
    .Output("dprobabilities: float")
    .Output("dvalues: float")
    .Attr(ELEMENT_TYPES)
    .Attr("normalize: bool")
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      for (int i = 0; i < 4; ++i) c->set_output(i, c->input(i + 1));
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
  bool make_plan(OpKernelContext* context, const Tensor& x, const Tensor& weights,
                 std::int64_t grid_columns, AttentionPlan* plan) const {
    if (!fits(context, x.dims() == 3 && weights.dims() == 3 && grid_columns >= 1)) return false;
    const std::int64_t targets = weights.dim_size(1);
    *plan = {x.dim_size(0), x.dim_size(1) / grid_columns, grid_columns,
             static_cast<int>(x.dim_size(2)), heads_, static_cast<int>(targets / heads_)};
    return fits(context, x.dim_size(1) % grid_columns == 0 && targets % heads_ == 0 &&
                             plan->targets <= kMaximumTargets &&
                             weights.shape() == TensorShape({plan->batch, targets, plan->channels}));
  }

  int heads_ = 1;
};

template <typename T>
class ProbabilitiesOp : public ProbabilitiesBase {
 public:
  using ProbabilitiesBase::ProbabilitiesBase;

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &weights = context->input(1);
    const Tensor &row_scores = context->input(2), &column_scores = context->input(3);
    AttentionPlan plan;
    if (!fits(context, column_scores.dims() == 3)) return;
    if (!make_plan(context, x, weights, column_scores.dim_size(1), &plan)) return;
    const std::int64_t batch = plan.batch, targets = weights.dim_size(1);
    if (!fits(context, row_scores.shape() == TensorShape({batch, plan.grid_rows, targets}) &&
                           column_scores.dim_size(0) == batch &&
                           column_scores.dim_size(2) == targets)) {
      return;
    }
    Tensor* result = nullptr;
    const TensorShape shape({batch, x.dim_size(1), targets});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &result));
    if (result->NumElements() == 0) return;
    attention_probabilities_cpu(plan, read<T>(x), read<float>(weights), read<float>(row_scores),
                                read<float>(column_scores), write<float>(result),
                                threads_of(context));
  }
};

template <typename T>
class ProbabilitiesGradientOp : public ProbabilitiesBase {
 public:
  explicit ProbabilitiesGradientOp(OpKernelConstruction* context) : ProbabilitiesBase(context) {
    OP_REQUIRES_OK(context, context->GetAttr("grid_columns", &grid_columns_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &probabilities = context->input(1);
    const Tensor &x = context->input(2), &weights = context->input(3);
    AttentionPlan plan;
    if (!make_plan(context, x, weights, grid_columns_, &plan)) return;
    const std::int64_t targets = weights.dim_size(1);
    const std::int64_t size = plan.batch * x.dim_size(1) * targets;
    if (!fits(context, upstream.NumElements() == size && probabilities.NumElements() == size)) {
      return;
    }
    Tensor *dx = nullptr, *dweights = nullptr, *drows = nullptr, *dcolumns = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &dx));
    OP_REQUIRES_OK(context, context->allocate_output(1, weights.shape(), &dweights));
    const TensorShape rows({plan.batch, plan.grid_rows, targets});
    const TensorShape columns({plan.batch, grid_columns_, targets});
    OP_REQUIRES_OK(context, context->allocate_output(2, rows, &drows));
    OP_REQUIRES_OK(context, context->allocate_output(3, columns, &dcolumns));
    attention_probabilities_gradient_cpu(plan, read<float>(upstream), read<float>(probabilities),
                                         read<T>(x), read<float>(weights), write<T>(dx),
                                         write<float>(dweights), write<float>(drows),
                                         write<float>(dcolumns), threads_of(context));
  }

 private:
  std::int64_t grid_columns_ = 1;
};

class GainBase : public OpKernel {
 public:
  explicit GainBase(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("normalize", &normalize_));
  }

 protected:
  static bool make_plan(OpKernelContext* context, const Tensor& x, const Tensor& scale,
                        const Tensor& probabilities, const Tensor& values, AttentionPlan* plan) {
    if (!fits(context, x.dims() == 3 && probabilities.dims() == 3)) return false;
    const std::int64_t batch = x.dim_size(0), channels = x.dim_size(2);
    const std::int64_t targets = probabilities.dim_size(2);
    *plan = {batch, x.dim_size(1), 1, static_cast<int>(channels), 1, static_cast<int>(targets)};
    return fits(context, scale.shape() == TensorShape({batch, channels}) &&
                             probabilities.dim_size(0) == batch &&
                             probabilities.dim_size(1) == plan->grid_rows &&
                             values.shape() == TensorShape({batch, targets + 1, channels}));
  }

  bool normalize_ = false;
};

template <typename T>
class GainOp : public GainBase {
 public:
  using GainBase::GainBase;

  void Compute(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &scale = context->input(1);
    const Tensor &probabilities = context->input(2), &values = context->input(3);
    AttentionPlan plan;
    if (!make_plan(context, x, scale, probabilities, values, &plan)) return;
    Tensor* y = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, x.shape(), &y));
    if (y->NumElements() == 0) return;
    attention_gain_cpu(plan, read<T>(x), read<float>(scale), read<float>(probabilities),
                       read<float>(values), normalize_, write<T>(y), threads_of(context));
  }
};

template <typename T>
class GainGradientOp : public GainBase {
 public:
  using GainBase::GainBase;

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &x = context->input(1), &scale = context->input(2);
    const Tensor &probabilities = context->input(3), &values = context->input(4);
    AttentionPlan plan;
    if (!make_plan(context, x, scale, probabilities, values, &plan)) return;
    if (!fits(context, upstream.shape() == x.shape())) return;
    Tensor *dx = nullptr, *dscale = nullptr, *dprobabilities = nullptr, *dvalues = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, x.shape(), &dx));
    OP_REQUIRES_OK(context, context->allocate_output(1, scale.shape(), &dscale));
    OP_REQUIRES_OK(context, context->allocate_output(2, probabilities.shape(), &dprobabilities));
    OP_REQUIRES_OK(context, context->allocate_output(3, values.shape(), &dvalues));
    attention_gain_gradient_cpu(plan, read<T>(upstream), read<T>(x), read<float>(scale),
                                read<float>(probabilities), read<float>(values), normalize_,
                                write<T>(dx), write<float>(dscale), write<float>(dprobabilities),
                                write<float>(dvalues), threads_of(context));
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
