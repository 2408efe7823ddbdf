// Layer normalisation of rows of c numbers, forward and backward. Formulas, shapes and names: layer_norm.py.
//
//   version  idea                                              expected gain            from
//   v1       one block a row; two passes: the mean, then       the baseline             sm_75
//            squared deviations
//   v2       one warp a row: no barriers; one pass (Welford);  forward reads x twice    sm_75
//            16-byte loads; dgamma and dbeta in two stages,    in place of 3 times; the
//            whose loads coalesce                              sums: 8 times fewer
//                                                              sectors
//
// Facts    sectors of 32 bytes in all, for 128 rows of 128: forward v1 14,592, v2 10,496; backward with its sums v1
//          57,600, v2 20,256. Nothing spills on sm_75, 80, 90 or 100; v2 loads 16 bytes at a time on each of them.
//
// v1 is written in `real`, v2 in float. The sums over rows are in norm.cuh.

#include "common.cuh"
#include "norm.cuh"

// ---------------------------------------------------------------- v1: one block a row

extern "C" __global__ void layer_norm_v1(
    const real* x, const real* gamma, const real* beta, real* y, real* mu, real* rstd, int c, real eps) {
  x += (size_t)blockIdx.x * c, y += (size_t)blockIdx.x * c;
  real sum = 0, square = 0;
  for (int k = threadIdx.x; k < c; k += blockDim.x) sum += x[k];
  const real mean = block_sum(sum) / max(c, 1);
  for (int k = threadIdx.x; k < c; k += blockDim.x) square += (x[k] - mean) * (x[k] - mean);
  const real scale = 1 / sqrt(block_sum(square) / max(c, 1) + eps);
  if (threadIdx.x == 0) mu[blockIdx.x] = mean, rstd[blockIdx.x] = scale;
  for (int k = threadIdx.x; k < c; k += blockDim.x) y[k] = (x[k] - mean) * scale * gamma[k] + beta[k];
}

extern "C" __global__ void layer_norm_grad_v1(
    const real* dy, const real* x, const real* gamma, const real* mu, const real* rstd, real* dx, int c) {
  const real mean = mu[blockIdx.x], scale = rstd[blockIdx.x];
  dy += (size_t)blockIdx.x * c, x += (size_t)blockIdx.x * c, dx += (size_t)blockIdx.x * c;
  real sum = 0, product = 0;
  for (int k = threadIdx.x; k < c; k += blockDim.x) {
    sum += dy[k] * gamma[k];
    product += dy[k] * gamma[k] * ((x[k] - mean) * scale);
  }
  const real mean_dxhat = block_sum(sum) / max(c, 1), mean_dxhat_xhat = block_sum(product) / max(c, 1);
  for (int k = threadIdx.x; k < c; k += blockDim.x)
    dx[k] = scale * (dy[k] * gamma[k] - mean_dxhat - (x[k] - mean) * scale * mean_dxhat_xhat);
}

// ---------------------------------------------------------------- v2: one warp a row
//
// The warps past the last row leave whole: what follows synchronises lanes, not warps.

#define ROW_OF_WARP                                \
  const int row = blockIdx.x * WARPS + WARP;       \
  if (row >= rows) return;

extern "C" __global__ void __launch_bounds__(THREADS, 4) layer_norm_v2(
    const float* __restrict__ x, const float* __restrict__ gamma, const float* __restrict__ beta,
    float* __restrict__ y, float* __restrict__ mu, float* __restrict__ rstd, int rows, int c, float eps) {
  ROW_OF_WARP
  x += (size_t)row * c, y += (size_t)row * c;
  Moments moments = {0, 0, 0};
  for (int k = LANE * PACK; k < c; k += 32 * PACK) {
    const Pack number = load_pack(x + k);
    for (int q = 0; q < PACK; ++q) include(moments, number.v[q]);
  }
  moments = warp_merge(moments);
  const float mean = moments.mean, scale = rstd_of(moments, eps);
  if (LANE == 0) mu[row] = mean, rstd[row] = scale;

  for (int k = LANE * PACK; k < c; k += 32 * PACK) {
    Pack number = load_pack(x + k);
    const Pack slope = load_pack(gamma + k), shift = load_pack(beta + k);
    for (int q = 0; q < PACK; ++q) number.v[q] = (number.v[q] - mean) * scale * slope.v[q] + shift.v[q];
    store_pack(y + k, number);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 4) layer_norm_grad_v2(
    const float* __restrict__ dy, const float* __restrict__ x, const float* __restrict__ gamma,
    const float* __restrict__ mu, const float* __restrict__ rstd, float* __restrict__ dx, int rows, int c) {
  ROW_OF_WARP
  const float mean = mu[row], scale = rstd[row];
  dy += (size_t)row * c, x += (size_t)row * c, dx += (size_t)row * c;
  float sum = 0, product = 0;
  for (int k = LANE * PACK; k < c; k += 32 * PACK) {
    const Pack given = load_pack(dy + k), number = load_pack(x + k), slope = load_pack(gamma + k);
    for (int q = 0; q < PACK; ++q) {
      sum += given.v[q] * slope.v[q];
      product += given.v[q] * slope.v[q] * ((number.v[q] - mean) * scale);
    }
  }
  const float mean_dxhat = warp_sum(sum) / c, mean_dxhat_xhat = warp_sum(product) / c;

  for (int k = LANE * PACK; k < c; k += 32 * PACK) {
    Pack given = load_pack(dy + k);
    const Pack number = load_pack(x + k), slope = load_pack(gamma + k);
    for (int q = 0; q < PACK; ++q) {
      const float xhat = (number.v[q] - mean) * scale;
      given.v[q] = scale * (given.v[q] * slope.v[q] - mean_dxhat - xhat * mean_dxhat_xhat);
    }
    store_pack(dx + k, given);
  }
}
