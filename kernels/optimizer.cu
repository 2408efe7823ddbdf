// Optimiser steps on flat vectors: optimizer.py has the equations.
//
//   version   idea                                                     expected gain                        least
//   v1        a thread an element; `real`, any alignment               -                                    sm_75
//             norm: a sum a thread, then a tree in shared memory
//   v2        a thread four neighbours, in 16-byte loads and stores    a quarter of the instructions, so    sm_75
//             norm: the tree within a warp in registers                that memory alone is the limit;
//                                                                      one barrier instead of eight
//
// A step reads and writes every vector once and computes next to nothing. Launched one after the other, clipping, step
// and average would each fetch the vectors anew. Each number is read into a register first: after a store the compiler
// would have to read again, as the vectors might overlap.
//
// FACTS    AdamW of 16,384 elements (python -m benchmarks cuda-facts): v1 asks 3,584 times, v2 896; both read 8,192
//          sectors and write 6,144, which is the least

#include "common.cuh"

#define ELEMENT if (const unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n)

// ---------------------------------------------------------------- the equations, for one element

#define SGD(p, g, b)                            \
  b = momentum * b + (scale * g + decay * p);   \
  p -= lr * b;

#define RMSPROP(p, g, v)                                              \
  v = alpha * v + one_minus_alpha * (scale * g) * (scale * g);        \
  p -= lr * (scale * g) / (sqrt(v) + eps);

// lr and root hold the bias corrections: lr / (1 - beta1^k) and 1 / sqrt(1 - beta2^k)

#define ADAMW(p, g, m, v)                                             \
  m = beta1 * m + one_minus_beta1 * (scale * g);                      \
  v = beta2 * v + one_minus_beta2 * (scale * g) * (scale * g);        \
  p = shrink * p - lr * m / (sqrt(v) * root + eps);

#define ADAMW_SCALARS                                                                                   \
  real scale, real beta1, real one_minus_beta1, real beta2, real one_minus_beta2, real lr, real root,   \
      real eps, real shrink

#define AVERAGE(e, p) e += one_minus_d * (p - e);

// ---------------------------------------------------------------- v1: a thread an element

extern "C" __global__ void sgd_v1(
    real* p, const real* g, real* b, real scale, real lr, real momentum, real decay, int n) {
  ELEMENT {
    real p1 = p[i], b1 = b[i];
    SGD(p1, g[i], b1)
    p[i] = p1, b[i] = b1;
  }
}

extern "C" __global__ void rmsprop_v1(
    real* p, const real* g, real* v, real scale, real lr, real alpha, real one_minus_alpha, real eps, int n) {
  ELEMENT {
    real p1 = p[i], v1 = v[i];
    const real g1 = g[i];
    RMSPROP(p1, g1, v1)
    p[i] = p1, v[i] = v1;
  }
}

#define ADAMW_OF_ONE                              \
  real p1 = p[i], m1 = m[i], v1 = v[i];           \
  const real g1 = g[i];                           \
  ADAMW(p1, g1, m1, v1)                           \
  p[i] = p1, m[i] = m1, v[i] = v1;

#define AVERAGE_OF_ONE                            \
  real e1 = ema[i];                               \
  AVERAGE(e1, p1)                                 \
  ema[i] = e1;

extern "C" __global__ void adamw_v1(real* p, const real* g, real* m, real* v, ADAMW_SCALARS, int n) {
  ELEMENT { ADAMW_OF_ONE }
}

extern "C" __global__ void adamw_ema_v1(
    real* p, const real* g, real* m, real* v, real* ema, ADAMW_SCALARS, real one_minus_d, int n) {
  ELEMENT {
    ADAMW_OF_ONE
    AVERAGE_OF_ONE
  }
}

extern "C" __global__ void ema_v1(real* ema, const real* p, real one_minus_d, int n) {
  ELEMENT {
    const real p1 = p[i];
    AVERAGE_OF_ONE
  }
}

// ---------------------------------------------------------------- v2: a thread four neighbours; n counts quadruples

extern "C" __global__ void sgd_v2(
    float* p, const float* g, float* b, float scale, float lr, float momentum, float decay, int n) {
  ELEMENT {
    float4 p4 = load4(p + 4 * i), b4 = load4(b + 4 * i);
    const float4 g4 = load4(g + 4 * i);
    SGD(p4.x, g4.x, b4.x)
    SGD(p4.y, g4.y, b4.y)
    SGD(p4.z, g4.z, b4.z)
    SGD(p4.w, g4.w, b4.w)
    store4(p + 4 * i, p4);
    store4(b + 4 * i, b4);
  }
}

extern "C" __global__ void rmsprop_v2(
    float* p, const float* g, float* v, float scale, float lr, float alpha, float one_minus_alpha, float eps, int n) {
  ELEMENT {
    float4 p4 = load4(p + 4 * i), v4 = load4(v + 4 * i);
    const float4 g4 = load4(g + 4 * i);
    RMSPROP(p4.x, g4.x, v4.x)
    RMSPROP(p4.y, g4.y, v4.y)
    RMSPROP(p4.z, g4.z, v4.z)
    RMSPROP(p4.w, g4.w, v4.w)
    store4(p + 4 * i, p4);
    store4(v + 4 * i, v4);
  }
}

#define ADAMW_OF_FOUR                                                                   \
  float4 p4 = load4(p + 4 * i), m4 = load4(m + 4 * i), v4 = load4(v + 4 * i);           \
  const float4 g4 = load4(g + 4 * i);                                                   \
  ADAMW(p4.x, g4.x, m4.x, v4.x)                                                         \
  ADAMW(p4.y, g4.y, m4.y, v4.y)                                                         \
  ADAMW(p4.z, g4.z, m4.z, v4.z)                                                         \
  ADAMW(p4.w, g4.w, m4.w, v4.w)                                                         \
  store4(p + 4 * i, p4);                                                                \
  store4(m + 4 * i, m4);                                                                \
  store4(v + 4 * i, v4);

#define AVERAGE_OF_FOUR                  \
  float4 e4 = load4(ema + 4 * i);        \
  AVERAGE(e4.x, p4.x)                    \
  AVERAGE(e4.y, p4.y)                    \
  AVERAGE(e4.z, p4.z)                    \
  AVERAGE(e4.w, p4.w)                    \
  store4(ema + 4 * i, e4);

extern "C" __global__ void adamw_v2(float* p, const float* g, float* m, float* v, ADAMW_SCALARS, int n) {
  ELEMENT { ADAMW_OF_FOUR }
}

extern "C" __global__ void adamw_ema_v2(
    float* p, const float* g, float* m, float* v, float* ema, ADAMW_SCALARS, float one_minus_d, int n) {
  ELEMENT {
    ADAMW_OF_FOUR
    AVERAGE_OF_FOUR
  }
}

extern "C" __global__ void ema_v2(float* ema, const float* p, float one_minus_d, int n) {
  ELEMENT {
    const float4 p4 = load4(p + 4 * i);
    AVERAGE_OF_FOUR
  }
}

// ---------------------------------------------------------------- the sum of squares
//
// sums[block] = the sum over the elements block * 256 + thread, and every gridDim.x * 256 further on. The grid follows
// from n alone, so the order of adding, and with it every bit, is that of the run before. All in float64.

#define STRIDE (gridDim.x * blockDim.x)

extern "C" __global__ void square_norm_v1(const real* g, double* sums, int n) {
  __shared__ double of_thread[256];
  double sum = 0;
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += STRIDE) sum += (double)g[i] * g[i];
  of_thread[threadIdx.x] = sum;
  for (unsigned half = blockDim.x / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) of_thread[threadIdx.x] += of_thread[threadIdx.x + half];
  }
  if (threadIdx.x == 0) sums[blockIdx.x] = of_thread[0];
}

__device__ __forceinline__ double sum_of_warp(double v) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(ALL_LANES, v, step);
  return v;
}

extern "C" __global__ void square_norm_v2(const float* g, double* sums, int n) {
  __shared__ double of_warp[32];
  double sum = 0;
  for (unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += STRIDE) {
    const float4 a = load4(g + 4 * i);
    sum += (double)a.x * a.x + (double)a.y * a.y + (double)a.z * a.z + (double)a.w * a.w;
  }
  sum = sum_of_warp(sum);
  if (LANE == 0) of_warp[WARP] = sum;
  __syncthreads();
  sum = sum_of_warp(LANE < WARPS ? of_warp[LANE] : 0.0);
  if (threadIdx.x == 0) sums[blockIdx.x] = sum;
}

// One warp adds up what the blocks have found.

extern "C" __global__ void total_v1(const double* sums, double* total, int n) {
  double sum = 0;
  for (int i = LANE; i < n; i += 32) sum += sums[i];
  sum = sum_of_warp(sum);
  if (LANE == 0) *total = sum;
}
