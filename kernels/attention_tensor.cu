// Attention on tensor cores. Formulas, shapes and names: attention.py; which lane holds which number: mma.cuh.
//
//   version  idea                                              expected gain            from
//   v3       attention.cu's v2 on tensor cores: products of    8 times the products a   sm_80
//            halves, sums in float32. Only where asked for:    second
//            q, k, v and P keep 11 bits, and must stay below
//            65504
//
// Facts    HMMA instructions with heads of 16, 64, 128: forward 8, 32, 64; backward, the sweeps over the keys 12, 48,
//          96, that over the queries 16, 64, none. Nothing spills on sm_80, 90 or 100: up to 233 registers.
//
// A warp owns 16 rows (queries; in the last kernel keys) and keeps them in registers as the left matrices of products.
// A block of four warps lets PASS columns at a time pass by, as halves in shared memory, in two forms:
//
//   upright  word w of row r holds numbers 2w, 2w + 1 of it: the right matrix of S = Q K^T, whose sums run along rows
//   turned   word w of row f holds number f of rows 2w, 2w + 1: that of O = P V, whose sums run from row to row
//
// The four words that each row is longer send the rows that a warp reads at once to different banks.

#include "common.cuh"
#include "mma.cuh"
#include "attention.cuh"

#define PASS 32
#define GROUP (LANE / 4)   // g in mma.cuh: rows GROUP and GROUP + 8 are this lane's
#define MEMBER (LANE % 4)  // t in mma.cuh: columns 2 MEMBER and 2 MEMBER + 1 of every 8

typedef unsigned Upright[PASS][HEAD / 2 + 4];  // loaded two words at a time
typedef unsigned Turned[HEAD][PASS / 2 + 4];
typedef unsigned Left[HEAD / 16][4];   // 16 rows of HEAD halves
typedef float Scores[PASS / 8][4];     // 16 rows of PASS floats
typedef float Outputs[HEAD / 8][4];    // 16 rows of HEAD floats

// Number i of 4 in a matrix of Scores or Outputs: its row among the 16, and its column from that of the matrix on.
#define ROW_OF_NUMBER(i) (GROUP + (i) / 2 * 8)
#define COLUMN_OF_NUMBER(i) (2 * MEMBER + (i) % 2)

__device__ __forceinline__ float4 row4_or_zeros(
    const float* x, int at, int rows, int f, int width, int heads, int n, int h) {
  return at < rows ? row4(ROW_OF(x, at, rows, width), f, width) : make_float4(0, 0, 0, 0);
}

__device__ __forceinline__ void load_upright(
    Upright& tile, const float* x, int first, int rows, int width, int heads, int n, int h) {
  for (int at = threadIdx.x; at < PASS * HEAD / 4; at += THREADS) {
    const int r = at / (HEAD / 4), f = at % (HEAD / 4);
    const float4 v = row4_or_zeros(x, first + r, rows, 4 * f, width, heads, n, h);
    *reinterpret_cast<uint2*>(&tile[r][2 * f]) = make_uint2(halves(v.x, v.y), halves(v.z, v.w));
  }
}

// Neighbouring threads take neighbouring pairs of rows: 16 pairs make 16 words side by side in shared memory.
__device__ __forceinline__ void load_turned(
    Turned& tile, const float* x, int first, int rows, int width, int heads, int n, int h) {
  for (int at = threadIdx.x; at < PASS / 2 * HEAD / 4; at += THREADS) {
    const int w = at % (PASS / 2), f = at / (PASS / 2);
    const float4 even = row4_or_zeros(x, first + 2 * w, rows, 4 * f, width, heads, n, h);
    const float4 odd = row4_or_zeros(x, first + 2 * w + 1, rows, 4 * f, width, heads, n, h);
    tile[4 * f][w] = halves(even.x, odd.x);
    tile[4 * f + 1][w] = halves(even.y, odd.y);
    tile[4 * f + 2][w] = halves(even.z, odd.z);
    tile[4 * f + 3][w] = halves(even.w, odd.w);
  }
}

// The warp's 16 rows from `first` on, times a factor.
__device__ __forceinline__ void load_left(
    Left& left, const float* x, int first, int rows, int width, float factor, int heads, int n, int h) {
#pragma unroll
  for (int block = 0; block < HEAD / 16; ++block)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = first + GROUP + i % 2 * 8, f = 16 * block + 2 * MEMBER + i / 2 * 8;
      const float* row = ROW_OF(x, at, rows, width);
      const float low = at < rows && f < width ? row[f] : 0, high = at < rows && f + 1 < width ? row[f + 1] : 0;
      left[block][i] = halves(factor * low, factor * high);
    }
}

// s = left tile^T
__device__ __forceinline__ void products(Scores& s, const Left& left, const Upright& tile) {
#pragma unroll
  for (int column = 0; column < PASS / 8; ++column) {
    s[column][0] = s[column][1] = s[column][2] = s[column][3] = 0;
#pragma unroll
    for (int block = 0; block < HEAD / 16; ++block) {
      const unsigned* row = tile[8 * column + GROUP] + 8 * block + MEMBER;
      const unsigned right[2] = {row[0], row[4]};
      mma_m16n8k16(s[column], left[block], right);
    }
  }
}

// sum += w tile. The numbers of w already are where a left matrix of halves wants them: no exchange between lanes.
__device__ __forceinline__ void add_products(Outputs& sum, const Scores& w, const Turned& tile) {
#pragma unroll
  for (int block = 0; block < PASS / 16; ++block) {
    const float(&near)[4] = w[2 * block], (&far)[4] = w[2 * block + 1];
    const unsigned left[4] = {
        halves(near[0], near[1]), halves(near[2], near[3]), halves(far[0], far[1]), halves(far[2], far[3])};
#pragma unroll
    for (int column = 0; column < HEAD / 8; ++column) {
      const unsigned* row = tile[8 * column + GROUP] + 8 * block + MEMBER;
      const unsigned right[2] = {row[0], row[4]};
      mma_m16n8k16(sum[column], left, right);
    }
  }
}

__device__ __forceinline__ void store_outputs(
    const Outputs& sum, float* y, int first, int rows, int width, const float (&factor)[2], int heads, int n, int h) {
#pragma unroll
  for (int column = 0; column < HEAD / 8; ++column)
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int at = first + ROW_OF_NUMBER(i), f = 8 * column + COLUMN_OF_NUMBER(i);
      if (at < rows && f < width) ROW_OF(y, at, rows, width)[f] = factor[i / 2] * sum[column][i];
    }
}

// The four lanes of a group share its two rows.
__device__ __forceinline__ float sum_of_group(float v) {
  v += __shfl_xor_sync(ALL_LANES, v, 1);
  return v + __shfl_xor_sync(ALL_LANES, v, 2);
}

__device__ __forceinline__ float max_of_group(float v) {
  v = max(v, __shfl_xor_sync(ALL_LANES, v, 1));
  return max(v, __shfl_xor_sync(ALL_LANES, v, 2));
}

extern "C" __global__ void __launch_bounds__(THREADS, 2) attention_v3(
    const float* __restrict__ q, const float* __restrict__ k, const float* __restrict__ v, float* __restrict__ o,
    float* __restrict__ lse, int heads, int l, int m, int d, int e, float scale MASK) {
  __shared__ __align__(8) Upright keys;
  __shared__ Turned values;
  BLOCK_OF(l, 16 * THREADS / 32)
  const int query = first + 16 * WARP;
  Left mine;
  Outputs sum = {};
  float top[2] = {-INFINITE, -INFINITE}, total[2] = {0, 0};
  load_left(mine, q, query, l, d, scale, heads, n, h);

  for (int start = 0; start < m; start += PASS) {
    bool some = false;
    for (int r = query + GROUP; r < min(query + 16, l); r += 8)
      for (int j = start + MEMBER; j < min(start + PASS, m); j += 4) some |= SEEN(r, j);
    if (!__syncthreads_or(some)) continue;
    load_upright(keys, k, start, m, d, heads, n, h);
    load_turned(values, v, start, m, e, heads, n, h);
    __syncthreads();

    Scores s;
    products(s, mine, keys);
#pragma unroll
    for (int i = 0; i < 4 * PASS / 8; ++i) {
      const int r = query + ROW_OF_NUMBER(i % 4), j = start + i / 4 * 8 + COLUMN_OF_NUMBER(i % 4);
      if (!(r < l && j < m && SEEN(r, j))) s[i / 4][i % 4] = -INFINITE;
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float before = top[r];
#pragma unroll
      for (int i = 0; i < 2 * PASS / 8; ++i) top[r] = max(top[r], s[i / 2][2 * r + i % 2]);
      top[r] = max_of_group(top[r]);
      const float shift = top[r] == -INFINITE ? 0 : top[r], correction = exp(before - shift);
      total[r] *= correction;
#pragma unroll
      for (int i = 0; i < 2 * HEAD / 8; ++i) sum[i / 2][2 * r + i % 2] *= correction;
#pragma unroll
      for (int i = 0; i < 2 * PASS / 8; ++i) {
        float& p = s[i / 2][2 * r + i % 2];
        total[r] += p = exp(p - shift);
      }
    }
    add_products(sum, s, values);
  }

  float inverse[2];
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    total[r] = sum_of_group(total[r]);
    inverse[r] = total[r] == 0 ? 0 : 1 / total[r];
    const int row = query + GROUP + 8 * r;
    if (MEMBER == 0 && row < l) lse[(n * heads + h) * l + row] = (total[r] == 0 ? 0 : top[r]) + log(total[r]);
  }
  store_outputs(sum, o, query, l, e, inverse, heads, n, h);
}

// Two sweeps over the keys: delta = <dP, P> first, then dS = P * (dP - delta). v2's single sweep ends in a difference
// of large sums, which halves could not stand.
extern "C" __global__ void __launch_bounds__(THREADS, 2) attention_grad_queries_v3(
    const float* __restrict__ d_o, const float* __restrict__ q, const float* __restrict__ k,
    const float* __restrict__ v, const float* __restrict__ lse, float* __restrict__ dq, float* __restrict__ delta,
    int heads, int l, int m, int d, int e, float scale MASK) {
  __shared__ __align__(8) Upright keys, values;
  __shared__ Turned turned_keys;
  BLOCK_OF(l, 16 * THREADS / 32)
  const int query = first + 16 * WARP, row = (n * heads + h) * l + query + GROUP;
  Left mine, given;
  Outputs sum = {};
  float shift[2] = {0, 0}, mean[2] = {0, 0};
  load_left(mine, q, query, l, d, scale, heads, n, h);
  load_left(given, d_o, query, l, e, 1, heads, n, h);
  for (int r = 0; r < 2; ++r)
    if (query + GROUP + 8 * r < l && lse[row + 8 * r] != -INFINITE) shift[r] = lse[row + 8 * r];

  for (int sweep = 0; sweep < 2; ++sweep) {
    for (int start = 0; start < m; start += PASS) {
      bool some = false;
      for (int r = query + GROUP; r < min(query + 16, l); r += 8)
        for (int j = start + MEMBER; j < min(start + PASS, m); j += 4) some |= SEEN(r, j);
      if (!__syncthreads_or(some)) continue;
      load_upright(keys, k, start, m, d, heads, n, h);
      load_upright(values, v, start, m, e, heads, n, h);
      load_turned(turned_keys, k, start, m, d, heads, n, h);
      __syncthreads();

      Scores s, dp;
      products(s, mine, keys);
      products(dp, given, values);
#pragma unroll
      for (int i = 0; i < 4 * PASS / 8; ++i) {
        const int r = i % 4 / 2, at = query + ROW_OF_NUMBER(i % 4), j = start + i / 4 * 8 + COLUMN_OF_NUMBER(i % 4);
        const float p = at < l && j < m && SEEN(at, j) ? exp(s[i / 4][i % 4] - shift[r]) : 0;
        if (sweep == 0) mean[r] += p * dp[i / 4][i % 4];
        s[i / 4][i % 4] = p * (dp[i / 4][i % 4] - mean[r]);
      }
      if (sweep == 1) add_products(sum, s, turned_keys);
    }
    if (sweep == 0) mean[0] = sum_of_group(mean[0]), mean[1] = sum_of_group(mean[1]);
  }

  for (int r = 0; r < 2; ++r)
    if (MEMBER == 0 && query + GROUP + 8 * r < l) delta[row + 8 * r] = mean[r];
  const float factor[2] = {scale, scale};
  store_outputs(sum, dq, query, l, d, factor, heads, n, h);
}

// Two left matrices and two outputs fill the registers with heads of 64: the launcher refuses wider ones.
extern "C" __global__ void __launch_bounds__(THREADS, 2) attention_grad_keys_v3(
    const float* __restrict__ d_o, const float* __restrict__ q, const float* __restrict__ k,
    const float* __restrict__ v, const float* __restrict__ lse, const float* __restrict__ delta,
    float* __restrict__ dk, float* __restrict__ dv, int heads, int l, int m, int d, int e, float scale MASK) {
#if HEAD <= 64
  __shared__ __align__(8) Upright queries, gradients;
  __shared__ Turned turned_queries, turned_gradients;
  __shared__ float shifts[PASS], means[PASS];
  BLOCK_OF(m, 16 * THREADS / 32)
  const int key = first + 16 * WARP;
  Left mine, value;
  Outputs of_key = {}, of_value = {};
  load_left(mine, k, key, m, d, scale, heads, n, h);
  load_left(value, v, key, m, e, 1, heads, n, h);

  for (int start = 0; start < l; start += PASS) {
    bool some = false;
    for (int j = key + GROUP; j < min(key + 16, m); j += 8)
      for (int i = start + MEMBER; i < min(start + PASS, l); i += 4) some |= SEEN(i, j);
    if (!__syncthreads_or(some)) continue;
    load_upright(queries, q, start, l, d, heads, n, h);
    load_upright(gradients, d_o, start, l, e, heads, n, h);
    load_turned(turned_queries, q, start, l, d, heads, n, h);
    load_turned(turned_gradients, d_o, start, l, e, heads, n, h);
    if (threadIdx.x < PASS) {
      const int at = start + threadIdx.x, row = (n * heads + h) * l + at;
      shifts[threadIdx.x] = at < l && lse[row] != -INFINITE ? lse[row] : 0;
      means[threadIdx.x] = at < l ? delta[row] : 0;
    }
    __syncthreads();

    Scores s, dp;
    products(s, mine, queries);
    products(dp, value, gradients);
#pragma unroll
    for (int i = 0; i < 4 * PASS / 8; ++i) {
      const int j = key + ROW_OF_NUMBER(i % 4), column = i / 4 * 8 + COLUMN_OF_NUMBER(i % 4), at = start + column;
      const float p = j < m && at < l && SEEN(at, j) ? exp(s[i / 4][i % 4] - shifts[column]) : 0;
      s[i / 4][i % 4] = p;
      dp[i / 4][i % 4] = p * (dp[i / 4][i % 4] - means[column]);
    }
    add_products(of_value, s, turned_gradients);
    add_products(of_key, dp, turned_queries);
  }

  const float factor[2] = {scale, scale}, one[2] = {1, 1};
  store_outputs(of_key, dk, key, m, d, factor, heads, n, h);
  store_outputs(of_value, dv, key, m, e, one, heads, n, h);
#endif
}
