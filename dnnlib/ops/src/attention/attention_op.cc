// The TensorFlow op of attention that multiplies features, and its gradient, for CPUs and GPUs.
#include "attention/attention.h"

#include "epilogue/epilogue_arguments.h"

namespace gansformer {
namespace {

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
      const auto x = c->input(0);
      c->set_output(0, x);
      c->set_output(1, c->MakeShape({c->Dim(x, 0), c->Dim(x, 1), c->Dim(c->input(1), 1)}));
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
      std::int64_t columns;
      tensorflow::shape_inference::DimensionHandle rows;
      TF_RETURN_IF_ERROR(c->GetAttr("grid_columns", &columns));
      TF_RETURN_IF_ERROR(c->Divide(c->Dim(c->input(4), 1), columns, true, &rows));
      const auto batch = c->Dim(c->input(4), 0), keys = c->Dim(c->input(5), 1);
      TF_RETURN_IF_ERROR((shapes_of_inputs<4, 5, 4, 4, 6, 7>(c)));
      c->set_output(2, c->MakeShape({batch, rows, keys}));
      c->set_output(3, c->MakeShape({batch, c->MakeDim(columns), keys}));
      return set_epilogue_shapes(c, 6, 4);
    });

constexpr char kUnfitting[] = "shapes do not fit together";
constexpr char kTooManyKeys[] = "more keys than the kernels take";

// Of features x [batch, positions, channels] and weights [batch, all keys, channels].
absl::Status make_plan(const Tensor& x, const Tensor& weights, int heads, std::int64_t columns,
                       AttentionPlan* plan) {
  REQUIRE(x.dims() == 3 && weights.dims() == 3 && heads >= 1 && columns >= 1, kUnfitting);
  const std::int64_t keys = weights.dim_size(1);
  *plan = {x.dim_size(0), x.dim_size(1) / columns, columns, static_cast<int>(x.dim_size(2)), heads,
           static_cast<int>(keys / heads)};
  REQUIRE(x.dim_size(1) % columns == 0 && keys % heads == 0 &&
              weights.shape() == TensorShape({plan->batch, keys, plan->channels}),
          kUnfitting);
  return absl::OkStatus();
}

TensorShape rows_shape(const AttentionPlan& plan) {
  return TensorShape({plan.batch, plan.grid_rows, plan.all_keys()});
}

TensorShape columns_shape(const AttentionPlan& plan) {
  return TensorShape({plan.batch, plan.grid_columns, plan.all_keys()});
}

TensorShape probabilities_shape(const AttentionPlan& plan) {
  return TensorShape({plan.batch, plan.positions(), plan.all_keys()});
}

// Reads the inputs x, weights, row_scores and column_scores, numbers 0 to 3.
absl::Status read_scores(OpKernelContext* context, int heads, AttentionPlan* plan,
                         AttentionScores* scores) {
  const Tensor &weights = context->input(1), &rows = context->input(2);
  const Tensor& columns = context->input(3);
  REQUIRE(columns.dims() == 3, kUnfitting);
  TF_RETURN_IF_ERROR(make_plan(context->input(0), weights, heads, columns.dim_size(1), plan));
  REQUIRE(rows.shape() == rows_shape(*plan) && columns.shape() == columns_shape(*plan), kUnfitting);
  *scores = {read<float>(weights), read<float>(rows), read<float>(columns)};
  return absl::OkStatus();
}

// Allocates outputs 1 to 3: the gradients of what scores consist of.
absl::Status allocate_scores(OpKernelContext* context, const AttentionPlan& plan,
                             AttentionScoreGradients* gradients) {
  const TensorShape weights({plan.batch, plan.all_keys(), plan.channels});
  TF_RETURN_IF_ERROR(allocate<float>(context, 1, weights, &gradients->weights));
  TF_RETURN_IF_ERROR(allocate<float>(context, 2, rows_shape(plan), &gradients->rows));
  return allocate<float>(context, 3, columns_shape(plan), &gradients->columns);
}

class GainBase : public EpilogueOp {
 public:
  explicit GainBase(OpKernelConstruction* context)
      : EpilogueOp(context),
        heads_(attribute<int>(context, "heads")),
        normalize_(attribute<bool>(context, "normalize")) {}

 protected:
  // Reads the inputs `first`, scale, and `first + 1`, values.
  absl::Status read_gain(OpKernelContext* context, const AttentionPlan& plan, int first,
                         AttentionGain* gain) const {
    const Tensor &scale = context->input(first), &values = context->input(first + 1);
    REQUIRE(scale.shape() == TensorShape({plan.batch, plan.channels}) &&
                values.shape() == TensorShape({plan.batch, plan.all_keys() + 1, plan.channels}),
            kUnfitting);
    *gain = {read<float>(scale), read<float>(values), normalize_};
    return absl::OkStatus();
  }

  static ScalePlan flat(const AttentionPlan& plan) {
    return {plan.batch, plan.positions(), plan.channels};
  }

  const int heads_;

 private:
  const bool normalize_;
};

template <typename T, typename Device>
class GainOp : public GainBase {
 public:
  using GainBase::GainBase;

 protected:
  absl::Status run(OpKernelContext* context) override {
    const Tensor& x = context->input(0);
    AttentionPlan plan;
    AttentionScores scores;
    AttentionGain gain;
    Epilogue epilogue;
    Element<T>* y;
    float* probabilities;
    TF_RETURN_IF_ERROR(read_scores(context, heads_, &plan, &scores));
    REQUIRE(Device::fits(plan), kTooManyKeys);
    TF_RETURN_IF_ERROR(read_gain(context, plan, 4, &gain));
    TF_RETURN_IF_ERROR(read_epilogue(context, 6, flat(plan), &epilogue));
    TF_RETURN_IF_ERROR(allocate<T>(context, 0, x.shape(), &y, true));
    TF_RETURN_IF_ERROR(allocate<float>(context, 1, probabilities_shape(plan), &probabilities));
    if (x.NumElements() == 0) return absl::OkStatus();
    return Device::template forward<T>(context, plan, read<T>(x), scores, gain, epilogue,
                                       probabilities, y);
  }
};

template <typename T, typename Device>
class GainGradientOp : public GainBase {
 public:
  explicit GainGradientOp(OpKernelConstruction* context)
      : GainBase(context), grid_columns_(attribute<int>(context, "grid_columns")) {}

 protected:
  absl::Status run(OpKernelContext* context) override {
    const Tensor &dy = context->input(0), &y = context->input(1);
    const Tensor &dprobabilities = context->input(2), &probabilities = context->input(3);
    const Tensor &x = context->input(4), &weights = context->input(5);
    AttentionPlan plan;
    AttentionGain gain;
    AttentionGainGradients gradients;
    Element<T>* dx;
    TF_RETURN_IF_ERROR(make_plan(x, weights, heads_, grid_columns_, &plan));
    REQUIRE(Device::fits(plan), kTooManyKeys);
    TF_RETURN_IF_ERROR(read_gain(context, plan, 6, &gain));
    REQUIRE(dy.shape() == x.shape() && y.shape() == x.shape() &&
                dprobabilities.shape() == probabilities_shape(plan) &&
                probabilities.shape() == probabilities_shape(plan),
            kUnfitting);
    TF_RETURN_IF_ERROR(allocate<T>(context, 0, x.shape(), &dx, Device::kInPlace));
    TF_RETURN_IF_ERROR(allocate_scores(context, plan, &gradients.scores));
    TF_RETURN_IF_ERROR(allocate<float>(context, 4, context->input(6).shape(), &gradients.scale));
    TF_RETURN_IF_ERROR(allocate<float>(context, 5, context->input(7).shape(), &gradients.values));
    TF_RETURN_IF_ERROR(allocate_epilogue(context, 6, flat(plan), &gradients.epilogue));
    return Device::template gradient<T>(context, plan, read<T>(dy), read<T>(y),
                                        read<float>(dprobabilities), read<float>(probabilities),
                                        read<T>(x), read<float>(weights), gain, slopes_, dx,
                                        gradients);
  }

 private:
  const int grid_columns_;
};

struct Cpu {
  static constexpr bool kInPlace = true;  // whether the gradient may replace what it comes from
  static bool fits(const AttentionPlan& plan) { return plan.keys <= kMaximumKeys; }

  template <typename T>
  static absl::Status forward(OpKernelContext* context, const AttentionPlan& plan,
                              const Element<T>* x, const AttentionScores& scores,
                              const AttentionGain& gain, const Epilogue& epilogue,
                              float* probabilities, Element<T>* y) {
    GainCpu<Element<T>>::forward(plan, x, scores, gain, epilogue, probabilities, y,
                                 threads_of(context));
    return absl::OkStatus();
  }

  template <typename T>
  static absl::Status gradient(OpKernelContext* context, const AttentionPlan& plan,
                               const Element<T>* dy, const Element<T>* y,
                               const float* dprobabilities, const float* probabilities,
                               const Element<T>* x, const float* weights, const AttentionGain& gain,
                               const Epilogue& epilogue, Element<T>* dx,
                               const AttentionGainGradients& gradients) {
    GainCpu<Element<T>>::gradient(plan, dy, y, dprobabilities, probabilities, x, weights, gain,
                                  epilogue, dx, gradients, threads_of(context));
    return absl::OkStatus();
  }
};
template <typename T> using GainOnCpu = GainOp<T, Cpu>;
template <typename T> using GainGradientOnCpu = GainGradientOp<T, Cpu>;
REGISTER_KERNELS("GansformerAttentionGain", DEVICE_CPU, GainOnCpu)
REGISTER_KERNELS("GansformerAttentionGainGradient", DEVICE_CPU, GainGradientOnCpu)

#ifdef GANSFORMER_CUDA
struct Gpu {
  static constexpr bool kInPlace = false;
  static bool fits(const AttentionPlan& plan) { return plan.all_keys() <= kMaximumKeysOnGpu; }

  template <typename T>
  static absl::Status forward(OpKernelContext* context, const AttentionPlan& plan,
                              const Element<T>* x, const AttentionScores& scores,
                              const AttentionGain& gain, const Epilogue& epilogue,
                              float* probabilities, Element<T>* y) {
    return status_of_cuda(gansformer_attention_gain_cuda(stream_of(context), &plan,
                                                         element_code<T>(), x, &scores, &gain,
                                                         &epilogue, probabilities, y));
  }

  template <typename T>
  static absl::Status gradient(OpKernelContext* context, const AttentionPlan& plan,
                               const Element<T>* dy, const Element<T>* y,
                               const float* dprobabilities, const float* probabilities,
                               const Element<T>* x, const float* weights, const AttentionGain& gain,
                               const Epilogue& epilogue, Element<T>* dx,
                               const AttentionGainGradients& gradients) {
    REQUIRE(plan.batch * plan.positions() > 0, "x is empty");
    const std::int64_t size = gansformer_attention_gain_workspace(&plan);
    Tensor workspace;
    TF_RETURN_IF_ERROR(
        context->allocate_temp(tensorflow::DT_FLOAT, TensorShape({size}), &workspace));
    return status_of_cuda(gansformer_attention_gain_gradient_cuda(
        stream_of(context), &plan, element_code<T>(), dy, y, dprobabilities, probabilities, x,
        weights, &gain, &epilogue, dx, &gradients, workspace.flat<float>().data()));
  }
};
template <typename T> using GainOnGpu = GainOp<T, Gpu>;
template <typename T> using GainGradientOnGpu = GainGradientOp<T, Gpu>;
REGISTER_KERNELS("GansformerAttentionGain", DEVICE_GPU, GainOnGpu)
REGISTER_KERNELS("GansformerAttentionGainGradient", DEVICE_GPU, GainGradientOnGpu)
#endif

}  // namespace
}  // namespace gansformer
