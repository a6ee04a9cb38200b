// The TensorFlow op upfirdn2d, for CPUs and GPUs.
#include "upfirdn2d/upfirdn2d.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "common/op.h"

namespace gansformer {
namespace {

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
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      ShapeHandle x;
      std::int64_t height, width;
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 4, &x));
      TF_RETURN_IF_ERROR(c->GetAttr("out_height", &height));
      TF_RETURN_IF_ERROR(c->GetAttr("out_width", &width));
      c->set_output(0, c->MakeShape({c->Dim(x, 0), c->MakeDim(height), c->MakeDim(width),
                                     c->Dim(x, 3)}));
      return absl::OkStatus();
    });

class Upfirdn2dBase : public Op {
 public:
  explicit Upfirdn2dBase(OpKernelConstruction* context) : Op(context) {
    const auto taps = attribute<std::vector<float>>(context, "taps");
    const auto up = attribute<std::vector<int>>(context, "up");
    const auto down = attribute<std::vector<int>>(context, "down");
    const auto padding = attribute<std::vector<int>>(context, "padding");
    const bool separable = attribute<bool>(context, "separable");
    const int height = attribute<int>(context, "kernel_height");
    const int width = attribute<int>(context, "kernel_width");
    const int expected = separable ? height + width : height * width;
    OP_REQUIRES(context,
                static_cast<int>(taps.size()) == expected && expected <= kMaximumTaps &&
                    up.size() == 2 && down.size() == 2 && padding.size() == 4 && up[0] > 0 &&
                    up[1] > 0 && down[0] > 0 && down[1] > 0,
                absl::InvalidArgumentError("inconsistent attributes"));
    plan_.out_height = attribute<int>(context, "out_height");
    plan_.out_width = attribute<int>(context, "out_width");
    plan_.kernel_height = height, plan_.kernel_width = width, plan_.separable = separable;
    plan_.up_y = up[0], plan_.up_x = up[1], plan_.down_y = down[0], plan_.down_x = down[1];
    plan_.pad_top = padding[0], plan_.pad_left = padding[2];
    pad_bottom_ = padding[1], pad_right_ = padding[3];
    std::copy(taps.begin(), taps.end(), plan_.taps);
  }

 protected:
  absl::Status make_plan(const Tensor& x, Upfirdn2dPlan* plan) const {
    REQUIRE(x.dims() == 4, "x must be [B, H, W, C]");
    REQUIRE(x.dim_size(0) <= kMaximum && x.dim_size(1) <= kMaximum &&
                x.dim_size(2) * x.dim_size(3) <= kMaximum,
            "x has more than 2^31 images, rows, or elements in a row");
    *plan = plan_;
    plan->batch = x.dim_size(0), plan->in_height = x.dim_size(1);
    plan->in_width = x.dim_size(2), plan->channels = x.dim_size(3);
    REQUIRE(fits(plan->in_height * plan->up_y + plan->pad_top + pad_bottom_ - plan->kernel_height,
                 plan->down_y, plan->out_height) &&
                fits(plan->in_width * plan->up_x + plan->pad_left + pad_right_ - plan->kernel_width,
                     plan->down_x, plan->out_width),
            "the output size does not fit the shape of x");
    return absl::OkStatus();
  }

 private:
  static bool fits(int span, int down, int out) { return span >= 0 && span / down + 1 == out; }

  static constexpr std::int64_t kMaximum = std::numeric_limits<int>::max();
  Upfirdn2dPlan plan_ = {};
  int pad_bottom_ = 0, pad_right_ = 0;
};

template <typename T, typename Device>
class Upfirdn2dOp : public Upfirdn2dBase {
 public:
  using Upfirdn2dBase::Upfirdn2dBase;

 protected:
  absl::Status run(OpKernelContext* context) override {
    const Tensor& x = context->input(0);
    Upfirdn2dPlan plan;
    Element<T>* y;
    TF_RETURN_IF_ERROR(make_plan(x, &plan));
    const TensorShape shape({plan.batch, plan.out_height, plan.out_width, plan.channels});
    TF_RETURN_IF_ERROR(allocate<T>(context, 0, shape, &y));
    if (shape.num_elements() == 0) return absl::OkStatus();
    return Device::template upfirdn2d<T>(context, plan, read<T>(x), y);
  }
};

struct Cpu {
  template <typename T>
  static absl::Status upfirdn2d(OpKernelContext* context, const Upfirdn2dPlan& plan,
                                const Element<T>* x, Element<T>* y) {
    Upfirdn2dCpu<Element<T>>::run(plan, x, y, threads_of(context));
    return absl::OkStatus();
  }
};
template <typename T> using Upfirdn2dOnCpu = Upfirdn2dOp<T, Cpu>;
REGISTER_KERNELS("GansformerUpfirdn2d", DEVICE_CPU, Upfirdn2dOnCpu)

#ifdef GANSFORMER_CUDA
struct Gpu {
  template <typename T>
  static absl::Status upfirdn2d(OpKernelContext* context, const Upfirdn2dPlan& plan,
                                const Element<T>* x, Element<T>* y) {
    return status_of_cuda(
        gansformer_upfirdn2d_cuda(stream_of(context), &plan, element_code<T>(), x, y));
  }
};
template <typename T> using Upfirdn2dOnGpu = Upfirdn2dOp<T, Gpu>;
REGISTER_KERNELS("GansformerUpfirdn2d", DEVICE_GPU, Upfirdn2dOnGpu)
#endif

}  // namespace
}  // namespace gansformer
