// Convolution and its two gradients. Maths, shapes and names: conv.py; launchers: conv_cuda.py.
//
//   version  idea                                                    expected gain              least
//   v1       direct: one thread a result, in float or double         the baseline               sm_75
//   v2       implicit GEMM: a block gathers windows of x into        10 x: a number read from   sm_75
//            tiles in shared memory, 16 bytes a load, the next       global memory is used 64
//            step's while this one is multiplied (tile.cuh)          or 128 times
//   v3       the same tiles on tensor cores: x and w rounded to      2 to 4 x v2                sm_80
//            TF32 (10 bits), sums in float32; only where asked for
//   v4       Winograd F(4x4, 3x3): transforms (winograd.cu) around   up to 2 x v2 from 64       sm_75
//            36 products, which are v2 with 36 groups                channels up
//
// Facts, of benchmarks/CUDA_FACTS.md   For 8 of the depth, a thread of v2 loads 16 bytes from global memory three times
// and from shared memory 32 times, for 512 fused multiply-adds; of v3, 24 times 4 bytes for 16 HMMA. Nobody waits for a
// bank, and every sector is used whole but for some of the bias. 118 to 153 registers, none spilled, and 13 KB shared:
// 3 or 4 blocks a multiprocessor. With WIDTH 1 (channels not in fours) 4 bytes are loaded at a time.
//
// Forward and input gradient are one kernel. For the result (p, q) and the window position (i, j) it reads x at row
// p sh + i dh + top, column q sw + j dw + left. Forward, top is -padding. The input gradient reads dy, with filters
// whose c and k are exchanged, and i counts upwards: dh is negative. Where the stride is s, the pixels a, a + s,
// a + 2s ... of dx all see the same positions of the filter and others see others, so the launcher runs the kernel once
// for each a and b < s, on those positions alone. That is why results may lie apart: (n, p, q) is at
// start + n sample + p line + q pixel of y.
//
// As a matrix product, a row is a pixel of y, a column one of its k, and the depth runs over (i, j, c).

#include "common.cuh"
#include "tile.cuh"

struct Window {
  int h, w, c, kh, kw, sh, sw, dh, dw, top, left, p, q, k, groups;
};

#define WINDOW \
  int n, int h, int w, int c, int kh, int kw, int sh, int sw, int dh, int dw, int top, int left, int p, int q, int k, \
      int groups
#define AS_WINDOW {h, w, c, kh, kw, sh, sw, dh, dw, top, left, p, q, k, groups}

struct Result { int n, p, q; };  // a pixel of y
struct Tap { int i, j, c; };     // a number of its window: the position, and the channel within the group

__device__ __forceinline__ Result result_of(int m, const Window& o) {
  return {m / (o.p * o.q), m / o.q % o.p, m % o.q};
}

__device__ __forceinline__ Tap tap_of(int depth, const Window& o) {
  const int channels = o.c / o.groups;
  return {depth / channels / o.kw, depth / channels % o.kw, depth % channels};
}

// `by` further on. Counting up costs less than dividing again.
__device__ __forceinline__ Result advanced(Result at, int by, const Window& o) {
  for (at.q += by; at.q >= o.q; at.q -= o.q)
    if (++at.p == o.p) at.p = 0, ++at.n;
  return at;
}

__device__ __forceinline__ Tap advanced(Tap at, int by, const Window& o) {
  for (at.c += by; at.c >= o.c / o.groups; at.c -= o.c / o.groups)
    if (++at.j == o.kw) at.j = 0, ++at.i;
  return at;
}

// Where in x a tap of a result's window lies, or -1 where there is nothing but zeros: outside x, or past the last tap.
__device__ __forceinline__ int place_of(Result at, Tap tap, int group, const Window& o) {
  const int row = at.p * o.sh + tap.i * o.dh + o.top, column = at.q * o.sw + tap.j * o.dw + o.left;
  const bool seen = tap.i < o.kh && row >= 0 && row < o.h && column >= 0 && column < o.w;
  return seen ? ((at.n * o.h + row) * o.w + column) * o.c + group * (o.c / o.groups) + tap.c : -1;
}

__device__ __forceinline__ float read(const float* x, int place) { return place < 0 ? 0.f : x[place]; }

// Four neighbouring taps of a window; none of a result that does not exist.
__device__ __forceinline__ float4 load_taps(const float* x, Result at, bool exists, Tap tap, int group,
                                            const Window& o) {
  const int place = exists ? place_of(at, tap, group, o) : -1;
  if (WIDTH == 4) return load_four(x + place, place < 0 ? 0 : 4);
  if (!exists) return make_float4(0.f, 0.f, 0.f, 0.f);
  const Tap second = advanced(tap, 1, o), third = advanced(second, 1, o), fourth = advanced(third, 1, o);
  return make_float4(read(x, place), read(x, place_of(at, second, group, o)), read(x, place_of(at, third, group, o)),
                     read(x, place_of(at, fourth, group, o)));
}

// ---------------------------------------------------------------- v1: direct

extern "C" __global__ void __launch_bounds__(256)
conv2d_v1(const real* x, const real* weights, const real* bias, real* y, WINDOW, int bias_step, int start, int sample,
          int line, int pixel) {
  const Window o = AS_WINDOW;
  const int m = (blockIdx.x * blockDim.x + threadIdx.x) / k, column = (blockIdx.x * blockDim.x + threadIdx.x) % k;
  if (m >= n * p * q) return;
  const Result at = result_of(m, o);
  const int channels = c / groups, group = column / (k / groups);
  real sum = bias[at.n * bias_step + column];
  for (int i = 0; i < kh; ++i)
    for (int j = 0; j < kw; ++j) {
      const int place = place_of(at, {i, j, 0}, group, o);
      if (place < 0) continue;
      for (int e = 0; e < channels; ++e) sum += x[place + e] * weights[((i * kw + j) * channels + e) * k + column];
    }
  y[start + at.n * sample + at.p * line + at.q * pixel + column] = sum;
}

// A sum for each sample first: a sum of sums keeps more digits than one long sum.
extern "C" __global__ void __launch_bounds__(256)
conv2d_weight_grad_v1(const real* x, const real* dy, real* dweights, WINDOW) {
  const Window o = AS_WINDOW;
  const int depth = (blockIdx.x * blockDim.x + threadIdx.x) / k, column = (blockIdx.x * blockDim.x + threadIdx.x) % k;
  if (depth >= kh * kw * (c / groups)) return;
  const Tap tap = tap_of(depth, o);
  real total = 0;
  for (int first = 0; first < n * p * q; first += p * q) {
    real sum = 0;
    for (int m = first; m < first + p * q; ++m) {
      const int place = place_of(result_of(m, o), tap, column / (k / groups), o);
      if (place >= 0) sum += x[place] * dy[m * k + column];
    }
    total += sum;
  }
  dweights[depth * k + column] = total;
}

// ---------------------------------------------------------------- v2, v3: implicit GEMM
//
// A block makes ROWS pixels of y by COLUMNS of one group's k: blockIdx = (pixels, k, group). In a step, two threads
// gather the STEP taps of a pixel, for two pixels; a half-warp reads one row of the filters.

__device__ __forceinline__ void conv2d_tile(
    const float* x, const float* weights, const float* bias, float* y, int n, const Window& o, int bias_step, int start,
    int sample, int line, int pixel, const bool tensor) {
  __shared__ __align__(16) Shared shared;
  const int columns = o.k / o.groups, depth = o.kh * o.kw * (o.c / o.groups), pixels = n * o.p * o.q;
  const int group = blockIdx.z, first = blockIdx.x * ROWS, k0 = blockIdx.y * COLUMNS;

  const int a_row = threadIdx.x / 2, a_depth = threadIdx.x % 2 * 4, b_depth = threadIdx.x / 16;
  const int b_column = threadIdx.x % 16 * 4, b_exist = columns - k0 - b_column;
  const int m[2] = {first + a_row, first + a_row + ROWS / 2};
  const Result at[2] = {result_of(m[0], o), result_of(m[1], o)};
  Tap tap = advanced(Tap{0, 0, 0}, a_depth, o);
  weights += b_depth * o.k + group * columns + k0 + b_column;

  float4 a[2], b;
  float sums[8][8] = {};
  for (int d = 0; d < depth + STEP; d += STEP) {
    if (d < depth) {
      for (int e = 0; e < 2; ++e) a[e] = load_taps(x, at[e], m[e] < pixels, tap, group, o);
      b = load_four(weights + d * o.k, d + b_depth < depth ? b_exist : 0);
      tap = advanced(tap, STEP, o);
    }
    const int now = d / STEP % 2;
    if (d > 0) multiply(shared.a[1 - now], shared.b[1 - now], sums, tensor);
    if (d < depth) {
      for (int e = 0; e < 2; ++e) {
        float* to = shared.a[now] + a_line(a_depth) + a_row + e * ROWS / 2;
        to[0] = a[e].x;
        to[a_line(1)] = a[e].y;
        to[a_line(2)] = a[e].z;
        to[a_line(3)] = a[e].w;
      }
      store4(shared.b[now] + b_depth * B_LINE + b_column, b);
    }
    __syncthreads();
  }

#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int row = first + row_of(i, tensor);
    if (row >= pixels) continue;
    const Result r = result_of(row, o);
    const float* offset = bias + r.n * bias_step + group * columns;
#pragma unroll
    for (int j = 0; j < 8; ++j)
      if (k0 + column_of(j, tensor) < columns) sums[i][j] += offset[k0 + column_of(j, tensor)];
    float* to = y + start + r.n * sample + r.p * line + r.q * pixel + group * columns;
    store_row(to, k0, columns, sums[i], tensor);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_v2(const float* x, const float* weights, const float* bias, float* y, WINDOW, int bias_step, int start,
          int sample, int line, int pixel) {
  conv2d_tile(x, weights, bias, y, n, AS_WINDOW, bias_step, start, sample, line, pixel, false);
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_v3(const float* x, const float* weights, const float* bias, float* y, WINDOW, int bias_step, int start,
          int sample, int line, int pixel) {
  conv2d_tile(x, weights, bias, y, n, AS_WINDOW, bias_step, start, sample, line, pixel, true);
}

// Weight gradient: a row is a tap (i, j, c), a column one of the group's k, and the depth runs over the pixels of y.
// There are few tiles and a long depth, so the depth is cut into parts of `share` pixels, each with blocks of its own:
// blockIdx = (taps, k, group + groups part). conv2d_sum_parts adds what they find, always in the same order.

__device__ __forceinline__ void conv2d_weight_grad_tile(
    const float* x, const float* dy, float* parts, int n, const Window& o, int share, const bool tensor) {
  __shared__ __align__(16) Shared shared;
  const int columns = o.k / o.groups, taps = o.kh * o.kw * (o.c / o.groups);
  const int group = blockIdx.z % o.groups, part = blockIdx.z / o.groups, k0 = blockIdx.y * COLUMNS;
  const int start = part * share, depth = min(share, n * o.p * o.q - start);

  const int a_depth = threadIdx.x / 32, a_row = threadIdx.x % 32 * 4, b_depth = threadIdx.x / 16;
  const int b_column = threadIdx.x % 16 * 4, b_exist = columns - k0 - b_column;
  const Tap tap = tap_of(blockIdx.x * ROWS + a_row, o);
  Result at[2] = {result_of(start + a_depth, o), result_of(start + a_depth + STEP / 2, o)};
  dy += (start + b_depth) * o.k + group * columns + k0 + b_column;

  float4 a[2], b;
  float sums[8][8] = {};
  for (int d = 0; d < depth + STEP; d += STEP) {
    if (d < depth) {
      for (int e = 0; e < 2; ++e) {
        a[e] = load_taps(x, at[e], d + a_depth + e * STEP / 2 < depth, tap, group, o);
        at[e] = advanced(at[e], STEP, o);
      }
      b = load_four(dy + d * o.k, d + b_depth < depth ? b_exist : 0);
    }
    const int now = d / STEP % 2;
    if (d > 0) multiply(shared.a[1 - now], shared.b[1 - now], sums, tensor);
    if (d < depth) {
      for (int e = 0; e < 2; ++e) store4(shared.a[now] + a_line(a_depth + e * STEP / 2) + a_row, a[e]);
      store4(shared.b[now] + b_depth * B_LINE + b_column, b);
    }
    __syncthreads();
  }

#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int row = blockIdx.x * ROWS + row_of(i, tensor);
    if (row >= taps) continue;
    store_row(parts + (part * taps + row) * o.k + group * columns, k0, columns, sums[i], tensor);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_weight_grad_v2(const float* x, const float* dy, float* parts, WINDOW, int share) {
  conv2d_weight_grad_tile(x, dy, parts, n, AS_WINDOW, share, false);
}

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_weight_grad_v3(const float* x, const float* dy, float* parts, WINDOW, int share) {
  conv2d_weight_grad_tile(x, dy, parts, n, AS_WINDOW, share, true);
}

extern "C" __global__ void __launch_bounds__(256)
conv2d_sum_parts(const float* parts, float* dweights, int size, int count) {
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= size) return;
  float sum = 0.f;
  for (int part = 0; part < count; ++part) sum += parts[part * size + at];
  dweights[at] = sum;
}
