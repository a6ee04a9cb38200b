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

// The outputs are gradients of x, weights, row_scores, column_scores and of the inputs after the
// weights. x: the number of that input, which the weights follow; end: the number of inputs.
absl::Status set_gradient_shapes(InferenceContext* c, int x, int end) {
  std::int64_t columns;
  TF_RETURN_IF_ERROR(c->GetAttr("grid_columns", &columns));
  tensorflow::shape_inference::DimensionHandle rows;
  TF_RETURN_IF_ERROR(c->Divide(c->Dim(c->input(x), 1), columns, true, &rows));
  const auto batch = c->Dim(c->input(x), 0), targets = c->Dim(c->input(x + 1), 1);
  c->set_output(0, c->input(x));
  c->set_output(1, c->input(x + 1));
  c->set_output(2, c->MakeShape({batch, rows, targets}));
  c->set_output(3, c->MakeShape({batch, c->MakeDim(columns), targets}));
  for (int i = x + 2; i < end; ++i) c->set_output(i + 2 - x, c->input(i));
  return absl::OkStatus();
}

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
    .SetShapeFn([](InferenceContext* c) { return set_gradient_shapes(c, 2, 4); });

REGISTER_OP("GansformerAttentionGain")
    .Input("x: T")
    .Input("weights: float")
    .Input("row_scores: float")
    .Input("column_scores: float")
    .Input("scale: float")
    .Input("values: float")
    .Input("noise: float")
    .Input("bias: float")
    .Output("y: T")
    .Output("probabilities: float")
    .Attr(ELEMENT_TYPES)
    EPILOGUE_ATTRIBUTES
    .Attr("heads: int")
    .Attr("normalize: bool")
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      c->set_output(0, c->input(0));
      c->set_output(1, c->MakeShape({c->Dim(c->input(0), 0), c->Dim(c->input(0), 1),
                                     c->Dim(c->input(1), 1)}));
      return absl::OkStatus();
    });

REGISTER_OP("GansformerAttentionGainGradient")
    .Input("dy: T")
    .Input("y: T")
    .Input("dprobabilities: float")
    .Input("probabilities: float")
    .Input("x: T")
    .Input("weights: float")
    .Input("scale: float")
    .Input("values: float")
    .Output("dx: T")
    .Output("dweights: float")
    .Output("drow_scores: float")
    .Output("dcolumn_scores: float")
    .Output("dscale: float")
    .Output("dvalues: float")
    .Output("dnoise: float")
    .Output("dbias: float")
    .Attr(ELEMENT_TYPES)
    .Attr("heads: int")
    .Attr("normalize: bool")
    .Attr("grid_columns: int")
    .Attr("want_epilogue: bool")
    EPILOGUE_ATTRIBUTES
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      TF_RETURN_IF_ERROR(set_epilogue_shapes(c, 6, 4));
      return set_gradient_shapes(c, 4, 8);
    });

bool fits(OpKernelContext* context, bool condition) {
  if (!condition) context->CtxFailure(absl::InvalidArgumentError("shapes do not fit together"));
  return condition;
}

class AttentionBase : public OpKernel {
 public:
  explicit AttentionBase(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("heads", &heads_));
    OP_REQUIRES(context, heads_ >= 1, absl::InvalidArgumentError("heads must be positive"));
  }

 protected:
  bool make_plan(OpKernelContext* context, const Tensor& x, const Tensor& weights,
                 std::int64_t grid_columns, AttentionPlan* plan) const {
    if (!fits(context, x.dims() == 3 && weights.dims() == 3 && grid_columns >= 1)) return false;
    const std::int64_t targets = weights.dim_size(1);
    *plan = {{x.dim_size(0), x.dim_size(1) / grid_columns, grid_columns,
              static_cast<int>(x.dim_size(2))}, heads_, static_cast<int>(targets / heads_)};
    return fits(context, x.dim_size(1) % grid_columns == 0 && targets % heads_ == 0 &&
                             plan->targets <= kMaximumTargets &&
                             weights.shape() == TensorShape({plan->batch, targets, plan->channels}));
  }

  // Of ops whose first inputs are x, weights, row_scores and column_scores.
  bool make_value_plan(OpKernelContext* context, AttentionPlan* plan) const {
    const Tensor &weights = context->input(1), &columns = context->input(3);
    if (!fits(context, columns.dims() == 3)) return false;
    if (!make_plan(context, context->input(0), weights, columns.dim_size(1), plan)) return false;
    const std::int64_t targets = weights.dim_size(1);
    const TensorShape rows({plan->batch, plan->grid_rows, targets});
    return fits(context, context->input(2).shape() == rows &&
                             columns.dim_size(0) == plan->batch && columns.dim_size(2) == targets);
  }

  static AttentionScores read_scores(OpKernelContext* context) {
    return {read<float>(context->input(1)), read<float>(context->input(2)),
            read<float>(context->input(3))};
  }

  static TensorShape probabilities_shape(const AttentionPlan& plan) {
    return TensorShape(
        {plan.batch, plan.grid_rows * plan.grid_columns, plan.heads * plan.targets});
  }

  // Allocates outputs 1 to 3: the gradients of what scores consist of.
  static absl::Status allocate_scores(OpKernelContext* context, const AttentionPlan& plan,
                                      AttentionScoreGradients* gradients) {
    Tensor *weights = nullptr, *rows = nullptr, *columns = nullptr;
    const std::int64_t batch = plan.batch, targets = plan.heads * plan.targets;
    TF_RETURN_IF_ERROR(context->allocate_output(1, {batch, targets, plan.channels}, &weights));
    TF_RETURN_IF_ERROR(context->allocate_output(2, {batch, plan.grid_rows, targets}, &rows));
    TF_RETURN_IF_ERROR(context->allocate_output(3, {batch, plan.grid_columns, targets}, &columns));
    *gradients = {write<float>(weights), write<float>(rows), write<float>(columns)};
    return absl::OkStatus();
  }

  int heads_ = 1;
};

template <typename T>
class ProbabilitiesOp : public AttentionBase {
 public:
  using AttentionBase::AttentionBase;

  void Compute(OpKernelContext* context) override {
    AttentionPlan plan;
    if (!make_value_plan(context, &plan)) return;
    Tensor* result = nullptr;
    OP_REQUIRES_OK(context, context->allocate_output(0, probabilities_shape(plan), &result));
    if (result->NumElements() == 0) return;
    attention_probabilities_cpu(plan, read<T>(context->input(0)), read_scores(context),
                                write<float>(result), threads_of(context));
  }
};

template <typename T>
class ProbabilitiesGradientOp : public AttentionBase {
 public:
  explicit ProbabilitiesGradientOp(OpKernelConstruction* context) : AttentionBase(context) {
    OP_REQUIRES_OK(context, context->GetAttr("grid_columns", &grid_columns_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &upstream = context->input(0), &probabilities = context->input(1);
    const Tensor &x = context->input(2), &weights = context->input(3);
    AttentionPlan plan;
    if (!make_plan(context, x, weights, grid_columns_, &plan)) return;
    const TensorShape shares = probabilities_shape(plan);
    if (!fits(context, upstream.shape() == shares && probabilities.shape() == shares)) return;
    Tensor* dx = nullptr;
    AttentionScoreGradients gradients;
    OP_REQUIRES_OK(context, context->allocate_output(0, x.shape(), &dx));
    OP_REQUIRES_OK(context, allocate_scores(context, plan, &gradients));
    attention_probabilities_gradient_cpu(plan, read<float>(upstream), read<float>(probabilities),
                                         read<T>(x), read<float>(weights), write<T>(dx), gradients,
                                         threads_of(context));
  }

 private:
  std::int64_t grid_columns_ = 1;
};

class GainBase : public AttentionBase {
 public:
  explicit GainBase(OpKernelConstruction* context) : AttentionBase(context) {
    OP_REQUIRES_OK(context, context->GetAttr("normalize", &normalize_));
    OP_REQUIRES_OK(context, epilogue_.configure(context));
  }

 protected:
  bool read_gain(OpKernelContext* context, const AttentionPlan& plan, int first,
                 AttentionGain* gain) const {
    const Tensor &scale = context->input(first), &values = context->input(first + 1);
    *gain = {read<float>(scale), read<float>(values), normalize_};
    const std::int64_t targets = plan.heads * plan.targets;
    return fits(context, scale.shape() == TensorShape({plan.batch, plan.channels}) &&
                             values.shape() == TensorShape({plan.batch, targets + 1, plan.channels}));
  }

  EpilogueReader epilogue_;

 private:
  bool normalize_ = false;
};

template <typename T>
class GainOp : public GainBase {
 public:
  using GainBase::GainBase;

  void Compute(OpKernelContext* context) override {
    AttentionPlan plan;
    AttentionGain gain;
    if (!make_value_plan(context, &plan) || !read_gain(context, plan, 4, &gain)) return;
    const Tensor& x = context->input(0);
    Epilogue epilogue;
    OP_REQUIRES_OK(context, epilogue_.read(context->input(6), context->input(7), plan.batch,
                                           x.dim_size(1), plan.channels, &epilogue));
    Tensor *y = nullptr, *probabilities = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, x.shape(), &y));
    OP_REQUIRES_OK(context,
                   context->allocate_output(1, probabilities_shape(plan), &probabilities));
    if (y->NumElements() == 0) return;
    attention_gain_cpu(plan, read<T>(x), read_scores(context), gain, epilogue,
                       write<float>(probabilities), write<T>(y), threads_of(context));
  }
};

template <typename T>
class GainGradientOp : public GainBase {
 public:
  explicit GainGradientOp(OpKernelConstruction* context) : GainBase(context) {
    OP_REQUIRES_OK(context, context->GetAttr("grid_columns", &grid_columns_));
    OP_REQUIRES_OK(context, context->GetAttr("want_epilogue", &want_epilogue_));
  }

  void Compute(OpKernelContext* context) override {
    const Tensor &dy = context->input(0), &y = context->input(1);
    const Tensor &dprobabilities = context->input(2), &probabilities = context->input(3);
    const Tensor &x = context->input(4), &weights = context->input(5);
    AttentionPlan plan;
    AttentionGain gain;
    if (!make_plan(context, x, weights, grid_columns_, &plan)) return;
    if (!read_gain(context, plan, 6, &gain)) return;
    const TensorShape shares = probabilities_shape(plan);
    if (!fits(context, dy.shape() == x.shape() && y.shape() == x.shape() &&
                           dprobabilities.shape() == shares && probabilities.shape() == shares)) {
      return;
    }
    Tensor *dx = nullptr, *dscale = nullptr, *dvalues = nullptr;
    AttentionGainGradients gradients = {};
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, x.shape(), &dx));
    OP_REQUIRES_OK(context, allocate_scores(context, plan, &gradients.scores));
    OP_REQUIRES_OK(context, context->allocate_output(4, context->input(6).shape(), &dscale));
    OP_REQUIRES_OK(context, context->allocate_output(5, context->input(7).shape(), &dvalues));
    OP_REQUIRES_OK(context, allocate_epilogue(context, 6, want_epilogue_, plan.batch,
                                              x.dim_size(1), plan.channels, &gradients.epilogue));
    gradients.scale = write<float>(dscale), gradients.values = write<float>(dvalues);
    attention_gain_gradient_cpu(plan, read<T>(dy), read<T>(y), read<float>(dprobabilities),
                                read<float>(probabilities), read<T>(x), read<float>(weights), gain,
                                epilogue_.slopes(), write<T>(dx), gradients, threads_of(context));
  }

 private:
  std::int64_t grid_columns_ = 1;
  bool want_epilogue_ = false;
};

REGISTER_CPU_KERNEL("GansformerAttentionProbabilities", ProbabilitiesOp)
REGISTER_CPU_KERNEL("GansformerAttentionProbabilitiesGradient", ProbabilitiesGradientOp)
REGISTER_CPU_KERNEL("GansformerAttentionGain", GainOp)
REGISTER_CPU_KERNEL("GansformerAttentionGainGradient", GainGradientOp)

}  // namespace gansformer
