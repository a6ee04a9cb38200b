// The TensorFlow op that draws the random numbers of a batch, on GPUs: empty without them.
#ifdef GANSFORMER_CUDA
#include "stateless_random/stateless_random.h"

#include "common/op.h"

namespace gansformer {
namespace {

REGISTER_OP("GansformerStatelessRandom")
    .Input("seeds: int64")
    .Output("y: float")
    .Attr("shape: shape")
    .Attr("distribution: {'normal', 'uniform'}")
    .SetShapeFn([](InferenceContext* c) -> absl::Status {
      tensorflow::PartialTensorShape shape;
      ShapeHandle seeds, row, y;
      TF_RETURN_IF_ERROR(c->GetAttr("shape", &shape));
      TF_RETURN_IF_ERROR(c->WithRank(c->input(0), 2, &seeds));
      TF_RETURN_IF_ERROR(c->MakeShapeFromPartialTensorShape(shape, &row));
      TF_RETURN_IF_ERROR(c->Concatenate(c->Vector(c->Dim(seeds, 0)), row, &y));
      c->set_output(0, y);
      return absl::OkStatus();
    });

class StatelessRandomOp : public Op {
 public:
  explicit StatelessRandomOp(OpKernelConstruction* context)
      : Op(context),
        shape_(attribute<TensorShape>(context, "shape")),
        normal_(attribute<std::string>(context, "distribution") == "normal") {}

 protected:
  absl::Status run(OpKernelContext* context) override {
    const Tensor& seeds = context->input(0);
    REQUIRE(seeds.dims() == 2 && seeds.dim_size(1) == 2, "seeds must be [B, 2]");
    TensorShape shape({seeds.dim_size(0)});
    shape.AppendShape(shape_);
    float* y;
    TF_RETURN_IF_ERROR(allocate<float>(context, 0, shape, &y));
    const StatelessRandomPlan plan = {seeds.dim_size(0), shape_.num_elements(), normal_};
    return status_of_cuda(gansformer_stateless_random_cuda(stream_of(context), &plan,
                                                           read<std::int64_t>(seeds), y));
  }

 private:
  const TensorShape shape_;
  const bool normal_;
};
REGISTER_KERNEL_BUILDER(Name("GansformerStatelessRandom").Device(tensorflow::DEVICE_GPU),
                        StatelessRandomOp)

}  // namespace
}  // namespace gansformer
#endif
