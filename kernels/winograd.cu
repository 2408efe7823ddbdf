// Winograd's transforms. Maths, shapes and names: winograd.py; the numbers: simd/winograd_transforms.py.
//
//   version  idea                                                                              least
//   v4       of conv.cu: a quarter of the multiplications, for 2.25 times the memory traffic    sm_75
//
// The points of a tile lie together: V (tiles, 36, C), M and dy's (tiles, 36, K), U and dU (C, 36, K). The 36 products
// V[f] U[f] are then one 1x1 convolution with 36 groups of C and K channels, and their weight gradients dU likewise, so
// conv.cu has the products already. The transforms only move memory: one thread a channel of a tile, neighbours in a
// warp are neighbours in memory.
//
// Facts, of benchmarks/CUDA_FACTS.md   Loads and stores use sectors whole; a tile stays in 32 to 64 registers.
//
// The tile `t` is the t-th of N x down x across; its result begins at row 4 (t / across % down), column
// 4 (t % across), and its 6x6 window of x at so many pixels less the padding.

#include "common.cuh"

// ---------------------------------------------------------------- one axis
//
// Rows 1, 2 and 3, 4 of the matrices belong to the points 1, -1 and 2, -2: even part + odd part, even part - odd part.

// B^T d
__device__ __forceinline__ void image_to_points(const float (&d)[6], float (&v)[6]) {
  const float even_1 = d[4] - 4.f * d[2], odd_1 = d[3] - 4.f * d[1], even_2 = d[4] - d[2], odd_2 = 2.f * (d[3] - d[1]);
  v[0] = 4.f * d[0] - 5.f * d[2] + d[4];
  v[1] = even_1 + odd_1;
  v[2] = even_1 - odd_1;
  v[3] = even_2 + odd_2;
  v[4] = even_2 - odd_2;
  v[5] = 4.f * d[1] - 5.f * d[3] + d[5];
}

// G w
__device__ __forceinline__ void filter_to_points(const float (&w)[3], float (&u)[6]) {
  const float even_1 = (w[0] + w[2]) * (-1.f / 6), odd_1 = w[1] * (-1.f / 6);
  const float even_2 = w[0] * (1.f / 24) + w[2] * (1.f / 6), odd_2 = w[1] * (1.f / 12);
  u[0] = 0.25f * w[0];
  u[1] = even_1 + odd_1;
  u[2] = even_1 - odd_1;
  u[3] = even_2 + odd_2;
  u[4] = even_2 - odd_2;
  u[5] = w[2];
}

// A g
__device__ __forceinline__ void gradient_to_points(const float (&g)[4], float (&v)[6]) {
  const float even_1 = g[0] + g[2], odd_1 = g[1] + g[3], even_2 = g[0] + 4.f * g[2], odd_2 = 2.f * g[1] + 8.f * g[3];
  v[0] = g[0];
  v[1] = even_1 + odd_1;
  v[2] = even_1 - odd_1;
  v[3] = even_2 + odd_2;
  v[4] = even_2 - odd_2;
  v[5] = g[3];
}

// A^T m
__device__ __forceinline__ void points_to_image(const float (&m)[6], float (&y)[4]) {
  const float even_1 = m[1] + m[2], odd_1 = m[1] - m[2], even_2 = m[3] + m[4], odd_2 = m[3] - m[4];
  y[0] = m[0] + even_1 + even_2;
  y[1] = odd_1 + 2.f * odd_2;
  y[2] = even_1 + 4.f * even_2;
  y[3] = odd_1 + 8.f * odd_2 + m[5];
}

// G^T u
__device__ __forceinline__ void points_to_filter(const float (&u)[6], float (&w)[3]) {
  const float even_1 = u[1] + u[2], odd_1 = u[1] - u[2], even_2 = u[3] + u[4], odd_2 = u[3] - u[4];
  w[0] = 0.25f * u[0] - (1.f / 6) * even_1 + (1.f / 24) * even_2;
  w[1] = (1.f / 12) * odd_2 - (1.f / 6) * odd_1;
  w[2] = (1.f / 6) * (even_2 - even_1) + u[5];
}

// ---------------------------------------------------------------- both axes
//
// TRANSFORM(name, one_axis, from, to): to x to numbers from from x from numbers, columns first, then rows.

#define TRANSFORM(name, one_axis, from, to)                                                   \
  __device__ __forceinline__ void name(const float (&in)[from][from], float (&out)[to][to]) { \
    float columns[from][to];                                                                  \
    _Pragma("unroll") for (int j = 0; j < from; ++j) {                                        \
      float column[from];                                                                     \
      _Pragma("unroll") for (int i = 0; i < from; ++i) column[i] = in[i][j];                  \
      one_axis(column, columns[j]);                                                           \
    }                                                                                         \
    _Pragma("unroll") for (int i = 0; i < to; ++i) {                                          \
      float row[from];                                                                        \
      _Pragma("unroll") for (int j = 0; j < from; ++j) row[j] = columns[j][i];                \
      one_axis(row, out[i]);                                                                  \
    }                                                                                         \
  }

TRANSFORM(transform_image, image_to_points, 6, 6)
TRANSFORM(transform_filter, filter_to_points, 3, 6)
TRANSFORM(transform_gradient, gradient_to_points, 4, 6)
TRANSFORM(transform_result, points_to_image, 6, 4)
TRANSFORM(transform_filter_grad, points_to_filter, 6, 3)

// ---------------------------------------------------------------- kernels

// Which tile and channel this thread has, and where the tile's first pixel is.
struct Task { int tile, channel, n, row, column; };

__device__ __forceinline__ Task task_of(int channels, int down, int across) {
  const int task = blockIdx.x * blockDim.x + threadIdx.x, tile = task / channels;
  return {tile, task % channels, tile / (down * across), tile / across % down * 4, tile % across * 4};
}

// V[tile, :, c] = B^T d B
extern "C" __global__ void __launch_bounds__(256)
winograd_image(const float* x, float* v, int n, int h, int w, int c, int top, int left, int down, int across) {
  const Task t = task_of(c, down, across);
  if (t.tile >= n * down * across) return;
  float d[6][6], points[6][6];
#pragma unroll
  for (int i = 0; i < 6; ++i)
#pragma unroll
    for (int j = 0; j < 6; ++j) {
      const int row = t.row + i + top, column = t.column + j + left;
      const bool inside = row >= 0 && row < h && column >= 0 && column < w;
      d[i][j] = inside ? x[((t.n * h + row) * w + column) * c + t.channel] : 0.f;
    }
  transform_image(d, points);
#pragma unroll
  for (int f = 0; f < 36; ++f) v[(t.tile * 36 + f) * c + t.channel] = points[f / 6][f % 6];
}

// U[c, :, k] = G w G^T
extern "C" __global__ void __launch_bounds__(256)
winograd_filter(const float* weights, float* u, int c, int k) {
  const int task = blockIdx.x * blockDim.x + threadIdx.x;
  if (task >= c * k) return;
  float w[3][3], points[6][6];
#pragma unroll
  for (int f = 0; f < 9; ++f) w[f / 3][f % 3] = weights[f * c * k + task];
  transform_filter(w, points);
#pragma unroll
  for (int f = 0; f < 36; ++f) u[(task / k * 36 + f) * k + task % k] = points[f / 6][f % 6];
}

// y = A^T M A + bias, as much of every tile as y has
extern "C" __global__ void __launch_bounds__(256)
winograd_result(const float* m, const float* bias, float* y, int n, int p, int q, int k, int bias_step, int down,
                int across) {
  const Task t = task_of(k, down, across);
  if (t.tile >= n * down * across) return;
  float points[6][6], tile[4][4];
#pragma unroll
  for (int f = 0; f < 36; ++f) points[f / 6][f % 6] = m[(t.tile * 36 + f) * k + t.channel];
  transform_result(points, tile);
  const float offset = bias[t.n * bias_step + t.channel];
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j)
      if (t.row + i < p && t.column + j < q)
        y[((t.n * p + t.row + i) * q + t.column + j) * k + t.channel] = tile[i][j] + offset;
}

// (A dy A^T)[tile, :, k]
extern "C" __global__ void __launch_bounds__(256)
winograd_gradient(const float* dy, float* g, int n, int p, int q, int k, int down, int across) {
  const Task t = task_of(k, down, across);
  if (t.tile >= n * down * across) return;
  float tile[4][4], points[6][6];
#pragma unroll
  for (int i = 0; i < 4; ++i)
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const bool inside = t.row + i < p && t.column + j < q;
      tile[i][j] = inside ? dy[((t.n * p + t.row + i) * q + t.column + j) * k + t.channel] : 0.f;
    }
  transform_gradient(tile, points);
#pragma unroll
  for (int f = 0; f < 36; ++f) g[(t.tile * 36 + f) * k + t.channel] = points[f / 6][f % 6];
}

// dw[:, :, c, k] = G^T dU G
extern "C" __global__ void __launch_bounds__(256)
winograd_filter_grad(const float* du, float* dweights, int c, int k) {
  const int task = blockIdx.x * blockDim.x + threadIdx.x;
  if (task >= c * k) return;
  float points[6][6], w[3][3];
#pragma unroll
  for (int f = 0; f < 36; ++f) points[f / 6][f % 6] = du[(task / k * 36 + f) * k + task % k];
  transform_filter_grad(points, w);
#pragma unroll
  for (int f = 0; f < 9; ++f) dweights[f * c * k + task] = w[f / 3][f % 3];
}
