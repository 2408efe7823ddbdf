// What group norm, layer norm and batch norm share.
//
// All three standardise rows x (rows, c) with statistics mu and rstd. Row r and channel k belong to statistic
//
//     r / p * groups + k / size        size = c / groups
//
// where   group norm   p positions a sample, groups of channels
//         layer norm   p = 1, groups = 1: one statistic a row
//         batch norm   p = rows, groups = c: one statistic a channel

#define THREADS 256

// ---------------------------------------------------------------- who takes which numbers
//
// How the threads of a block share (p, size): neighbours take neighbouring packs of a row, so that their loads
// coalesce, and a thread keeps its column from row to row, so that it can sum it. What is left over of the block has
// no line.
struct Share { int column, columns, line, lines; };

__device__ __forceinline__ Share share_of(int size) {
  const int columns = min(size / PACK, (int)blockDim.x), lines = blockDim.x / columns, line = threadIdx.x / columns;
  return {(int)threadIdx.x % columns, columns, line < lines ? line : 0x7fffffff, lines};
}

// ---------------------------------------------------------------- mean and variance in one pass
//
// E[x^2] - E[x]^2 cancels where |mean| >> deviation. Welford's running mean and sum of squared deviations do not; nor
// does merging two of them. Source: Chan, Golub and LeVeque, Updating Formulae and a Pairwise Algorithm for Computing
// Sample Variances, 1979, eq. 2.1

struct Moments { float n, mean, m2; };

__device__ __forceinline__ void include(Moments& a, float x) {
  const float d = x - a.mean;
  a.n += 1;
  a.mean += d / a.n;
  a.m2 += d * (x - a.mean);
}

__device__ __forceinline__ Moments merge(Moments a, Moments b) {
  const float n = a.n + b.n, d = b.mean - a.mean;
  if (n == 0) return a;
  return {n, a.mean + d * (b.n / n), a.m2 + b.m2 + d * d * (a.n * b.n / n)};
}

// merge(a, b) and merge(b, a) may differ in the last bit, so lane 0 gathers and then tells the others.
__device__ __forceinline__ Moments warp_merge(Moments a) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) {
    const Moments b = {
        __shfl_down_sync(ALL_LANES, a.n, step),
        __shfl_down_sync(ALL_LANES, a.mean, step),
        __shfl_down_sync(ALL_LANES, a.m2, step)};
    a = merge(a, b);
  }
  return {__shfl_sync(ALL_LANES, a.n, 0), __shfl_sync(ALL_LANES, a.mean, 0), __shfl_sync(ALL_LANES, a.m2, 0)};
}

__device__ Moments block_merge(Moments a) {
  __shared__ Moments of_warp[32];
  a = warp_merge(a);
  __syncthreads();
  if (LANE == 0) of_warp[WARP] = a;
  __syncthreads();
  const Moments none = {0, 0, 0};
  return warp_merge(LANE < WARPS ? of_warp[LANE] : none);
}

__device__ __forceinline__ float rstd_of(Moments a, float eps) { return 1 / sqrt(a.m2 / max(a.n, 1.0f) + eps); }

// ---------------------------------------------------------------- SiLU behind the norm

__device__ __forceinline__ real silu_of(real z) { return z / (1 + exp(-z)); }

__device__ __forceinline__ real through_silu(real dy, real z) {
  const real s = 1 / (1 + exp(-z));
  return dy * s * (1 + z * (1 - s));
}

// ---------------------------------------------------------------- dbeta = sum of dz, dgamma = sum of dz xhat
//
// v1: one block a channel, whose threads read numbers that are c apart. beta is read with SiLU only.

extern "C" __global__ void channel_sums_v1(
    const real* dy, const real* x, const real* gamma, const real* beta, const real* mu, const real* rstd,
    real* dgamma, real* dbeta, int rows, int c, int p, int groups, int silu) {
  const int k = blockIdx.x, size = c / groups;
  real sum = 0, product = 0;
  for (int r = threadIdx.x; r < rows; r += blockDim.x) {
    const int s = r / p * groups + k / size, at = r * c + k;
    const real xhat = (x[at] - mu[s]) * rstd[s];
    const real dz = silu ? through_silu(dy[at], xhat * gamma[k] + beta[k]) : dy[at];
    sum += dz;
    product += dz * xhat;
  }
  sum = block_sum(sum);
  product = block_sum(product);
  if (threadIdx.x == 0) dbeta[k] = sum, dgamma[k] = product;
}

// v2, in two stages without atomics, so in an order that no timing can change. First, every block sums its own rows:
// each thread down its column, then the lines of the block pairwise, halving their number at each barrier.

__device__ void add_lines(Share share, Pack& sum, Pack& product) {
  __shared__ Pack sums[THREADS], products[THREADS];
  __syncthreads();
  sums[threadIdx.x] = sum, products[threadIdx.x] = product;
  for (int lines = share.lines; lines > 1; lines = (lines + 1) / 2) {
    __syncthreads();
    if (share.line >= lines / 2) continue;
    const int other = threadIdx.x + (lines + 1) / 2 * share.columns;
    const Pack more_sum = sums[other], more_product = products[other];
    for (int q = 0; q < PACK; ++q) {
      sum.v[q] += more_sum.v[q];
      product.v[q] += more_product.v[q];
    }
    sums[threadIdx.x] = sum, products[threadIdx.x] = product;
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 4) channel_sums_v2(
    const float* dy, const float* x, const float* mu, const float* rstd, float* parts,
    int rows, int rows_a_block, int c, int p, int groups) {
  const Share share = share_of(c);
  const int size = c / groups, first = blockIdx.x * rows_a_block, last = min(first + rows_a_block, rows);
  parts += (size_t)blockIdx.x * 2 * c;
  for (int tile = 0; tile < c; tile += share.columns * PACK) {
    const int k = tile + share.column * PACK;
    Pack sum = {}, product = {};
    for (int r = share.line; k < c && r < last - first; r += share.lines) {
      const int row = first + r;
      const Pack dz = load_pack(dy + row * c + k), number = load_pack(x + row * c + k);
      for (int q = 0; q < PACK; ++q) {
        const int s = row / p * groups + (k + q) / size;
        sum.v[q] += dz.v[q];
        product.v[q] += dz.v[q] * ((number.v[q] - mu[s]) * rstd[s]);
      }
    }
    add_lines(share, sum, product);
    if (share.line == 0 && k < c) store_pack(parts + k, sum), store_pack(parts + c + k, product);
  }
}

// Then one block a channel adds the blocks' parts (parts, 2, c).

extern "C" __global__ void add_parts(
    const float* of_block, float* dgamma, float* dbeta, int parts, int c) {
  float sum = 0, product = 0;
  for (int i = threadIdx.x; i < parts; i += blockDim.x) {
    sum += of_block[2 * i * c + blockIdx.x];
    product += of_block[(2 * i + 1) * c + blockIdx.x];
  }
  sum = block_sum(sum);
  product = block_sum(product);
  if (threadIdx.x == 0) dbeta[blockIdx.x] = sum, dgamma[blockIdx.x] = product;
}
