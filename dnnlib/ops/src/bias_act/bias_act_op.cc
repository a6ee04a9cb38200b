// The TensorFlow op bias_act and its gradient, for CPUs and GPUs.
#include "bias_act/bias_act.h"

#include <limits>

#include "common/op.h"

namespace gansformer {
namespace {

REGISTER_OP("GansformerBiasAct")
    .Input("x: T")
    .Input("bias: float")
    .Output("y: T")
    .Attr(ELEMENT_TYPES)
    .Attr("alpha: float")
    .Attr("gain: float")
    .Attr("clamp: float")
    .Attr("bias_gain: float = 1.0")
    .SetShapeFn(shapes_of_inputs<0>);

REGISTER_OP("GansformerBiasActGradient")
    .Input("dy: T")
    .Input("dy_shift: float")
    .Input("y: T")
    .Output("dx: T")
    .Output("db: float")
    .Attr(ELEMENT_TYPES)
    .Attr("alpha: float")
    .Attr("gain: float")
    .Attr("clamp: float")
    .Attr("bias_gain: float = 1.0")
    .Attr("want_bias_gradient: bool")
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      bool want_sums;
      TF_RETURN_IF_ERROR(c->GetAttr("want_bias_gradient", &want_sums));
      c->set_output(0, c->input(0));
      c->set_output(1, want_sums ? c->Vector(c->Dim(c->input(0), -1)) : c->Vector(0));
      return absl::OkStatus();
    });

class BiasActBase : public Op {
 public:
  explicit BiasActBase(OpKernelConstruction* context) : Op(context) {
    plan_.alpha = attribute<float>(context, "alpha");
    plan_.gain = attribute<float>(context, "gain");
    plan_.clamp = attribute<float>(context, "clamp");
    plan_.bias_gain = attribute<float>(context, "bias_gain");
    if (plan_.clamp < 0) plan_.clamp = std::numeric_limits<float>::infinity();
    OP_REQUIRES(context, plan_.alpha > 0 && plan_.gain > 0,
                absl::InvalidArgumentError("alpha and gain must be positive"));
  }

 protected:
  // Of x [..., channels] and a vector that must be empty or [channels].
  absl::Status make_plan(const Tensor& x, const Tensor& vector, BiasActPlan* plan) const {
    REQUIRE(x.dims() >= 1, "x must have channels");
    *plan = plan_;
    plan->channels = x.dim_size(x.dims() - 1);
    plan->rows = plan->channels == 0 ? 0 : x.NumElements() / plan->channels;
    REQUIRE(vector.NumElements() == 0 || vector.NumElements() == plan->channels,
            "shapes do not fit together");
    return absl::OkStatus();
  }

 private:
  BiasActPlan plan_ = {};
};

template <typename T, typename Device>
class BiasActOp : public BiasActBase {
 public:
  using BiasActBase::BiasActBase;

 protected:
  absl::Status run(OpKernelContext* context) override {
    const Tensor &x = context->input(0), &bias = context->input(1);
    BiasActPlan plan;
    Element<T>* y;
    TF_RETURN_IF_ERROR(make_plan(x, bias, &plan));
    TF_RETURN_IF_ERROR(allocate<T>(context, 0, x.shape(), &y, true));
    if (x.NumElements() == 0) return absl::OkStatus();
    return Device::template forward<T>(context, plan, read<T>(x), read_or_null(bias), y);
  }
};

template <typename T, typename Device>
class BiasActGradientOp : public BiasActBase {
 public:
  explicit BiasActGradientOp(OpKernelConstruction* context)
      : BiasActBase(context), want_sums_(attribute<bool>(context, "want_bias_gradient")) {}

 protected:
  absl::Status run(OpKernelContext* context) override {
    const Tensor &dy = context->input(0), &dy_shift = context->input(1), &y = context->input(2);
    BiasActPlan plan;
    Element<T>* dx;
    float* db;
    TF_RETURN_IF_ERROR(make_plan(dy, dy_shift, &plan));
    REQUIRE(y.shape() == dy.shape(), "shapes do not fit together");
    TF_RETURN_IF_ERROR(allocate<T>(context, 0, dy.shape(), &dx, true));
    const TensorShape vector({want_sums_ ? plan.channels : 0});
    TF_RETURN_IF_ERROR(allocate<float>(context, 1, vector, &db));
    if (plan.channels == 0) return absl::OkStatus();
    return Device::template gradient<T>(context, plan, read<T>(dy), read_or_null(dy_shift),
                                        read<T>(y), dx, want_sums_ ? db : nullptr);
  }

 private:
  const bool want_sums_;
};

struct Cpu {
  template <typename T>
  static absl::Status forward(OpKernelContext* context, const BiasActPlan& plan, const Element<T>* x,
                              const float* bias, Element<T>* y) {
    BiasActCpu<Element<T>>::forward(plan, x, bias, y, threads_of(context));
    return absl::OkStatus();
  }

  template <typename T>
  static absl::Status gradient(OpKernelContext* context, const BiasActPlan& plan,
                               const Element<T>* dy, const float* dy_shift, const Element<T>* y,
                               Element<T>* dx, float* db) {
    BiasActCpu<Element<T>>::gradient(plan, dy, dy_shift, y, dx, db, threads_of(context));
    return absl::OkStatus();
  }
};
template <typename T> using BiasActOnCpu = BiasActOp<T, Cpu>;
template <typename T> using BiasActGradientOnCpu = BiasActGradientOp<T, Cpu>;
REGISTER_KERNELS("GansformerBiasAct", DEVICE_CPU, BiasActOnCpu)
REGISTER_KERNELS("GansformerBiasActGradient", DEVICE_CPU, BiasActGradientOnCpu)

#ifdef GANSFORMER_CUDA
struct Gpu {
  template <typename T>
  static absl::Status forward(OpKernelContext* context, const BiasActPlan& plan, const Element<T>* x,
                              const float* bias, Element<T>* y) {
    return status_of_cuda(
        gansformer_bias_act_cuda(stream_of(context), &plan, element_code<T>(), x, bias, y));
  }

  template <typename T>
  static absl::Status gradient(OpKernelContext* context, const BiasActPlan& plan,
                               const Element<T>* dy, const float* dy_shift, const Element<T>* y,
                               Element<T>* dx, float* db) {
    const std::int64_t size = db == nullptr ? 0 : gansformer_bias_act_workspace(&plan);
    Tensor workspace;
    TF_RETURN_IF_ERROR(
        context->allocate_temp(tensorflow::DT_FLOAT, TensorShape({size}), &workspace));
    return status_of_cuda(gansformer_bias_act_gradient_cuda(
        stream_of(context), &plan, element_code<T>(), dy, dy_shift, y, dx, db,
        workspace.flat<float>().data()));
  }
};
template <typename T> using BiasActOnGpu = BiasActOp<T, Gpu>;
template <typename T> using BiasActGradientOnGpu = BiasActGradientOp<T, Gpu>;
REGISTER_KERNELS("GansformerBiasAct", DEVICE_GPU, BiasActOnGpu)
REGISTER_KERNELS("GansformerBiasActGradient", DEVICE_GPU, BiasActGradientOnGpu)
#endif

}  // namespace
}  // namespace gansformer
