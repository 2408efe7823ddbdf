// Group normalisation, with or without SiLU, forward and backward. Formulas, shapes and names: group_norm.py.
//
//   version  idea                                              expected gain            from
//   v1       two passes: the mean, then squared deviations;    the baseline             sm_75
//            dgamma and dbeta in a kernel of their own
//   v2       one pass (Welford), 16-byte loads, no division    forward reads x twice    sm_75
//            in the loops; backward takes the channels' sums   in place of 3 times;
//            on the way, which are also what dx needs          backward reads x and dy
//                                                              twice in place of 3 times
//
// Facts    sectors of 32 bytes in all, for 2 x 256 positions of 32 channels in 4 groups: forward v1 11,280, v2 6,288;
//          backward with its sums v1 48,320, v2 11,792. Nothing spills on sm_75, 80, 90 or 100; v2 loads 16 bytes at a
//          time on each of them.
//
// One block owns one group of one sample: block = sample * groups + group. v1 is written in `real`, v2 in float.

#include "common.cuh"
#include "norm.cuh"

// ---------------------------------------------------------------- v1

// Element e of a group of p rows of `size` channels: its channel, and where it is from the group's first channel on.
#define ELEMENT(e) const int k = e % size, at = e / size * c + k;

extern "C" __global__ void group_norm_v1(
    const real* x, const real* gamma, const real* beta, real* y, real* mu, real* rstd,
    int p, int c, int groups, real eps, int silu) {
  const int size = c / groups, count = p * size, first = blockIdx.x % groups * size;
  const size_t start = (size_t)(blockIdx.x / groups) * p * c + first;
  x += start, y += start, gamma += first, beta += first;

  real sum = 0, square = 0;
  for (int e = threadIdx.x; e < count; e += blockDim.x) {
    ELEMENT(e)
    sum += x[at];
  }
  const real mean = block_sum(sum) / max(count, 1);
  for (int e = threadIdx.x; e < count; e += blockDim.x) {
    ELEMENT(e)
    square += (x[at] - mean) * (x[at] - mean);
  }
  const real scale = 1 / sqrt(block_sum(square) / max(count, 1) + eps);
  if (threadIdx.x == 0) mu[blockIdx.x] = mean, rstd[blockIdx.x] = scale;

  for (int e = threadIdx.x; e < count; e += blockDim.x) {
    ELEMENT(e)
    const real z = (x[at] - mean) * scale * gamma[k] + beta[k];
    y[at] = silu ? silu_of(z) : z;
  }
}

extern "C" __global__ void group_norm_grad_v1(
    const real* dy, const real* x, const real* gamma, const real* beta, const real* mu, const real* rstd, real* dx,
    int p, int c, int groups, int silu) {
  const int size = c / groups, count = p * size, first = blockIdx.x % groups * size;
  const size_t start = (size_t)(blockIdx.x / groups) * p * c + first;
  const real mean = mu[blockIdx.x], scale = rstd[blockIdx.x];
  dy += start, x += start, dx += start, gamma += first, beta += first;

  real sum = 0, product = 0;
  for (int e = threadIdx.x; e < count; e += blockDim.x) {
    ELEMENT(e)
    const real xhat = (x[at] - mean) * scale;
    const real dxhat = (silu ? through_silu(dy[at], xhat * gamma[k] + beta[k]) : dy[at]) * gamma[k];
    sum += dxhat;
    product += dxhat * xhat;
  }
  const real mean_dxhat = block_sum(sum) / max(count, 1), mean_dxhat_xhat = block_sum(product) / max(count, 1);

  for (int e = threadIdx.x; e < count; e += blockDim.x) {
    ELEMENT(e)
    const real xhat = (x[at] - mean) * scale;
    const real dxhat = (silu ? through_silu(dy[at], xhat * gamma[k] + beta[k]) : dy[at]) * gamma[k];
    dx[at] = scale * (dxhat - mean_dxhat - xhat * mean_dxhat_xhat);
  }
}

// ---------------------------------------------------------------- v2

extern "C" __global__ void __launch_bounds__(THREADS, 4) group_norm_v2(
    const float* __restrict__ x, const float* __restrict__ gamma, const float* __restrict__ beta,
    float* __restrict__ y, float* __restrict__ mu, float* __restrict__ rstd,
    int p, int c, int groups, float eps, int silu) {
  const int size = c / groups, first = blockIdx.x % groups * size;
  const size_t start = (size_t)(blockIdx.x / groups) * p * c + first;
  const Share share = share_of(size);
  x += start, y += start, gamma += first, beta += first;

  Moments moments = {0, 0, 0};
  for (int r = share.line; r < p; r += share.lines)
    for (int k = share.column * PACK; k < size; k += share.columns * PACK) {
      const Pack number = load_pack(x + r * c + k);
      for (int q = 0; q < PACK; ++q) include(moments, number.v[q]);
    }
  moments = block_merge(moments);
  const float mean = moments.mean, scale = rstd_of(moments, eps);
  if (threadIdx.x == 0) mu[blockIdx.x] = mean, rstd[blockIdx.x] = scale;

  for (int k = share.column * PACK; k < size; k += share.columns * PACK) {
    const Pack slope = load_pack(gamma + k), shift = load_pack(beta + k);
    for (int r = share.line; r < p; r += share.lines) {
      Pack number = load_pack(x + r * c + k);
      for (int q = 0; q < PACK; ++q) {
        const float z = (number.v[q] - mean) * scale * slope.v[q] + shift.v[q];
        number.v[q] = silu ? silu_of(z) : z;
      }
      store_pack(y + r * c + k, number);
    }
  }
}

// parts (n, 2, c): the sums for dbeta and dgamma of every sample, which add_parts adds up.

extern "C" __global__ void __launch_bounds__(THREADS, 4) group_norm_grad_v2(
    const float* __restrict__ dy, const float* __restrict__ x, const float* __restrict__ gamma,
    const float* __restrict__ beta, const float* __restrict__ mu, const float* __restrict__ rstd,
    float* __restrict__ dx, float* __restrict__ parts, int p, int c, int groups, int silu) {
  const int size = c / groups, first = blockIdx.x % groups * size, sample = blockIdx.x / groups;
  const size_t start = (size_t)sample * p * c + first;
  const float mean = mu[blockIdx.x], scale = rstd[blockIdx.x];
  const Share share = share_of(size);
  dy += start, x += start, dx += start, gamma += first, beta += first, parts += (size_t)sample * 2 * c + first;

  float of_dxhat = 0, of_dxhat_xhat = 0;
  for (int tile = 0; tile < size; tile += share.columns * PACK) {
    const int k = tile + share.column * PACK;
    Pack sum = {}, product = {};
    for (int r = share.line; k < size && r < p; r += share.lines) {
      const Pack given = load_pack(dy + r * c + k), number = load_pack(x + r * c + k);
      for (int q = 0; q < PACK; ++q) {
        const float xhat = (number.v[q] - mean) * scale;
        const float dz = silu ? through_silu(given.v[q], xhat * gamma[k + q] + beta[k + q]) : given.v[q];
        sum.v[q] += dz;
        product.v[q] += dz * xhat;
      }
    }
    add_lines(share, sum, product);
    if (share.line > 0 || k >= size) continue;
    store_pack(parts + k, sum), store_pack(parts + c + k, product);
    for (int q = 0; q < PACK; ++q) {
      of_dxhat += gamma[k + q] * sum.v[q];
      of_dxhat_xhat += gamma[k + q] * product.v[q];
    }
  }
  const float count = max(p * size, 1);
  const float mean_dxhat = block_sum(of_dxhat) / count, mean_dxhat_xhat = block_sum(of_dxhat_xhat) / count;

  for (int k = share.column * PACK; k < size; k += share.columns * PACK) {
    const Pack slope = load_pack(gamma + k), shift = load_pack(beta + k);
    for (int r = share.line; r < p; r += share.lines) {
      Pack given = load_pack(dy + r * c + k);
      const Pack number = load_pack(x + r * c + k);
      for (int q = 0; q < PACK; ++q) {
        const float xhat = (number.v[q] - mean) * scale, z = xhat * slope.v[q] + shift.v[q];
        const float dxhat = (silu ? through_silu(given.v[q], z) : given.v[q]) * slope.v[q];
        given.v[q] = scale * (dxhat - mean_dxhat - xhat * mean_dxhat_xhat);
      }
      store_pack(dx + r * c + k, given);
    }
  }
}
