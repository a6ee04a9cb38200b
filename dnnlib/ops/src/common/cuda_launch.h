// The C interface between the TensorFlow ops and what launches the CUDA kernels. Also callable from
// Python through ctypes.
//
// `stream` is a CUstream; all other pointers are device memory, except the structs. `element_type` is an
// ElementType. The functions return 0 or a CUresult; gansformer_cuda_error_text() describes it.
#pragma once

#include "attention/attention.h"
#include "bias_act/bias_act.h"
#include "stateless_random/stateless_random.h"
#include "upfirdn2d/upfirdn2d.h"

extern "C" {

int gansformer_upfirdn2d_cuda(void* stream, const gansformer::Upfirdn2dPlan* plan, int element_type,
                              const void* x, void* y);

int gansformer_bias_act_cuda(void* stream, const gansformer::BiasActPlan* plan, int element_type,
                             const void* x, const float* bias, void* y);

// Floats of scratch memory that the function below needs when db is wanted.
std::int64_t gansformer_bias_act_workspace(const gansformer::BiasActPlan* plan);

int gansformer_bias_act_gradient_cuda(void* stream, const gansformer::BiasActPlan* plan,
                                      int element_type, const void* dy, const float* dy_shift,
                                      const void* y, void* dx, float* db, float* workspace);

int gansformer_attention_gain_cuda(void* stream, const gansformer::AttentionPlan* plan,
                                   int element_type, const void* x,
                                   const gansformer::AttentionScores* scores,
                                   const gansformer::AttentionGain* gain,
                                   const gansformer::Epilogue* epilogue, float* probabilities,
                                   void* y);

// Floats of scratch memory that the function below needs.
std::int64_t gansformer_attention_gain_workspace(const gansformer::AttentionPlan* plan);

// dx must not be dy.
int gansformer_attention_gain_gradient_cuda(
    void* stream, const gansformer::AttentionPlan* plan, int element_type, const void* dy,
    const void* y, const float* dprobabilities, const float* probabilities, const void* x,
    const float* weights, const gansformer::AttentionGain* gain,
    const gansformer::Epilogue* epilogue, void* dx,
    const gansformer::AttentionGainGradients* gradients, float* workspace);

// seeds: [rows, 2], y: [rows, numbers].
int gansformer_stateless_random_cuda(void* stream, const gansformer::StatelessRandomPlan* plan,
                                     const std::int64_t* seeds, float* y);

const char* gansformer_cuda_error_text(int error);

// Adds kernels for GPUs of a compute capability (such as 90): what NVRTC has made of a .cu file.
void gansformer_add_cuda_code(int capability, const char* image, std::int64_t size);
}
