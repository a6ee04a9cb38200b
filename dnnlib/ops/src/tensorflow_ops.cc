// The TensorFlow ops that run on CPUs and GPUs: attributes, shapes, memory, threads and streams.
#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "tensorflow_support.h"
#ifdef GANSFORMER_CUDA
#include "cuda_launch.h"
#include "xla/stream_executor/stream.h"
#endif

namespace gansformer {

// The device part of an op: the same calls for both devices.
struct Cpu {
  template <typename T>
  static void upfirdn2d(OpKernelContext* context, const Upfirdn2dPlan& plan, const Tensor& x,
                        Tensor* y) {
    upfirdn2d_cpu(plan, read<T>(x), write<T>(y), threads_of(context));
  }

  template <typename T>
  static void forward(OpKernelContext* context, const BiasActPlan& plan, const Tensor& x,
                      const Tensor& bias, Tensor* y) {
    bias_act_cpu(plan, read<T>(x), read_or_null(bias), write<T>(y), threads_of(context));
  }

  template <typename T>
  static void gradient(OpKernelContext* context, const BiasActPlan& plan, const Tensor& dy,
                       const Tensor& dy_shift, const Tensor& known, const Tensor& bias, Tensor* dx,
                       float* db) {
    bias_act_gradient_cpu(plan, read<T>(dy), read_or_null(dy_shift), read<T>(known),
                          read_or_null(bias), write<T>(dx), db, threads_of(context));
  }

  template <typename T>
  static void curvature(OpKernelContext* context, const BiasActPlan& plan, const Tensor& v,
                        const Tensor& v_shift, const Tensor& dy, const Tensor& x,
                        const Tensor& bias, Tensor* du, float* db) {
    bias_act_curvature_cpu(plan, read<T>(v), read_or_null(v_shift), read<T>(dy), read<T>(x),
                           read_or_null(bias), write<T>(du), db, threads_of(context));
  }
};

#ifdef GANSFORMER_CUDA
void* stream_of(OpKernelContext* context) {
  return context->op_device_context()->stream()->platform_specific_handle().stream;
}

void check(OpKernelContext* context, int error) {
  OP_REQUIRES(context, error == 0,
              absl::InternalError(std::string("gansformer CUDA kernel: ") +
                                  gansformer_cuda_error_text(error)));
}

struct Gpu {
  template <typename T>
  static void upfirdn2d(OpKernelContext* context, const Upfirdn2dPlan& plan, const Tensor& x,
                        Tensor* y) {
    check(context, gansformer_upfirdn2d_cuda(stream_of(context), &plan, Storage<T>::kCode,
                                             read<T>(x), write<T>(y)));
  }

  template <typename T>
  static void forward(OpKernelContext* context, const BiasActPlan& plan, const Tensor& x,
                      const Tensor& bias, Tensor* y) {
    check(context, gansformer_bias_act_cuda(stream_of(context), &plan, Storage<T>::kCode,
                                            read<T>(x), read_or_null(bias), write<T>(y)));
  }

  template <typename T>
  static void gradient(OpKernelContext* context, const BiasActPlan& plan, const Tensor& dy,
                       const Tensor& dy_shift, const Tensor& known, const Tensor& bias, Tensor* dx,
                       float* db) {
    Tensor workspace;
    if (!allocate_workspace(context, plan, db, &workspace)) return;
    check(context, gansformer_bias_act_gradient_cuda(
                       stream_of(context), &plan, Storage<T>::kCode, read<T>(dy),
                       read_or_null(dy_shift), read<T>(known), read_or_null(bias), write<T>(dx),
                       db, workspace.flat<float>().data()));
  }

  template <typename T>
  static void curvature(OpKernelContext* context, const BiasActPlan& plan, const Tensor& v,
                        const Tensor& v_shift, const Tensor& dy, const Tensor& x,
                        const Tensor& bias, Tensor* du, float* db) {
    Tensor workspace;
    if (!allocate_workspace(context, plan, db, &workspace)) return;
    check(context, gansformer_bias_act_curvature_cuda(
                       stream_of(context), &plan, Storage<T>::kCode, read<T>(v),
                       read_or_null(v_shift), read<T>(dy), read<T>(x), read_or_null(bias),
                       write<T>(du), db, workspace.flat<float>().data()));
  }

  static bool allocate_workspace(OpKernelContext* context, const BiasActPlan& plan,
                                 const float* db, Tensor* workspace) {
    const std::int64_t size = db == nullptr ? 0 : gansformer_bias_act_workspace(&plan);
    const auto status =
        context->allocate_temp(tensorflow::DT_FLOAT, TensorShape({size}), workspace);
    if (!status.ok()) context->CtxFailure(status);
    return status.ok();
  }
};
#endif

// ----- upfirdn2d -----

REGISTER_OP("GansformerUpfirdn2d")
    .Input("x: T")
    .Output("y: T")
    .Attr(ELEMENT_TYPES)
    .Attr("taps: list(float)")
    .Attr("kernel_height: int")
    .Attr("kernel_width: int")
    .Attr("separable: bool")
    .Attr("up: list(int)")
    .Attr("down: list(int)")
    .Attr("padding: list(int)")
    .Attr("out_height: int")
    .Attr("out_width: int")
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) -> absl::Status {
      tensorflow::shape_inference::ShapeHandle x;
      std::int64_t height, width;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->GetAttr("out_height", &height));
      TF_RETURN_IF_ERROR(c->GetAttr("out_width", &width));
      c->set_output(0, c->MakeShape({c->Dim(x, 0), c->MakeDim(height), c->MakeDim(width),
                                     c->Dim(x, 3)}));
      return absl::OkStatus();
    });

template <typename Device, typename T>
class Upfirdn2dOp : public OpKernel {
 public:
  explicit Upfirdn2dOp(OpKernelConstruction* context) : OpKernel(context) {
    std::vector<float> taps;
    std::vector<int> up, down, padding;
    bool separable;
    OP_REQUIRES_OK(context, context->GetAttr("taps", &taps));
    OP_REQUIRES_OK(context, context->GetAttr("up", &up));
    OP_REQUIRES_OK(context, context->GetAttr("down", &down));
    OP_REQUIRES_OK(context, context->GetAttr("padding", &padding));
    OP_REQUIRES_OK(context, context->GetAttr("separable", &separable));
    OP_REQUIRES_OK(context, context->GetAttr("kernel_height", &plan_.kernel_height));
    OP_REQUIRES_OK(context, context->GetAttr("kernel_width", &plan_.kernel_width));
    OP_REQUIRES_OK(context, context->GetAttr("out_height", &plan_.out_height));
    OP_REQUIRES_OK(context, context->GetAttr("out_width", &plan_.out_width));
    const int height = plan_.kernel_height, width = plan_.kernel_width;
    const int expected = separable ? height + width : height * width;
    OP_REQUIRES(context,
                static_cast<int>(taps.size()) == expected && expected <= kMaximumTaps &&
                    up.size() == 2 && down.size() == 2 && padding.size() == 4 && up[0] > 0 &&
                    up[1] > 0 && down[0] > 0 && down[1] > 0,
                absl::InvalidArgumentError("inconsistent attributes"));
    plan_.up_y = up[0], plan_.up_x = up[1], plan_.down_y = down[0], plan_.down_x = down[1];
    plan_.pad_top = padding[0], plan_.pad_left = padding[2], plan_.separable = separable;
    pad_bottom_ = padding[1], pad_right_ = padding[3];
    std::copy(taps.begin(), taps.end(), plan_.taps);
  }

  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(0);
    OP_REQUIRES(context, x.dims() == 4, absl::InvalidArgumentError("x must be [B, H, W, C]"));
    OP_REQUIRES(context, x.NumElements() < std::numeric_limits<int>::max(),
                absl::InvalidArgumentError("x has more than 2^31 elements"));
    Upfirdn2dPlan plan = plan_;
    plan.batch = x.dim_size(0), plan.in_height = x.dim_size(1);
    plan.in_width = x.dim_size(2), plan.channels = x.dim_size(3);
    OP_REQUIRES(context, is_consistent(plan),
                absl::InvalidArgumentError("the output size does not fit the shape of x"));
    Tensor* y = nullptr;
    const TensorShape shape({plan.batch, plan.out_height, plan.out_width, plan.channels});
    OP_REQUIRES_OK(context, context->allocate_output(0, shape, &y));
    if (y->NumElements() > 0) Device::template upfirdn2d<T>(context, plan, x, y);
  }

 private:
  bool is_consistent(const Upfirdn2dPlan& p) const {
    const int height = p.in_height * p.up_y + p.pad_top + pad_bottom_ - p.kernel_height;
    const int width = p.in_width * p.up_x + p.pad_left + pad_right_ - p.kernel_width;
    return height >= 0 && width >= 0 && height / p.down_y + 1 == p.out_height &&
           width / p.down_x + 1 == p.out_width;
  }

  Upfirdn2dPlan plan_ = {};
  int pad_bottom_ = 0, pad_right_ = 0;
};

// ----- bias_act -----

#define BIAS_ACT_ATTRIBUTES   \
  .Attr(ELEMENT_TYPES)        \
      .Attr("activation: int") \
      .Attr("alpha: float")   \
      .Attr("gain: float")    \
      .Attr("clamp: float")

absl::Status gradient_shapes(tensorflow::shape_inference::InferenceContext* c) {
  bool want_sums;
  TF_RETURN_IF_ERROR(c->GetAttr("want_bias_gradient", &want_sums));
  c->set_output(0, c->input(0));
  c->set_output(1, want_sums ? c->Vector(c->Dim(c->input(0), -1)) : c->Vector(0));
  return absl::OkStatus();
}

REGISTER_OP("GansformerBiasAct")
    .Input("x: T")
    .Input("bias: float")
    .Output("y: T") BIAS_ACT_ATTRIBUTES
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* c) -> absl::Status {
      c->set_output(0, c->input(0));
      return absl::OkStatus();
    });

REGISTER_OP("GansformerBiasActGradient")
    .Input("dy: T")
    .Input("dy_shift: float")
    .Input("known: T")
    .Input("bias: float")
    .Output("dx: T")
    .Output("db: float") BIAS_ACT_ATTRIBUTES
    .Attr("want_bias_gradient: bool")
    .SetShapeFn(gradient_shapes);

REGISTER_OP("GansformerBiasActCurvature")
    .Input("v: T")
    .Input("v_shift: float")
    .Input("dy: T")
    .Input("x: T")
    .Input("bias: float")
    .Output("du: T")
    .Output("db: float") BIAS_ACT_ATTRIBUTES
    .Attr("want_bias_gradient: bool")
    .SetShapeFn(gradient_shapes);

class BiasActBase : public OpKernel {
 public:
  explicit BiasActBase(OpKernelConstruction* context) : OpKernel(context) {
    OP_REQUIRES_OK(context, context->GetAttr("activation", &attributes_.activation));
    OP_REQUIRES_OK(context, context->GetAttr("alpha", &attributes_.alpha));
    OP_REQUIRES_OK(context, context->GetAttr("gain", &attributes_.gain));
    OP_REQUIRES_OK(context, context->GetAttr("clamp", &attributes_.clamp));
    if (attributes_.clamp < 0) attributes_.clamp = std::numeric_limits<float>::infinity();
    if (context->HasAttr("want_bias_gradient")) {
      OP_REQUIRES_OK(context, context->GetAttr("want_bias_gradient", &want_sums_));
    }
  }

 protected:
  // Inputs at `vectors` must be empty or [channels], those at `images` shaped like input 0.
  bool check_shapes(OpKernelContext* context, std::initializer_list<int> vectors,
                    std::initializer_list<int> images) const {
    const TensorShape& shape = context->input(0).shape();
    bool good = shape.dims() >= 1;
    for (int i : vectors) {
      const std::int64_t size = context->input(i).NumElements();
      good = good && (size == 0 || size == shape.dim_size(shape.dims() - 1));
    }
    for (int i : images) good = good && context->input(i).shape() == shape;
    if (!good) context->CtxFailure(absl::InvalidArgumentError("shapes do not fit together"));
    return good;
  }

  BiasActPlan plan_for(const Tensor& x) const {
    BiasActPlan plan = attributes_;
    plan.channels = x.dim_size(x.dims() - 1);
    plan.rows = plan.channels == 0 ? 0 : x.NumElements() / plan.channels;
    return plan;
  }

  BiasActPlan attributes_ = {};
  bool want_sums_ = false;
};

template <typename Device, typename T>
class BiasActOp : public BiasActBase {
 public:
  using BiasActBase::BiasActBase;

  void Compute(OpKernelContext* context) override {
    const Tensor& x = context->input(0);
    if (!check_shapes(context, {1}, {})) return;
    Tensor* y = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, x.shape(), &y));
    if (x.NumElements() == 0) return;
    Device::template forward<T>(context, plan_for(x), x, context->input(1), y);
  }
};

template <typename Device, typename T, bool kCurvature>
class BiasActDerivativeOp : public BiasActBase {
 public:
  using BiasActBase::BiasActBase;

  void Compute(OpKernelContext* context) override {
    const bool good = kCurvature ? check_shapes(context, {1, 4}, {2, 3})
                                 : check_shapes(context, {1, 3}, {2});
    if (!good) return;
    const Tensor& first = context->input(0);
    const BiasActPlan plan = plan_for(first);
    Tensor *dx = nullptr, *db = nullptr;
    OP_REQUIRES_OK(context, context->forward_input_or_allocate_output({0}, 0, first.shape(), &dx));
    OP_REQUIRES_OK(context, context->allocate_output(
                                1, TensorShape({want_sums_ ? plan.channels : 0}), &db));
    float* sums = want_sums_ ? db->template flat<float>().data() : nullptr;
    if (plan.channels == 0) return;
    if constexpr (kCurvature) {
      Device::template curvature<T>(context, plan, first, context->input(1), context->input(2),
                                    context->input(3), context->input(4), dx, sums);
    } else {
      Device::template gradient<T>(context, plan, first, context->input(1), context->input(2),
                                   context->input(3), dx, sums);
    }
  }
};

#define REGISTER(DEVICE, NAME, T)                                                                 \
  REGISTER_KERNEL_BUILDER(                                                                        \
      Name("GansformerUpfirdn2d").Device(NAME).TypeConstraint<T>("T"), Upfirdn2dOp<DEVICE, T>);   \
  REGISTER_KERNEL_BUILDER(Name("GansformerBiasAct").Device(NAME).TypeConstraint<T>("T"),          \
                          BiasActOp<DEVICE, T>);                                                  \
  REGISTER_KERNEL_BUILDER(Name("GansformerBiasActGradient").Device(NAME).TypeConstraint<T>("T"),  \
                          BiasActDerivativeOp<DEVICE, T, false>);                                 \
  REGISTER_KERNEL_BUILDER(Name("GansformerBiasActCurvature").Device(NAME).TypeConstraint<T>("T"), \
                          BiasActDerivativeOp<DEVICE, T, true>);

REGISTER(Cpu, tensorflow::DEVICE_CPU, float)
REGISTER(Cpu, tensorflow::DEVICE_CPU, tensorflow::bfloat16)
REGISTER(Cpu, tensorflow::DEVICE_CPU, Eigen::half)
#ifdef GANSFORMER_CUDA
REGISTER(Gpu, tensorflow::DEVICE_GPU, float)
REGISTER(Gpu, tensorflow::DEVICE_GPU, tensorflow::bfloat16)
REGISTER(Gpu, tensorflow::DEVICE_GPU, Eigen::half)
#endif

}  // namespace gansformer
