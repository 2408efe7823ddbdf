// What every .cu file begins with. _cuda.py puts this text in the place of the #include.
//
// REAL is the type of the numbers, float unless -DREAL=double (in which gradients are checked).

#ifndef REAL
#define REAL float
#endif
typedef REAL real;

#define INFINITE __int_as_float(0x7f800000)

// ---------------------------------------------------------------- reductions
//
// A warp is 32 threads that can read each other's registers. In the butterfly, step s adds what the lane `s` away
// holds: after steps 16, 8, 4, 2, 1 every lane has the sum of all 32. The order is fixed by the lanes' numbers alone,
// and a + b = b + a, so every lane of every run gets the same bits.
//
// All 32 lanes must take part. A block must be a whole number of warps in one dimension, and all of it must take part.

#define ALL_LANES 0xffffffffu
#define LANE (threadIdx.x % 32)
#define WARP (threadIdx.x / 32)
#define WARPS (blockDim.x / 32)

__device__ __forceinline__ real warp_sum(real v) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) v += __shfl_xor_sync(ALL_LANES, v, step);
  return v;
}

__device__ __forceinline__ real warp_max(real v) {
#pragma unroll
  for (int step = 16; step > 0; step /= 2) v = max(v, __shfl_xor_sync(ALL_LANES, v, step));
  return v;
}

// A warp's result goes through shared memory; then every warp reduces all of these, so that every thread has the total
// and nobody has to be told it. The first barrier lets the readers of an earlier call finish.

__device__ real block_sum(real v) {
  __shared__ real of_warp[32];
  v = warp_sum(v);
  __syncthreads();
  if (LANE == 0) of_warp[WARP] = v;
  __syncthreads();
  return warp_sum(LANE < WARPS ? of_warp[LANE] : real(0));
}

__device__ real block_max(real v) {
  __shared__ real of_warp[32];
  v = warp_max(v);
  __syncthreads();
  if (LANE == 0) of_warp[WARP] = v;
  __syncthreads();
  return warp_max(of_warp[LANE < WARPS ? LANE : 0]);
}

// ---------------------------------------------------------------- several floats in one load
//
// A 16-byte load moves four floats with one instruction. Its address must be a multiple of 16: a launcher compiles with
// -DPACK=4 where arrays begin at one and rows are multiples of four long, and with -DPACK=1 elsewhere.

#ifndef PACK
#define PACK 1
#endif

struct __align__(4 * PACK) Pack { float v[PACK]; };

__device__ __forceinline__ Pack load_pack(const float* from) { return *reinterpret_cast<const Pack*>(from); }
__device__ __forceinline__ void store_pack(float* to, Pack pack) { *reinterpret_cast<Pack*>(to) = pack; }

__device__ __forceinline__ float4 load4(const float* from) { return *reinterpret_cast<const float4*>(from); }
__device__ __forceinline__ void store4(float* to, float4 v) { *reinterpret_cast<float4*>(to) = v; }

// a x + y
__device__ __forceinline__ float4 fma4(float a, float4 x, float4 y) {
  return make_float4(fmaf(a, x.x, y.x), fmaf(a, x.y, y.y), fmaf(a, x.z, y.z), fmaf(a, x.w, y.w));
}

__device__ __forceinline__ float4 scale4(float a, float4 x) { return make_float4(a * x.x, a * x.y, a * x.z, a * x.w); }

// <x, y> + sum
__device__ __forceinline__ float dot4(float4 x, float4 y, float sum) {
  return fmaf(x.x, y.x, fmaf(x.y, y.y, fmaf(x.z, y.z, fmaf(x.w, y.w, sum))));
}
