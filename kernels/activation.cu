// Activation functions and their gradients: activation.py has the formulas.
//
//   version   idea                                                     expected gain                        least
//   v1        a thread an element; `real`, any alignment               -                                    sm_75
//   v2        a thread four neighbours, in 16-byte loads and stores    a quarter of the instructions, so    sm_75
//                                                                      that memory alone is the limit
//
// All of them read and write 8 or 12 bytes an element and do some ten operations on it: far below what a GPU computes
// in the time, so the bytes decide.
//
// FACTS    silu of 16,384 elements (python -m benchmarks cuda-facts): v1 asks 512 times for 32 x 4 bytes, v2 128 times
//          for 32 x 16; both move 2,048 sectors each way, which is the least

#include "common.cuh"

#define ELEMENT if (const unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n)

// ---------------------------------------------------------------- the formulas

__device__ __forceinline__ real relu(real x) { return x > 0 || x != x ? x : real(0); }  // x != x keeps NaN visible
__device__ __forceinline__ real relu_grad(real g, real x) { return x > 0 ? g : real(0); }

__device__ __forceinline__ real leaky_relu(real x, real slope) { return x > 0 ? x : slope * x; }
__device__ __forceinline__ real leaky_relu_grad(real g, real x, real slope) { return x > 0 ? g : slope * g; }

__device__ __forceinline__ real sigmoid(real x) {
  const real e = exp(-fabs(x));  // never of a positive number: no overflow
  return (x >= 0 ? real(1) : e) / (real(1) + e);
}
__device__ __forceinline__ real sigmoid_grad(real g, real y) { return g * y * (real(1) - y); }

__device__ __forceinline__ real tanh_grad(real g, real y) { return g * (real(1) - y * y); }

__device__ __forceinline__ real softplus(real x) { return (x > 0 ? x : real(0)) + log1p(exp(-fabs(x))); }
__device__ __forceinline__ real softplus_grad(real g, real x) { return g * sigmoid(x); }

__device__ __forceinline__ real silu(real x) { return x * sigmoid(x); }
__device__ __forceinline__ real silu_grad(real g, real x) {
  const real s = sigmoid(x);
  return g * s * (real(1) + x * (real(1) - s));
}

__device__ __forceinline__ real gaussian_cdf(real x) { return real(0.5) * erfc(-x * real(0.70710678118654752)); }
__device__ __forceinline__ real gaussian_density(real x) {
  return exp(real(-0.5) * x * x) * real(0.39894228040143268);
}
__device__ __forceinline__ real gelu(real x) { return x * gaussian_cdf(x); }
__device__ __forceinline__ real gelu_grad(real g, real x) { return g * (gaussian_cdf(x) + x * gaussian_density(x)); }

// ---------------------------------------------------------------- v1: a thread an element
//
// n elements each. sigmoid_grad and tanh_grad are handed the result y in the place of x.

extern "C" __global__ void relu_v1(const real* x, real* y, int n) { ELEMENT y[i] = relu(x[i]); }
extern "C" __global__ void sigmoid_v1(const real* x, real* y, int n) { ELEMENT y[i] = sigmoid(x[i]); }
extern "C" __global__ void tanh_v1(const real* x, real* y, int n) { ELEMENT y[i] = tanh(x[i]); }
extern "C" __global__ void softplus_v1(const real* x, real* y, int n) { ELEMENT y[i] = softplus(x[i]); }
extern "C" __global__ void silu_v1(const real* x, real* y, int n) { ELEMENT y[i] = silu(x[i]); }
extern "C" __global__ void gelu_v1(const real* x, real* y, int n) { ELEMENT y[i] = gelu(x[i]); }
extern "C" __global__ void leaky_relu_v1(const real* x, real* y, real slope, int n) {
  ELEMENT y[i] = leaky_relu(x[i], slope);
}

extern "C" __global__ void relu_grad_v1(const real* g, const real* x, real* dx, int n) {
  ELEMENT dx[i] = relu_grad(g[i], x[i]);
}
extern "C" __global__ void sigmoid_grad_v1(const real* g, const real* x, real* dx, int n) {
  ELEMENT dx[i] = sigmoid_grad(g[i], x[i]);
}
extern "C" __global__ void tanh_grad_v1(const real* g, const real* x, real* dx, int n) {
  ELEMENT dx[i] = tanh_grad(g[i], x[i]);
}
extern "C" __global__ void softplus_grad_v1(const real* g, const real* x, real* dx, int n) {
  ELEMENT dx[i] = softplus_grad(g[i], x[i]);
}
extern "C" __global__ void silu_grad_v1(const real* g, const real* x, real* dx, int n) {
  ELEMENT dx[i] = silu_grad(g[i], x[i]);
}
extern "C" __global__ void gelu_grad_v1(const real* g, const real* x, real* dx, int n) {
  ELEMENT dx[i] = gelu_grad(g[i], x[i]);
}
extern "C" __global__ void leaky_relu_grad_v1(const real* g, const real* x, real* dx, real slope, int n) {
  ELEMENT dx[i] = leaky_relu_grad(g[i], x[i], slope);
}

// ---------------------------------------------------------------- v2: a thread four neighbours
//
// n counts quadruples here: the launcher comes this way only where four divides the number of elements.

#define FOUR(f)                                                   \
  ELEMENT {                                                       \
    const float4 a = load4(x + 4 * i);                            \
    store4(y + 4 * i, make_float4(f(a.x), f(a.y), f(a.z), f(a.w))); \
  }
#define FOUR_GRADS(f)                                                                     \
  ELEMENT {                                                                               \
    const float4 a = load4(g + 4 * i), b = load4(x + 4 * i);                              \
    store4(dx + 4 * i, make_float4(f(a.x, b.x), f(a.y, b.y), f(a.z, b.z), f(a.w, b.w))); \
  }

extern "C" __global__ void relu_v2(const float* x, float* y, int n) { FOUR(relu) }
extern "C" __global__ void sigmoid_v2(const float* x, float* y, int n) { FOUR(sigmoid) }
extern "C" __global__ void tanh_v2(const float* x, float* y, int n) { FOUR(tanh) }
extern "C" __global__ void softplus_v2(const float* x, float* y, int n) { FOUR(softplus) }
extern "C" __global__ void silu_v2(const float* x, float* y, int n) { FOUR(silu) }
extern "C" __global__ void gelu_v2(const float* x, float* y, int n) { FOUR(gelu) }
extern "C" __global__ void leaky_relu_v2(const float* x, float* y, float slope, int n) {
#define SLOPED(a) leaky_relu(a, slope)
  FOUR(SLOPED)
}

extern "C" __global__ void relu_grad_v2(const float* g, const float* x, float* dx, int n) {
  FOUR_GRADS(relu_grad)
}
extern "C" __global__ void sigmoid_grad_v2(const float* g, const float* x, float* dx, int n) {
  FOUR_GRADS(sigmoid_grad)
}
extern "C" __global__ void tanh_grad_v2(const float* g, const float* x, float* dx, int n) {
  FOUR_GRADS(tanh_grad)
}
extern "C" __global__ void softplus_grad_v2(const float* g, const float* x, float* dx, int n) {
  FOUR_GRADS(softplus_grad)
}
extern "C" __global__ void silu_grad_v2(const float* g, const float* x, float* dx, int n) {
  FOUR_GRADS(silu_grad)
}
extern "C" __global__ void gelu_grad_v2(const float* g, const float* x, float* dx, int n) {
  FOUR_GRADS(gelu_grad)
}
extern "C" __global__ void leaky_relu_grad_v2(const float* g, const float* x, float* dx, float slope, int n) {
#define SLOPED_GRAD(a, b) leaky_relu_grad(a, b, slope)
  FOUR_GRADS(SLOPED_GRAD)
}
