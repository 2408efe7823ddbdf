// Max and average pooling and their gradients. Maths, shapes and names: pool.py.
//
//   version  idea                                                expected gain                       least
//   v1       PACK 1: one thread a result, neighbours in a        the baseline                        sm_75
//            warp being neighbouring channels; float or double
//   v2       PACK 4: one thread four channels of it, in          a quarter of the instructions, so   sm_75
//            16-byte loads and stores                            that memory alone is the limit
//
// Facts, of benchmarks/CUDA_FACTS.md   v2 has 16-byte loads and stores only, at most 64 registers, none spilled.
//
// Windows may overlap, and then several of them add to one cell. Threads that added into dx would need atomics, in an
// order that changes from run to run. So the average's gradient has one thread a cell, which finds the windows that
// cover it. The maximum's gradient is told the cells that won and nothing of windows, so one thread goes through all of
// them in a channel of a sample, in their order, in version 1 only: N C threads, as many as a GPU needs in a network's
// batches, though not for a single image.

#include "common.cuh"
#include "channels.cuh"

#define GEOMETRY int n, int h, int w, int c, int oh, int ow, int kh, int kw, int sh, int sw, int ph, int pw

// First real cell of window i along an axis, and the one after its last.
__device__ __forceinline__ int first_cell(int i, int stride, int padding) { return max(i * stride - padding, 0); }
__device__ __forceinline__ int end_cell(int i, int size, int stride, int padding, int cells) {
  return min(i * stride - padding + size, cells);
}

// First window that covers cell r along an axis, that is i stride - padding + size > r, and the one after the last.
__device__ __forceinline__ int first_window(int r, int size, int stride, int padding) {
  return max(r + padding - size + stride, 0) / stride;
}
__device__ __forceinline__ int end_window(int r, int stride, int padding, int windows) {
  return min((r + padding) / stride + 1, windows);
}

extern "C" __global__ void __launch_bounds__(256) max_pool2d(const real* x, real* y, int* cell, GEOMETRY) {
  const int task = TASK;
  if (task >= n * oh * ow * (c / PACK)) return;
  const Place at = place_of(task, oh, ow, c);
  const int top = first_cell(at.row, sh, ph), bottom = end_cell(at.row, kh, sh, ph, h);
  const int left = first_cell(at.column, sw, pw), right = end_cell(at.column, kw, sw, pw, w);
  x += at.n * h * w * c + at.channel;
  Channels best = load_channels(x + (top * w + left) * c);
  Indices winner;
#pragma unroll
  for (int e = 0; e < PACK; ++e) winner.v[e] = top * w + left;
  for (int r = top; r < bottom; ++r)
    for (int q = left; q < right; ++q) {
      const Channels candidate = load_channels(x + (r * w + q) * c);
#pragma unroll
      for (int e = 0; e < PACK; ++e) {
        // not (a <= b) is a > b, or that one of them is NaN; a NaN already held stays
        const bool better = !(candidate.v[e] <= best.v[e]) && best.v[e] == best.v[e];
        best.v[e] = better ? candidate.v[e] : best.v[e];
        winner.v[e] = better ? r * w + q : winner.v[e];
      }
    }
  store_channels(y + task * PACK, best);
  store_indices(cell + task * PACK, winner);
}

extern "C" __global__ void __launch_bounds__(256)
max_pool2d_grad(const real* __restrict__ dy, const int* __restrict__ cell, real* __restrict__ dx, int n, int pixels,
                int c, int windows) {
  const int task = TASK, channel = task % c;
  if (task >= n * c) return;
  dy += task / c * windows * c + channel;
  cell += task / c * windows * c + channel;
  dx += task / c * pixels * c + channel;
  for (int i = 0; i < windows; ++i) dx[cell[i * c] * c] += dy[i * c];
}

extern "C" __global__ void __launch_bounds__(256) avg_pool2d(const real* x, real* y, GEOMETRY) {
  const int task = TASK;
  if (task >= n * oh * ow * (c / PACK)) return;
  const Place at = place_of(task, oh, ow, c);
  x += at.n * h * w * c + at.channel;
  Channels total = {};
  for (int r = first_cell(at.row, sh, ph); r < end_cell(at.row, kh, sh, ph, h); ++r)
    for (int q = first_cell(at.column, sw, pw); q < end_cell(at.column, kw, sw, pw, w); ++q)
      total = fma_channels(1, load_channels(x + (r * w + q) * c), total);
  store_channels(y + task * PACK, fma_channels(real(1) / (kh * kw), total, Channels{}));
}

extern "C" __global__ void __launch_bounds__(256) avg_pool2d_grad(const real* dy, real* dx, GEOMETRY) {
  const int task = TASK;
  if (task >= n * h * w * (c / PACK)) return;
  const Place at = place_of(task, h, w, c);
  dy += at.n * oh * ow * c + at.channel;
  Channels total = {};
  for (int i = first_window(at.row, kh, sh, ph); i < end_window(at.row, sh, ph, oh); ++i)
    for (int j = first_window(at.column, kw, sw, pw); j < end_window(at.column, sw, pw, ow); ++j)
      total = fma_channels(1, load_channels(dy + (i * ow + j) * c), total);
  store_channels(dx + task * PACK, fma_channels(real(1) / (kh * kw), total, Channels{}));
}
