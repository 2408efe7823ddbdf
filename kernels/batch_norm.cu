// Batch normalisation of rows of c channels, forward and backward. Formulas, shapes and names: batch_norm.py.
//
//   version  idea                                              expected gain            from
//   v1       one block a channel: its numbers are c apart,     the baseline             sm_75
//            so that a sector of 32 bytes brings one of them
//   v2       blocks of whole rows, 16-byte loads; moments      8 times fewer sectors;   sm_75
//            (Welford) and sums in two stages; a last kernel   all multiprocessors busy
//            over all numbers                                  however few the channels
//
// Facts    sectors of 32 bytes in all, for 512 rows of 32: forward v1 82,752, v2 7,680; backward v1 101,440, v2 15,328.
//          Nothing spills on sm_75, 80, 90 or 100; v2 loads 16 bytes at a time on each of them.
//
// v1 is written in `real`, v2 in float. The sums over rows are in norm.cuh.

#include "common.cuh"
#include "norm.cuh"

// ---------------------------------------------------------------- v1: one block a channel

extern "C" __global__ void batch_norm_v1(
    const real* x, const real* gamma, const real* beta, real* y, real* mu, real* var, int rows, int c, real eps) {
  const int k = blockIdx.x;
  real sum = 0, square = 0;
  for (int r = threadIdx.x; r < rows; r += blockDim.x) sum += x[r * c + k];
  const real mean = block_sum(sum) / rows;
  for (int r = threadIdx.x; r < rows; r += blockDim.x) square += (x[r * c + k] - mean) * (x[r * c + k] - mean);
  const real variance = block_sum(square) / rows, scale = gamma[k] / sqrt(variance + eps);
  if (threadIdx.x == 0) mu[k] = mean, var[k] = variance;
  for (int r = threadIdx.x; r < rows; r += blockDim.x) y[r * c + k] = (x[r * c + k] - mean) * scale + beta[k];
}

extern "C" __global__ void batch_norm_grad_v1(
    const real* dy, const real* x, const real* gamma, const real* mu, const real* rstd,
    real* dx, real* dgamma, real* dbeta, int rows, int c) {
  const int k = blockIdx.x;
  real sum = 0, product = 0;
  for (int r = threadIdx.x; r < rows; r += blockDim.x) {
    sum += dy[r * c + k];
    product += dy[r * c + k] * ((x[r * c + k] - mu[k]) * rstd[k]);
  }
  sum = block_sum(sum);
  product = block_sum(product);
  if (threadIdx.x == 0) dbeta[k] = sum, dgamma[k] = product;
  for (int r = threadIdx.x; r < rows; r += blockDim.x) {
    const real xhat = (x[r * c + k] - mu[k]) * rstd[k];
    dx[r * c + k] = gamma[k] * rstd[k] * (dy[r * c + k] - sum / rows - xhat * (product / rows));
  }
}

// ---------------------------------------------------------------- v2: blocks of rows
//
// First, the moments of every block's rows: down the columns, then the lines of the block pairwise, as in add_lines.

__device__ void merge_lines(Share share, Moments (&moments)[PACK]) {
  __shared__ Moments of_line[THREADS * PACK];
  const int mine = threadIdx.x * PACK;
  __syncthreads();
  for (int q = 0; q < PACK; ++q) of_line[mine + q] = moments[q];
  for (int lines = share.lines; lines > 1; lines = (lines + 1) / 2) {
    __syncthreads();
    if (share.line >= lines / 2) continue;
    const int other = mine + (lines + 1) / 2 * share.columns * PACK;
    for (int q = 0; q < PACK; ++q) of_line[mine + q] = moments[q] = merge(moments[q], of_line[other + q]);
  }
}

// parts (blocks, 3, c): number of rows, mean, squared deviations.

extern "C" __global__ void __launch_bounds__(THREADS, 4) batch_norm_moments_v2(
    const float* __restrict__ x, float* __restrict__ parts, int rows, int rows_a_block, int c) {
  const Share share = share_of(c);
  const int first = blockIdx.x * rows_a_block, last = min(first + rows_a_block, rows);
  parts += (size_t)blockIdx.x * 3 * c;
  for (int tile = 0; tile < c; tile += share.columns * PACK) {
    const int k = tile + share.column * PACK;
    Moments moments[PACK] = {};
    for (int r = share.line; k < c && r < last - first; r += share.lines) {
      const Pack number = load_pack(x + (first + r) * c + k);
      for (int q = 0; q < PACK; ++q) include(moments[q], number.v[q]);
    }
    merge_lines(share, moments);
    if (share.line > 0 || k >= c) continue;
    for (int q = 0; q < PACK; ++q) {
      parts[k + q] = moments[q].n;
      parts[c + k + q] = moments[q].mean;
      parts[2 * c + k + q] = moments[q].m2;
    }
  }
}

// Then one block a channel merges the parts.

extern "C" __global__ void batch_norm_merge_v2(const float* of_block, float* mu, float* var, int parts, int c) {
  const int k = blockIdx.x;
  Moments moments = {0, 0, 0};
  for (int i = threadIdx.x; i < parts; i += blockDim.x) {
    const float* part = of_block + 3 * i * c + k;
    moments = merge(moments, {part[0], part[c], part[2 * c]});
  }
  moments = block_merge(moments);
  if (threadIdx.x == 0) mu[k] = moments.mean, var[k] = moments.m2 / moments.n;
}

// Last, every block goes over its rows once more: a thread stays in its column, whose factors it computes once.

extern "C" __global__ void __launch_bounds__(THREADS, 4) batch_norm_apply_v2(
    const float* __restrict__ x, const float* __restrict__ gamma, const float* __restrict__ beta,
    const float* __restrict__ mu, const float* __restrict__ var, float* __restrict__ y,
    int rows, int rows_a_block, int c, float eps) {
  const Share share = share_of(c);
  const int first = blockIdx.x * rows_a_block, last = min(first + rows_a_block, rows);
  for (int k = share.column * PACK; k < c; k += share.columns * PACK) {
    const Pack mean = load_pack(mu + k), shift = load_pack(beta + k);
    Pack scale = load_pack(gamma + k);
    for (int q = 0; q < PACK; ++q) scale.v[q] /= sqrt(var[k + q] + eps);
    for (int r = share.line; r < last - first; r += share.lines) {
      Pack number = load_pack(x + (first + r) * c + k);
      for (int q = 0; q < PACK; ++q) number.v[q] = (number.v[q] - mean.v[q]) * scale.v[q] + shift.v[q];
      store_pack(y + (first + r) * c + k, number);
    }
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 4) batch_norm_grad_v2(
    const float* __restrict__ dy, const float* __restrict__ x, const float* __restrict__ gamma,
    const float* __restrict__ mu, const float* __restrict__ rstd, const float* __restrict__ dgamma,
    const float* __restrict__ dbeta, float* __restrict__ dx, int rows, int rows_a_block, int c) {
  const Share share = share_of(c);
  const int first = blockIdx.x * rows_a_block, last = min(first + rows_a_block, rows);
  for (int k = share.column * PACK; k < c; k += share.columns * PACK) {
    const Pack mean = load_pack(mu + k), scale = load_pack(rstd + k), slope = load_pack(gamma + k);
    const Pack sum = load_pack(dbeta + k), product = load_pack(dgamma + k);
    for (int r = share.line; r < last - first; r += share.lines) {
      Pack given = load_pack(dy + (first + r) * c + k);
      const Pack number = load_pack(x + (first + r) * c + k);
      for (int q = 0; q < PACK; ++q) {
        const float xhat = (number.v[q] - mean.v[q]) * scale.v[q];
        const float left = given.v[q] - sum.v[q] / rows - xhat * (product.v[q] / rows);
        given.v[q] = slope.v[q] * scale.v[q] * left;
      }
      store_pack(dx + (first + r) * c + k, given);
    }
  }
}
