// Resizing images, and the gradient. Maths, shapes and names: resize.py.
//
//   version  idea                                                expected gain                       least
//   v1       PACK 1: one thread a result, neighbours in a        the baseline                        sm_75
//            warp being neighbouring channels; float or double
//   v2       PACK 4: one thread four channels of it, in          a quarter of the instructions, so   sm_75
//            16-byte loads and stores                            that memory alone is the limit
//
// Facts, of benchmarks/CUDA_FACTS.md   v2 has 16-byte loads and stores only, at most 64 registers, none spilled.
//
// Where a result lies in x is a fraction, s = ((2 i + 1) H - OH) / (2 OH), and stays one until the last moment: pixel
// and remainder are exact in integers, where in a wide image float32 would round s to the next pixel.
//
// The gradient has one thread a pixel of dx, which adds what the results that read this pixel send back, in their
// order, with the weights of the forward pass. So no two threads add to one number, and the sum is the same at every
// run.

#include "common.cuh"
#include "channels.cuh"

#define NEAREST 1
#define BILINEAR 2
#ifndef MODE
#define MODE BILINEAR
#endif

// What result i of `out` reads along an axis of `in` pixels: `low` with weight 1 - f, and `high` with weight f. Past the
// centre of the last pixel both are that pixel.
struct Taps { int low, high; real f; };

__device__ __forceinline__ Taps taps_of(int i, int in, int out) {
  if (MODE == NEAREST) return {(2 * i + 1) * in / (2 * out), (2 * i + 1) * in / (2 * out), 0};
  const int numerator = max((2 * i + 1) * in - out, 0), low = numerator / (2 * out);  // below `in`
  return {low, min(low + 1, in - 1), real(numerator - 2 * out * low) / real(2 * out)};
}

__device__ __forceinline__ bool reads(Taps t, int r) { return t.low == r || t.high == r; }
__device__ __forceinline__ real weight_of(Taps t, int r) {
  return (t.low == r ? 1 - t.f : real(0)) + (t.high == r ? t.f : real(0));
}

// The results that may read pixel r: r - 1 < s < r + 1, and one more on either side for the roundings. At the ends of
// the image, where s is limited, everything further out reads the outermost pixel.
__device__ __forceinline__ int first_result(int r, int in, int out) {
  return r == 0 ? 0 : max((2 * r - 1) * out / (2 * in) - 1, 0);
}
__device__ __forceinline__ int end_result(int r, int in, int out) {
  return r == in - 1 ? out : min((2 * r + 3) * out / (2 * in) + 2, out);
}

extern "C" __global__ void __launch_bounds__(256)
resize(const real* x, real* y, int n, int h, int w, int c, int oh, int ow) {
  const int task = TASK;
  if (task >= n * oh * ow * (c / PACK)) return;
  const Place at = place_of(task, oh, ow, c);
  const Taps row = taps_of(at.row, h, oh), column = taps_of(at.column, w, ow);
  x += at.n * h * w * c + at.channel;
  const real *low = x + row.low * w * c, *high = x + row.high * w * c;
  if (MODE == NEAREST) {
    store_channels(y + task * PACK, load_channels(low + column.low * c));
    return;
  }
  Channels sum = {};
  sum = fma_channels((1 - row.f) * (1 - column.f), load_channels(low + column.low * c), sum);
  sum = fma_channels((1 - row.f) * column.f, load_channels(low + column.high * c), sum);
  sum = fma_channels(row.f * (1 - column.f), load_channels(high + column.low * c), sum);
  sum = fma_channels(row.f * column.f, load_channels(high + column.high * c), sum);
  store_channels(y + task * PACK, sum);
}

extern "C" __global__ void __launch_bounds__(256)
resize_grad(const real* dy, real* dx, int n, int h, int w, int c, int oh, int ow) {
  const int task = TASK;
  if (task >= n * h * w * (c / PACK)) return;
  const Place at = place_of(task, h, w, c);
  const int last_row = end_result(at.row, h, oh), last_column = end_result(at.column, w, ow);
  dy += at.n * oh * ow * c + at.channel;
  Channels total = {};
  for (int i = first_result(at.row, h, oh); i < last_row; ++i) {
    const Taps row = taps_of(i, h, oh);
    if (!reads(row, at.row)) continue;
    for (int j = first_result(at.column, w, ow); j < last_column; ++j) {
      const Taps column = taps_of(j, w, ow);
      if (!reads(column, at.column)) continue;
      const real weight = weight_of(row, at.row) * weight_of(column, at.column);
      total = fma_channels(weight, load_channels(dy + (i * ow + j) * c), total);
    }
  }
  store_channels(dx + task * PACK, total);
}
