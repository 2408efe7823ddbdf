// Scaled dot-product attention, forward and backward. Formulas, shapes and names: attention.py.
//
//   version  idea                                              expected gain            from
//   v1       three kernels: all scores, softmax of every       the baseline             sm_75
//            row, weighted sums; backward likewise
//   v2       one kernel: keys and values pass by in tiles,     memory L in place of     sm_75
//            the softmax is corrected as its maximum grows;    L^2; tiles that no query
//            backward makes P again from lse                   may see cost nothing: a
//                                                              causal mask, half of all
//   v3       tensor cores: attention_tensor.cu                                          sm_80
//
// Facts    sectors of 32 bytes in all, for L = M = 64, D = 32, causal: forward v1 158,712, v2 6,152; backward
//          v1 336,952, v2 8,380. v2 has no bank conflicts, loads 16 bytes at a time, and spills on none of sm_75, 80,
//          90 and 100: up to 168 registers forward, 128 backward.
//
// v1 is written in `real`, v2 in float. D and E are the widths of q, k and of v, o. A mask is read where it lies, by
// its strides along the four axes that it is broadcast to.
//
// Source   Dao, FlashAttention-2, 2023, algorithms 1 and 2

#include "common.cuh"
#include "attention.cuh"

// ---------------------------------------------------------------- v1: S, P, O one after the other

// One thread a score: s (N, heads, L, M).
extern "C" __global__ void attention_scores_v1(
    const real* q, const real* k, real* s, int scores, int heads, int l, int m, int d, real scale MASK) {
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= scores) return;
  const int j = at % m, i = at / m % l, h = at / m / l % heads, n = at / m / l / heads;
  q += ((size_t)(n * l + i) * heads + h) * d;
  k += ((size_t)(n * m + j) * heads + h) * d;
  real sum = 0;
  for (int f = 0; f < d; ++f) sum += q[f] * k[f];
  s[at] = SEEN(i, j) ? scale * sum : -INFINITE;
}

// One warp a row of scores, which become probabilities in place.
extern "C" __global__ void attention_softmax_v1(real* s, real* lse, int rows, int m) {
  const int row = blockIdx.x * WARPS + WARP;
  if (row >= rows) return;
  s += (size_t)row * m;
  real top = -INFINITE, total = 0;
  for (int j = LANE; j < m; j += 32) top = max(top, s[j]);
  top = warp_max(top);
  if (top == -INFINITE) top = 0;  // no key to attend to: exp(-inf - 0) = 0 for every one of them
  for (int j = LANE; j < m; j += 32) total += exp(s[j] - top);
  total = warp_sum(total);
  for (int j = LANE; j < m; j += 32) s[j] = total == 0 ? 0 : exp(s[j] - top) / total;
  if (LANE == 0) lse[row] = top + log(total);
}

// One warp a row: scores become P, and ds (N, heads, L, M) is filled in.
extern "C" __global__ void attention_softmax_grad_v1(
    const real* d_o, const real* v, real* s, real* ds, const real* lse, int rows, int heads, int l, int m, int e) {
  const int row = blockIdx.x * WARPS + WARP;
  if (row >= rows) return;
  const int i = row % l, h = row / l % heads, n = row / l / heads;
  s += (size_t)row * m, ds += (size_t)row * m;
  d_o += ((size_t)(n * l + i) * heads + h) * e;
  v += ((size_t)n * m * heads + h) * e;
  const real shift = lse[row] == -INFINITE ? 0 : lse[row];
  real mean = 0;  // of dP under P
  for (int j = LANE; j < m; j += 32) {
    real dp = 0;
    for (int f = 0; f < e; ++f) dp += d_o[f] * v[j * heads * e + f];
    s[j] = exp(s[j] - shift);
    ds[j] = dp;
    mean += s[j] * dp;
  }
  mean = warp_sum(mean);
  for (int j = LANE; j < m; j += 32) ds[j] = s[j] * (ds[j] - mean);
}

// One thread a number of y (N, rows, heads, width) = factor * sum over c of w[r, c] x[c], for w with any two strides:
// O = P V, dQ = scale dS K, dK = scale dS^T Q, dV = P^T dO.
extern "C" __global__ void attention_weighted_sum_v1(
    const real* w, const real* x, real* y, int numbers, int heads, int rows, int columns, int width,
    int row_stride, int column_stride, real factor) {
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= numbers) return;
  const int f = at % width, h = at / width % heads, r = at / width / heads % rows, n = at / width / heads / rows;
  w += (size_t)(n * heads + h) * rows * columns + r * row_stride;
  x += ((size_t)n * columns * heads + h) * width + f;
  real sum = 0;
  for (int c = 0; c < columns; ++c) sum += w[c * column_stride] * x[c * heads * width];
  y[at] = factor * sum;
}

// ---------------------------------------------------------------- v2: tiles of keys pass by
//
// LANES neighbouring threads share a query, of which each holds CHUNKS times four numbers. Chunk c of thread PART of
// them begins at number 4 (c LANES + PART), so that neighbours read neighbouring banks of shared memory.

#define LANES (HEAD <= 64 ? 4 : HEAD / 16)
#define CHUNKS (HEAD / LANES / 4)
#define OWNERS (THREADS / LANES)  // groups of LANES threads
#define ROWS 2                    // queries that such a group takes forward: each number of a tile serves them all
#define TILE 16                   // keys that pass by at once; backward, keys or queries

#define PART (threadIdx.x % LANES)
#define OWNER (threadIdx.x / LANES)
#define CHUNK(c) ((c) * LANES + PART)

__device__ __forceinline__ void load_tile(
    float4 (&tile)[TILE][HEAD / 4], const float* x, int first, int rows, int width, int heads, int n, int h) {
  for (int at = threadIdx.x; at < TILE * HEAD / 4; at += THREADS) {
    const int r = at / (HEAD / 4), f = at % (HEAD / 4);
    tile[r][f] = first + r < rows ? row4(ROW_OF(x, first + r, rows, width), 4 * f, width) : make_float4(0, 0, 0, 0);
  }
}

__device__ __forceinline__ float sum_of_lanes(float v) {
#pragma unroll
  for (int step = LANES / 2; step > 0; step /= 2) v += __shfl_xor_sync(ALL_LANES, v, step);
  return v;
}

extern "C" __global__ void __launch_bounds__(THREADS, 3) attention_v2(
    const float* __restrict__ q, const float* __restrict__ k, const float* __restrict__ v, float* __restrict__ o,
    float* __restrict__ lse, int heads, int l, int m, int d, int e, float scale MASK) {
  __shared__ float4 keys[TILE][HEAD / 4], values[TILE][HEAD / 4];
  BLOCK_OF(l, ROWS * OWNERS)
  int query[ROWS];
  float top[ROWS], total[ROWS];
  float4 mine[ROWS][CHUNKS], sum[ROWS][CHUNKS];
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    query[r] = first + r * OWNERS + OWNER;
    top[r] = -INFINITE, total[r] = 0;
#pragma unroll
    for (int c = 0; c < CHUNKS; ++c) {
      sum[r][c] = mine[r][c] = make_float4(0, 0, 0, 0);
      if (query[r] < l) mine[r][c] = scale4(scale, row4(ROW_OF(q, query[r], l, d), 4 * CHUNK(c), d));
    }
  }

  for (int start = 0; start < m; start += TILE) {
    bool some = false;  // The vote is a barrier too: after it, nobody reads the tile before.
    for (int r = 0; r < ROWS; ++r)
      for (int j = start + PART; j < min(start + TILE, m); j += LANES) some |= query[r] < l && SEEN(query[r], j);
    if (!__syncthreads_or(some)) continue;
    load_tile(keys, k, start, m, d, heads, n, h);
    load_tile(values, v, start, m, e, heads, n, h);
    __syncthreads();

    float s[ROWS][TILE];
#pragma unroll
    for (int j = 0; j < TILE; ++j) {
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        s[r][j] = 0;
#pragma unroll
        for (int c = 0; c < CHUNKS; ++c) s[r][j] = dot4(mine[r][c], keys[j][CHUNK(c)], s[r][j]);
        s[r][j] = sum_of_lanes(s[r][j]);
        if (!(query[r] < l && start + j < m && SEEN(query[r], start + j))) s[r][j] = -INFINITE;
      }
    }

#pragma unroll
    for (int r = 0; r < ROWS; ++r) {
      const float before = top[r];
#pragma unroll
      for (int j = 0; j < TILE; ++j) top[r] = max(top[r], s[r][j]);
      const float shift = top[r] == -INFINITE ? 0 : top[r], correction = exp(before - shift);
      total[r] *= correction;
#pragma unroll
      for (int c = 0; c < CHUNKS; ++c) sum[r][c] = scale4(correction, sum[r][c]);
#pragma unroll
      for (int j = 0; j < TILE; ++j) total[r] += s[r][j] = exp(s[r][j] - shift);
    }

#pragma unroll
    for (int j = 0; j < TILE; ++j)
#pragma unroll
      for (int c = 0; c < CHUNKS; ++c) {
        const float4 value = values[j][CHUNK(c)];
#pragma unroll
        for (int r = 0; r < ROWS; ++r) sum[r][c] = fma4(s[r][j], value, sum[r][c]);
      }
  }

#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    if (query[r] >= l) continue;
    const float inverse = total[r] == 0 ? 0 : 1 / total[r];
#pragma unroll
    for (int c = 0; c < CHUNKS; ++c)
      store_row4(ROW_OF(o, query[r], l, e), 4 * CHUNK(c), e, scale4(inverse, sum[r][c]));
    if (PART == 0) lse[(n * heads + h) * l + query[r]] = (total[r] == 0 ? 0 : top[r]) + log(total[r]);
  }
}

// Backward over the keys, for a query each: from dS = P * (dP - <dP, P>),
//
//     dQ = scale dS K = scale (sum_j P_j dP_j k_j - <dP, P> sum_j P_j k_j)
//
// so that one sweep gives both sums and delta = <dP, P> (N, heads, L), which the sweep over the queries needs.
extern "C" __global__ void __launch_bounds__(THREADS, 4) attention_grad_queries_v2(
    const float* __restrict__ d_o, const float* __restrict__ q, const float* __restrict__ k,
    const float* __restrict__ v, const float* __restrict__ lse, float* __restrict__ dq, float* __restrict__ delta,
    int heads, int l, int m, int d, int e, float scale MASK) {
  __shared__ float4 keys[TILE][HEAD / 4], values[TILE][HEAD / 4];
  BLOCK_OF(l, OWNERS)
  const int query = first + OWNER, row = (n * heads + h) * l + query;
  const float shift = query < l && lse[row] != -INFINITE ? lse[row] : 0;
  float mean = 0;
  float4 mine[CHUNKS], given[CHUNKS], of_products[CHUNKS], of_keys[CHUNKS];
#pragma unroll
  for (int c = 0; c < CHUNKS; ++c) {
    mine[c] = given[c] = of_products[c] = of_keys[c] = make_float4(0, 0, 0, 0);
    if (query >= l) continue;
    mine[c] = scale4(scale, row4(ROW_OF(q, query, l, d), 4 * CHUNK(c), d));
    given[c] = row4(ROW_OF(d_o, query, l, e), 4 * CHUNK(c), e);
  }

  for (int start = 0; start < m; start += TILE) {
    bool some = false;
    for (int j = start + PART; j < min(start + TILE, m); j += LANES) some |= query < l && SEEN(query, j);
    if (!__syncthreads_or(some)) continue;
    load_tile(keys, k, start, m, d, heads, n, h);
    load_tile(values, v, start, m, e, heads, n, h);
    __syncthreads();

    for (int j = 0; j < TILE; ++j) {
      float s = 0, dp = 0;
#pragma unroll
      for (int c = 0; c < CHUNKS; ++c) {
        s = dot4(mine[c], keys[j][CHUNK(c)], s);
        dp = dot4(given[c], values[j][CHUNK(c)], dp);
      }
      s = sum_of_lanes(s);
      dp = sum_of_lanes(dp);
      const float p = query < l && start + j < m && SEEN(query, start + j) ? exp(s - shift) : 0;
      mean = fmaf(p, dp, mean);
#pragma unroll
      for (int c = 0; c < CHUNKS; ++c) {
        of_products[c] = fma4(p * dp, keys[j][CHUNK(c)], of_products[c]);
        of_keys[c] = fma4(p, keys[j][CHUNK(c)], of_keys[c]);
      }
    }
  }

  if (query >= l) return;
#pragma unroll
  for (int c = 0; c < CHUNKS; ++c)
    store_row4(ROW_OF(dq, query, l, d), 4 * CHUNK(c), d, scale4(scale, fma4(-mean, of_keys[c], of_products[c])));
  if (PART == 0) delta[row] = mean;
}

// Backward over the queries, for a key each.
extern "C" __global__ void __launch_bounds__(THREADS, 4) attention_grad_keys_v2(
    const float* __restrict__ d_o, const float* __restrict__ q, const float* __restrict__ k,
    const float* __restrict__ v, const float* __restrict__ lse, const float* __restrict__ delta,
    float* __restrict__ dk, float* __restrict__ dv, int heads, int l, int m, int d, int e, float scale MASK) {
  __shared__ float4 queries[TILE][HEAD / 4], gradients[TILE][HEAD / 4];
  __shared__ float shifts[TILE], means[TILE];
  BLOCK_OF(m, OWNERS)
  const int key = first + OWNER;
  float4 mine[CHUNKS], value[CHUNKS], of_key[CHUNKS], of_value[CHUNKS];
#pragma unroll
  for (int c = 0; c < CHUNKS; ++c) {
    mine[c] = value[c] = of_key[c] = of_value[c] = make_float4(0, 0, 0, 0);
    if (key >= m) continue;
    mine[c] = scale4(scale, row4(ROW_OF(k, key, m, d), 4 * CHUNK(c), d));
    value[c] = row4(ROW_OF(v, key, m, e), 4 * CHUNK(c), e);
  }

  for (int start = 0; start < l; start += TILE) {
    bool some = false;
    for (int i = start + PART; i < min(start + TILE, l); i += LANES) some |= key < m && SEEN(i, key);
    if (!__syncthreads_or(some)) continue;
    load_tile(queries, q, start, l, d, heads, n, h);
    load_tile(gradients, d_o, start, l, e, heads, n, h);
    if (threadIdx.x < TILE && start + threadIdx.x < l) {
      const int row = (n * heads + h) * l + start + threadIdx.x;
      shifts[threadIdx.x] = lse[row] == -INFINITE ? 0 : lse[row];
      means[threadIdx.x] = delta[row];
    }
    __syncthreads();

    for (int i = 0; i < min(TILE, l - start); ++i) {
      float s = 0, dp = 0;
#pragma unroll
      for (int c = 0; c < CHUNKS; ++c) {
        s = dot4(mine[c], queries[i][CHUNK(c)], s);
        dp = dot4(value[c], gradients[i][CHUNK(c)], dp);
      }
      s = sum_of_lanes(s);
      dp = sum_of_lanes(dp);
      const float p = key < m && SEEN(start + i, key) ? exp(s - shifts[i]) : 0, ds = p * (dp - means[i]);
#pragma unroll
      for (int c = 0; c < CHUNKS; ++c) {
        of_key[c] = fma4(ds, queries[i][CHUNK(c)], of_key[c]);
        of_value[c] = fma4(p, gradients[i][CHUNK(c)], of_value[c]);
      }
    }
  }

  if (key >= m) return;
#pragma unroll
  for (int c = 0; c < CHUNKS; ++c) {
    store_row4(ROW_OF(dk, key, m, d), 4 * CHUNK(c), d, scale4(scale, of_key[c]));
    store_row4(ROW_OF(dv, key, m, e), 4 * CHUNK(c), e, of_value[c]);
  }
}
