// The attributes, inputs and outputs of TensorFlow ops that have an epilogue.
#pragma once

#include "common/op.h"
#include "epilogue/epilogue.h"

namespace gansformer {

#define EPILOGUE_ATTRIBUTES .Attr("alpha: float = 1").Attr("gain: float = 1")

class EpilogueOp : public Op {
 public:
  explicit EpilogueOp(OpKernelConstruction* context)
      : Op(context),
        slopes_{nullptr, 0, nullptr, attribute<float>(context, "alpha"),
                attribute<float>(context, "gain")},
        want_epilogue_(context->HasAttr("want_epilogue") &&
                       attribute<bool>(context, "want_epilogue")) {
    OP_REQUIRES(context, slopes_.alpha > 0 && slopes_.gain > 0,
                absl::InvalidArgumentError("alpha and gain must be positive"));
  }

 protected:
  // Reads the inputs `first`, noise, and `first + 1`, bias, which are empty for "none".
  absl::Status read_epilogue(OpKernelContext* context, int first, const ScalePlan& plan,
                             Epilogue* epilogue) const {
    const Tensor &noise = context->input(first), &bias = context->input(first + 1);
    const std::int64_t count = noise.NumElements(), pixels = plan.pixels;
    REQUIRE((count == 0 || count == pixels || count == plan.batch * pixels) &&
                (bias.NumElements() == 0 || bias.NumElements() == plan.channels),
            "noise or bias do not fit x");
    *epilogue = slopes_;
    epilogue->noise = read_or_null(noise), epilogue->bias = read_or_null(bias);
    epilogue->noise_samples = count == pixels ? 1 : plan.batch;
    return absl::OkStatus();
  }

  // Allocates outputs `first` and `first + 1`: what is sent to noise and bias, empty unless wanted.
  absl::Status allocate_epilogue(OpKernelContext* context, int first, const ScalePlan& plan,
                                 EpilogueGradients* gradients) const {
    const TensorShape none({0}), noise({plan.batch, plan.pixels}), bias({plan.channels});
    TF_RETURN_IF_ERROR(
        allocate<float>(context, first, want_epilogue_ ? noise : none, &gradients->noise));
    TF_RETURN_IF_ERROR(
        allocate<float>(context, first + 1, want_epilogue_ ? bias : none, &gradients->bias));
    if (!want_epilogue_) *gradients = {nullptr, nullptr};
    return absl::OkStatus();
  }

  const Epilogue slopes_;  // without noise and bias: what the gradient needs

 private:
  const bool want_epilogue_;
};

// The shapes of the outputs of allocate_epilogue, where x is the input number `x` of the op.
inline absl::Status set_epilogue_shapes(InferenceContext* c, int first, int x) {
  bool wanted;
  TF_RETURN_IF_ERROR(c->GetAttr("want_epilogue", &wanted));
  auto pixels = c->RankKnown(c->input(x)) ? c->MakeDim(1) : c->UnknownDim();
  for (int i = 1; i < c->Rank(c->input(x)) - 1; ++i) {
    TF_RETURN_IF_ERROR(c->Multiply(pixels, c->Dim(c->input(x), i), &pixels));
  }
  const auto batch = c->Dim(c->input(x), 0), channels = c->Dim(c->input(x), -1);
  c->set_output(first, wanted ? c->MakeShape({batch, pixels}) : c->Vector(0));
  c->set_output(first + 1, wanted ? c->Vector(channels) : c->Vector(0));
  return absl::OkStatus();
}

}  // namespace gansformer
