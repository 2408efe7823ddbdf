// A tile of a matrix product: ROWS x COLUMNS sums over a depth, by a block of 128 threads.
//
// Shared memory holds STEP numbers of the depth at a time, a[STEP][ROWS] and b[STEP][COLUMNS], and holds them twice:
// while one copy is multiplied the next step's numbers arrive in registers, and go into the other. So one barrier a
// step is enough: whoever passes it knows that all have written this step, and have multiplied the one before.
//
//     for step:   next = fetch(step);   multiply(copy of step - 1);   copy of step = next;   barrier
//
// Every thread keeps 8 x 8 sums in registers; row_of and column_of say where in the tile they belong:
//
//   plain          four neighbouring rows and the four 64 below them, by four neighbouring columns and the four 32 to
//                  the right. For a depth of 1 it reads 16 numbers, with four 16-byte loads, and makes 64 products.
//   tensor cores   a warp has 64 x 32 of the tile, as 4 x 4 products of 16 x 8; registers as mma.cuh says.

#include "mma.cuh"

#define THREADS 128
#define ROWS 128
#define COLUMNS 64
#define STEP 8

// Shared memory has 32 banks, place % 32, and threads of a warp that want different places of one bank wait for each
// other. Tensor cores read lines t = 0..3 at places g = 0..7: with lines 8 longer than a multiple of 32 these are 32
// banks. Convolution writes lines 0 and 4 at once, at 16 places each: so lines 4..7 begin 16 later.
#define B_LINE (COLUMNS + 8)
#define A_SIZE (STEP * (ROWS + 8) + 16)
__device__ __forceinline__ int a_line(int d) { return d * (ROWS + 8) + d / 4 * 16; }

struct Shared { float a[2][A_SIZE], b[2][STEP * B_LINE]; };

__device__ __forceinline__ int row_of(int i, const bool tensor) {
  return tensor ? WARP % 2 * 64 + i * 8 + LANE / 4 : threadIdx.x / 8 * 4 + i / 4 * 64 + i % 4;
}

__device__ __forceinline__ int column_of(int j, const bool tensor) {
  return tensor ? WARP / 2 * 32 + j / 2 * 8 + LANE % 4 * 2 + j % 2 : threadIdx.x % 8 * 4 + j / 4 * 32 + j % 4;
}

__device__ __forceinline__ void multiply_plain(const float* a, const float* b, float (&sums)[8][8]) {
  a += row_of(0, false);
  b += column_of(0, false);
#pragma unroll
  for (int d = 0; d < STEP; ++d) {
    const float4 upper = load4(a + a_line(d)), lower = load4(a + a_line(d) + 64);
    const float4 left = load4(b + d * B_LINE), right = load4(b + d * B_LINE + 32);
    const float rows[8] = {upper.x, upper.y, upper.z, upper.w, lower.x, lower.y, lower.z, lower.w};
    const float columns[8] = {left.x, left.y, left.z, left.w, right.x, right.y, right.z, right.w};
#pragma unroll
    for (int i = 0; i < 8; ++i)
#pragma unroll
      for (int j = 0; j < 8; ++j) sums[i][j] = fmaf(rows[i], columns[j], sums[i][j]);
  }
}

__device__ __forceinline__ void multiply_tensor(const float* a, const float* b, float (&sums)[8][8]) {
  a += a_line(LANE % 4) + row_of(0, true);
  b += LANE % 4 * B_LINE + WARP / 2 * 32 + LANE / 4;
  unsigned right[4][2];
#pragma unroll
  for (int j = 0; j < 4; ++j) {
    right[j][0] = tf32(b[8 * j]);
    right[j][1] = tf32(b[8 * j + 4 * B_LINE]);
  }
#pragma unroll
  for (int i = 0; i < 8; i += 2) {
    const float* later = a + a_line(4);
    const unsigned left[4] = {tf32(a[8 * i]), tf32(a[8 * i + 8]), tf32(later[8 * i]), tf32(later[8 * i + 8])};
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      float d[4] = {sums[i][j], sums[i][j + 1], sums[i + 1][j], sums[i + 1][j + 1]};
      mma_m16n8k8(d, left, right[j / 2]);
      sums[i][j] = d[0];
      sums[i][j + 1] = d[1];
      sums[i + 1][j] = d[2];
      sums[i + 1][j + 1] = d[3];
    }
  }
}

// `tensor` is a constant wherever this is called, so only one of the two is compiled in.
__device__ __forceinline__ void multiply(const float* a, const float* b, float (&sums)[8][8], const bool tensor) {
  if (tensor)
    multiply_tensor(a, b, sums);
  else
    multiply_plain(a, b, sums);
}

// ---------------------------------------------------------------- four neighbouring numbers of global memory
//
// WIDTH 4: one 16-byte load, where the launcher found that all lengths divide by four and arrays begin at 16 bytes.
// WIDTH 1: one by one, and only those that exist.

#ifndef WIDTH
#define WIDTH 4
#endif

// Four numbers of which `exist` exist; zeros for the others.
__device__ __forceinline__ float4 load_four(const float* from, int exist) {
  if (WIDTH == 4) return exist > 0 ? load4(from) : make_float4(0.f, 0.f, 0.f, 0.f);
  return make_float4(exist > 0 ? from[0] : 0.f, exist > 1 ? from[1] : 0.f, exist > 2 ? from[2] : 0.f,
                     exist > 3 ? from[3] : 0.f);
}

// A row of a thread's sums: to[k0 + column_of(j)], as far as there are columns.
__device__ __forceinline__ void store_row(float* to, int k0, int columns, const float (&sums)[8], const bool tensor) {
  const int neighbours = tensor ? 2 : 4;
#pragma unroll
  for (int j = 0; j < 8; j += neighbours) {
    const int column = k0 + column_of(j, tensor);
    if (WIDTH == 4 && tensor) {
      if (column < columns) *reinterpret_cast<float2*>(to + column) = make_float2(sums[j], sums[j + 1]);
    } else if (WIDTH == 4) {
      if (column < columns) store4(to + column, make_float4(sums[j], sums[j + 1], sums[j + 2], sums[j + 3]));
    } else {
#pragma unroll
      for (int e = 0; e < neighbours; ++e)
        if (column + e < columns) to[column + e] = sums[j + e];
    }
  }
}
