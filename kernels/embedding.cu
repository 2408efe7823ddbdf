// Embedding and its gradient: embedding.py has the formulas.
//
//   version   idea                                                     expected gain                        least
//   v1        a thread a number of the result                          -                                    sm_75
//   v2        a thread four neighbours, in 16-byte loads and stores    a quarter of the index arithmetic    sm_75
//                                                                      and of the instructions
//
// The gradient of a row of W is a sum over all the places where its index stands. Atomic additions would make it in an
// order, and so to bits, that change from run to run. Instead a stable sort of the indices brings the places together,
// each row's in their original order. Each number of dW then has one thread that finds where its row begins, and adds
// up, always in that order. No two threads write to one place.
//
// FACTS    256 rows of 64 from a table of 128 (python -m benchmarks cuda-facts): v1 asks 1,024 times, v2 256 times;
//          all sectors but the indices' are used whole

#include "common.cuh"

// ---------------------------------------------------------------- y_i = W[index_i]
//
// w (K, d), indices (n / d,), y (n / d, d): n numbers, or quadruples of numbers; d counts the same.

extern "C" __global__ void embedding_v1(const real* w, const long long* indices, real* y, int d, int n) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = w[(int)indices[i / d] * d + i % d];
}

extern "C" __global__ void embedding_v2(const float* w, const long long* indices, float* y, int d, int n) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) store4(y + 4 * i, load4(w + 4 * ((int)indices[i / d] * d + i % d)));
}

// ---------------------------------------------------------------- dW[k] = sum of g_i over all i with index_i = k
//
// g (L, d), order (L,), in_order = indices[order] (L,), dw (K, d): n numbers, or quadruples; d counts the same.

// The first place in in_order whose number is not below k: halve what is in question until nothing is.

__device__ __forceinline__ int first_of(int k, const long long* in_order, int length) {
  int low = 0, high = length;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (in_order[middle] < k) low = middle + 1;
    else high = middle;
  }
  return low;
}

extern "C" __global__ void embedding_grad_v1(
    const real* g, const long long* order, const long long* in_order, real* dw, int length, int d, int n) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const int k = i / d, column = i % d;
  real sum = 0;
  for (int j = first_of(k, in_order, length); j < length && in_order[j] == k; j++) sum += g[(int)order[j] * d + column];
  dw[i] = sum;
}

extern "C" __global__ void embedding_grad_v2(
    const float* g, const long long* order, const long long* in_order, float* dw, int length, int d, int n) {
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const int k = i / d, column = i % d;
  float4 sum = make_float4(0, 0, 0, 0);
  for (int j = first_of(k, in_order, length); j < length && in_order[j] == k; j++)
    sum = fma4(1, load4(g + 4 * ((int)order[j] * d + column)), sum);
  store4(dw + 4 * i, sum);
}
