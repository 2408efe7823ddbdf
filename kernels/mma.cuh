// Tensor cores: one warp multiplies two small matrices in one instruction. The only file with inline PTX.
//
//   mma_m16n8k16       d += a b,  a 16 x 16 and b 16 x 8, halves         least architecture sm_80
//   mma_m16n8k8        d += a b,  a 16 x  8 and b  8 x 8, TF32           least architecture sm_80
//
// d is 16 x 8 floats; sums are taken in float32. The matrices are spread over the registers of the 32 lanes. With
// g = lane / 4 and t = lane % 4, a lane holds
//
//   halves   a[0], a[1]   rows g, g + 8 at columns 2t, 2t + 1         b[0]   rows 2t, 2t + 1 of column g
//            a[2], a[3]   the same rows, columns 2t + 8, 2t + 9       b[1]   rows 2t + 8, 2t + 9 of column g
//   TF32     a[0], a[1]   rows g, g + 8 at column t                   b[0]   row t of column g
//            a[2], a[3]   the same rows, column t + 4                 b[1]   row t + 4 of column g
//   both     d[0], d[1]   row g at columns 2t, 2t + 1                 d[2], d[3]   row g + 8 at the same columns
//
// A register holds two halves, the one of the lower index in its low 16 bits, or one TF32 number: a float whose last 13
// bits of mantissa are not read.
//
// Source   NVIDIA, PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type", "Matrix Fragments for
//          mma.m16n8k8" and "cvt"
//
// Without a GPU compiler, the same products are made by shuffles. This is legal CUDA as well, and says in the language
// itself what the instruction does.

#if defined(__CUDACC__) && __CUDA_ARCH__ >= 800

__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

__device__ __forceinline__ void mma_m16n8k8(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Two floats as halves, rounded to the nearest: `low` into the low 16 bits.
__device__ __forceinline__ unsigned halves(float low, float high) {
  unsigned pair;
  asm("cvt.rn.f16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

// A float rounded to TF32 (10 bits of mantissa), ties away from zero.
__device__ __forceinline__ unsigned tf32(float v) {
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(v));
  return bits;
}

#elif defined(__CUDACC__)  // the launcher refuses to start such a kernel; the rest of its file must still compile

__device__ void mma_m16n8k16(float (&)[4], const unsigned (&)[4], const unsigned (&)[2]) { __trap(); }
__device__ void mma_m16n8k8(float (&)[4], const unsigned (&)[4], const unsigned (&)[2]) { __trap(); }
__device__ unsigned halves(float, float) { return 0; }
__device__ unsigned tf32(float) { return 0; }

#else

union FloatBits { float number; unsigned bits; };
union HalfBits { _Float16 number; unsigned short bits; };

inline unsigned halves(float low, float high) {
  HalfBits l, h;
  l.number = (_Float16)low;
  h.number = (_Float16)high;
  return l.bits | (unsigned)h.bits << 16;
}

inline unsigned tf32(float v) {
  FloatBits f;
  f.number = v;
  return v - v == 0 ? (f.bits + 0x1000u) & ~0x1fffu : f.bits;  // infinities and NaN stay what they are
}

inline float product_of_halves(unsigned a, unsigned b) {
  float sum = 0;
  for (int i = 0; i < 2; ++i) {
    HalfBits x, y;
    x.bits = a >> 16 * i;
    y.bits = b >> 16 * i;
    sum += (float)x.number * (float)y.number;
  }
  return sum;
}

inline float product_of_tf32(unsigned a, unsigned b) {
  FloatBits x, y;
  x.bits = a & ~0x1fffu;
  y.bits = b & ~0x1fffu;
  return x.number * y.number;
}

// In both layouts, register pair i of the lanes 4g + t holds what meets in the sum over k at step 4i + t.
template <float product(unsigned, unsigned)>
inline void mma_by_shuffles(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  for (int step = 0; step < 8; ++step) {
    const int i = step / 4, from = step % 4;
    const unsigned top = __shfl_sync(~0u, a[2 * i], 4 * g + from);
    const unsigned bottom = __shfl_sync(~0u, a[2 * i + 1], 4 * g + from);
    const unsigned left = __shfl_sync(~0u, b[i], 4 * (2 * t) + from);
    const unsigned right = __shfl_sync(~0u, b[i], 4 * (2 * t + 1) + from);
    d[0] += product(top, left);
    d[1] += product(top, right);
    d[2] += product(bottom, left);
    d[3] += product(bottom, right);
  }
}

inline void mma_m16n8k16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  mma_by_shuffles<product_of_halves>(d, a, b);
}

inline void mma_m16n8k8(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  mma_by_shuffles<product_of_tf32>(d, a, b);
}

#endif
