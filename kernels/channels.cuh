// PACK neighbouring channels: what one thread of a kernel over (N, H, W, C) works on.
//
//   PACK 1   any number of channels, REAL float or double
//   PACK 4   float: one 16-byte load or store, and a quarter of the threads, each of which works out a place in the
//            image by several divisions. C is a multiple of 4 and arrays begin at a multiple of 16 bytes.

struct __align__(PACK * sizeof(real)) Channels { real v[PACK]; };
struct __align__(PACK * sizeof(int)) Indices { int v[PACK]; };

__device__ __forceinline__ Channels load_channels(const real* from) { return *reinterpret_cast<const Channels*>(from); }
__device__ __forceinline__ void store_channels(real* to, Channels v) { *reinterpret_cast<Channels*>(to) = v; }
__device__ __forceinline__ void store_indices(int* to, Indices v) { *reinterpret_cast<Indices*>(to) = v; }

// a x + y
__device__ __forceinline__ Channels fma_channels(real a, Channels x, Channels y) {
#pragma unroll
  for (int e = 0; e < PACK; ++e) y.v[e] += a * x.v[e];
  return y;
}

// The result (n, row, column, channel ...) that a thread makes, of an array (N, rows, columns, c).
struct Place { int n, row, column, channel; };

__device__ __forceinline__ Place place_of(int task, int rows, int columns, int c) {
  const int packs = c / PACK, pixel = task / packs;
  return {pixel / columns / rows, pixel / columns % rows, pixel % columns, task % packs * PACK};
}

#define TASK (blockIdx.x * blockDim.x + threadIdx.x)
