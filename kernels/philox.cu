// Philox4x32-10: philox.py has the cipher and the meaning of every draw.
//
//   version   idea                                                     expected gain                        least
//   v1        a thread a position: four numbers, stored one by one     -                                    sm_75
//   v2        the four in one 16-byte store (words and float32)        a quarter of the stores; whole       sm_75
//                                                                      128-byte lines leave each warp
//
// Ten rounds are twenty multiplications, no memory is read, and no thread waits for another. Normals are made in
// float64 and rounded, as everywhere; float64 is slow on most GPUs, and equal numbers are worth it.
//
// FACTS    16,384 numbers (python -m benchmarks cuda-facts): v1 writes 8,192 sectors, each in four goes, v2 2,048

#include "common.cuh"

#define TWO_PI 6.2831853071795865
#define UNIT 2.3283064365386963e-10  // 2^-32

// ---------------------------------------------------------------- the cipher

__device__ __forceinline__ uint4 philox4x32(
    unsigned long long position, unsigned long long high, unsigned long long seed) {
  unsigned c0 = position, c1 = position >> 32, c2 = high, c3 = high >> 32;
  unsigned k0 = seed, k1 = seed >> 32;
#pragma unroll
  for (int round = 0; round < 10; round++) {
    const unsigned long long p0 = 0xD2511F53ull * c0, p1 = 0xCD9E8D57ull * c2;  // 32 x 32 -> 64 bits: one instruction
    c0 = (unsigned)(p1 >> 32) ^ c1 ^ k0;
    c1 = p1;
    c2 = (unsigned)(p0 >> 32) ^ c3 ^ k1;
    c3 = p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return make_uint4(c0, c1, c2, c3);
}

// float32: shift 9, scale 2^-23; float64: shift 0, scale 2^-32

__device__ __forceinline__ real uniform(unsigned word, int shift, double scale) {
  return ((word >> shift) + 0.5) * scale;
}

// Box and Muller: two words, two normals

__device__ __forceinline__ double2 box_muller(unsigned w0, unsigned w1) {
  const double r = sqrt(-2 * log((w0 + 0.5) * UNIT)), angle = TWO_PI * ((w1 + 0.5) * UNIT);
  return make_double2(r * cos(angle), r * sin(angle));
}

// ---------------------------------------------------------------- v1: n positions, four numbers each

#define POSITION                                                   \
  const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;        \
  if (i >= n) return;                                              \
  const uint4 w = philox4x32(position + i, high, seed);

extern "C" __global__ void philox_bits_v1(
    unsigned long long seed, unsigned long long position, unsigned long long high, unsigned* words, int n) {
  POSITION
  words[4 * i] = w.x;
  words[4 * i + 1] = w.y;
  words[4 * i + 2] = w.z;
  words[4 * i + 3] = w.w;
}

extern "C" __global__ void philox_uniform_v1(
    unsigned long long seed, unsigned long long position, unsigned long long high, real* u,
    int shift, double scale, int n) {
  POSITION
  u[4 * i] = uniform(w.x, shift, scale);
  u[4 * i + 1] = uniform(w.y, shift, scale);
  u[4 * i + 2] = uniform(w.z, shift, scale);
  u[4 * i + 3] = uniform(w.w, shift, scale);
}

extern "C" __global__ void philox_normal_v1(
    unsigned long long seed, unsigned long long position, unsigned long long high, real* z, int n) {
  POSITION
  const double2 a = box_muller(w.x, w.y), b = box_muller(w.z, w.w);
  z[4 * i] = a.x;
  z[4 * i + 1] = a.y;
  z[4 * i + 2] = b.x;
  z[4 * i + 3] = b.y;
}

// ---------------------------------------------------------------- v2: 16-byte stores

extern "C" __global__ void philox_bits_v2(
    unsigned long long seed, unsigned long long position, unsigned long long high, unsigned* words, int n) {
  POSITION
  reinterpret_cast<uint4*>(words)[i] = w;
}

extern "C" __global__ void philox_uniform_v2(
    unsigned long long seed, unsigned long long position, unsigned long long high, float* u,
    int shift, double scale, int n) {
  POSITION
  store4(u + 4 * i, make_float4(uniform(w.x, shift, scale), uniform(w.y, shift, scale),
                                uniform(w.z, shift, scale), uniform(w.w, shift, scale)));
}

extern "C" __global__ void philox_normal_v2(
    unsigned long long seed, unsigned long long position, unsigned long long high, float* z, int n) {
  POSITION
  const double2 a = box_muller(w.x, w.y), b = box_muller(w.z, w.w);
  store4(z + 4 * i, make_float4(a.x, a.y, b.x, b.y));
}
