// Softmax and its logarithm over rows of k numbers, and their gradients. Formulas, shapes and names: softmax.py.
//
//   version  idea                                              expected gain            from
//   v1       one thread a row: three sweeps over it            the baseline             sm_75
//   v2       ROW neighbouring threads a row: a warp where      coalesced loads: 8       sm_75
//            it is short, a block where it is long; maximum    times fewer sectors;
//            and total in one sweep, by rescaling the total    2 sweeps in place of 3
//            whenever the maximum grows
//
// Facts    sectors of 32 bytes a request, rows of 64: v1 32.0, v2 4.0, which is the least. No version spills on sm_75,
//          80, 90 or 100; v2 takes 28 to 49 registers.
//
// v1 is written in `real`; v2 computes in float32.

#include "common.cuh"

// ---------------------------------------------------------------- v1: one thread a row

#define ROW_OF_THREAD                                    \
  const int row = blockIdx.x * blockDim.x + threadIdx.x; \
  if (row >= rows) return;

__device__ real largest(const real* x, int k) {
  real top = -INFINITE;
  for (int j = 0; j < k; ++j) top = max(top, x[j]);
  return top;
}

extern "C" __global__ void softmax_v1(const real* x, real* y, int rows, int k) {
  ROW_OF_THREAD
  x += (size_t)row * k, y += (size_t)row * k;
  const real top = largest(x, k);
  real total = 0;
  for (int j = 0; j < k; ++j) total += exp(x[j] - top);
  for (int j = 0; j < k; ++j) y[j] = exp(x[j] - top) / total;
}

extern "C" __global__ void softmax_grad_v1(const real* g, const real* y, real* dx, int rows, int k) {
  ROW_OF_THREAD
  g += (size_t)row * k, y += (size_t)row * k, dx += (size_t)row * k;
  real mean = 0;  // of g under y
  for (int j = 0; j < k; ++j) mean += g[j] * y[j];
  for (int j = 0; j < k; ++j) dx[j] = y[j] * (g[j] - mean);
}

extern "C" __global__ void log_softmax_v1(const real* x, real* y, int rows, int k) {
  ROW_OF_THREAD
  x += (size_t)row * k, y += (size_t)row * k;
  const real top = largest(x, k);
  real total = 0;
  for (int j = 0; j < k; ++j) total += exp(x[j] - top);
  const real log_total = log(total);
  for (int j = 0; j < k; ++j) y[j] = (x[j] - top) - log_total;
}

extern "C" __global__ void log_softmax_grad_v1(const real* g, const real* y, real* dx, int rows, int k) {
  ROW_OF_THREAD
  g += (size_t)row * k, y += (size_t)row * k, dx += (size_t)row * k;
  real total = 0;
  for (int j = 0; j < k; ++j) total += g[j];
  for (int j = 0; j < k; ++j) dx[j] = g[j] - exp(y[j]) * total;
}

// ---------------------------------------------------------------- v2: ROW threads a row

#ifndef ROW
#define ROW 32
#endif

#if ROW == 32
#define row_sum warp_sum
#define row_max warp_max
#else  // the whole block
#define row_sum block_sum
#define row_max block_max
#endif

// With ROW < blockDim.x, the threads of a row without numbers leave together: they are a whole warp.
#define ROW_OF_THREADS                                                    \
  const int row = (blockIdx.x * blockDim.x + threadIdx.x) / ROW;          \
  const int first = threadIdx.x % ROW;                                    \
  if (row >= rows) return;

struct Top { float value, total; };  // the maximum, and the sum of exp(x - maximum)

// A maximum of -inf would make exp(-inf - -inf) of a row that begins with -inf, so it starts at the lowest float.
#define LOWEST -3.402823466e38f

__device__ Top top_of_row(const float* x, int first, int k) {
  Top mine = {LOWEST, 0};
  for (int j = first; j < k; j += ROW) {
    if (x[j] > mine.value) {
      mine.total *= exp(mine.value - x[j]);
      mine.value = x[j];
    }
    mine.total += exp(x[j] - mine.value);
  }
  const float value = row_max(mine.value);
  const float total = row_sum(mine.total * exp(mine.value - value));
  return {value, total};
}

extern "C" __global__ void softmax_v2(const float* x, float* y, int rows, int k) {
  ROW_OF_THREADS
  x += (size_t)row * k, y += (size_t)row * k;
  const Top top = top_of_row(x, first, k);
  for (int j = first; j < k; j += ROW) y[j] = exp(x[j] - top.value) / top.total;
}

extern "C" __global__ void softmax_grad_v2(const float* g, const float* y, float* dx, int rows, int k) {
  ROW_OF_THREADS
  g += (size_t)row * k, y += (size_t)row * k, dx += (size_t)row * k;
  float mean = 0;
  for (int j = first; j < k; j += ROW) mean += g[j] * y[j];
  mean = row_sum(mean);
  for (int j = first; j < k; j += ROW) dx[j] = y[j] * (g[j] - mean);
}

extern "C" __global__ void log_softmax_v2(const float* x, float* y, int rows, int k) {
  ROW_OF_THREADS
  x += (size_t)row * k, y += (size_t)row * k;
  const Top top = top_of_row(x, first, k);
  const float log_total = log(top.total);
  for (int j = first; j < k; j += ROW) y[j] = (x[j] - top.value) - log_total;
}

extern "C" __global__ void log_softmax_grad_v2(const float* g, const float* y, float* dx, int rows, int k) {
  ROW_OF_THREADS
  g += (size_t)row * k, y += (size_t)row * k, dx += (size_t)row * k;
  float total = 0;
  for (int j = first; j < k; j += ROW) total += g[j];
  total = row_sum(total);
  for (int j = first; j < k; j += ROW) dx[j] = g[j] - exp(y[j]) * total;
}
