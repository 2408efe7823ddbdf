// What attention.cu and attention_tensor.cu share: how a mask and the rows of a head are read.

#ifdef MASKED
#define MASK , const bool *mask, int mask_n, int mask_h, int mask_l, int mask_m
#define SEEN(i, j) mask[n * mask_n + h * mask_h + (i) * mask_l + (j) * mask_m]
#else
#define MASK
#define SEEN(i, j) true
#endif

// ---------------------------------------------------------------- rows of one head
//
// HEAD is the width that D and E are padded to with zeros, which add nothing to a product.

#ifndef HEAD
#define HEAD 64
#endif
#define THREADS 128

// Numbers f to f + 3 of a row, zeros past its end.
__device__ __forceinline__ float4 row4(const float* row, int f, int width) {
#if PACK == 4
  return f < width ? load4(row + f) : make_float4(0, 0, 0, 0);
#else
  return make_float4(
      f < width ? row[f] : 0, f + 1 < width ? row[f + 1] : 0, f + 2 < width ? row[f + 2] : 0,
      f + 3 < width ? row[f + 3] : 0);
#endif
}

__device__ __forceinline__ void store_row4(float* row, int f, int width, float4 v) {
#if PACK == 4
  if (f < width) store4(row + f, v);
#else
  if (f < width) row[f] = v.x;
  if (f + 1 < width) row[f + 1] = v.y;
  if (f + 2 < width) row[f + 2] = v.z;
  if (f + 3 < width) row[f + 3] = v.w;
#endif
}

// Row `at` of x (N, rows, heads, width), for the sample and head at hand.
#define ROW_OF(x, at, rows, width) ((x) + ((size_t)(n * (rows) + (at)) * heads + h) * (width))

// Which sample, head and tile of `size` rows a block takes.
#define BLOCK_OF(rows, size)                                              \
  const int tiles = ((rows) + (size) - 1) / (size);                       \
  const int first = blockIdx.x % tiles * (size), h = blockIdx.x / tiles % heads, n = blockIdx.x / tiles / heads;
