// Arithmetic that CUDA knows and C++ does not. The fast forms (__expf, __fdividef ...) are the exact ones here: their
// error on a GPU is documented by NVIDIA and not modelled.
#pragma once

template <class T> inline T __ldg(const T* address) { return *address; }
template <class T> inline T __ldcg(const T* address) { return *address; }
template <class T> inline T __ldcs(const T* address) { return *address; }
template <class T> inline void __stcs(T* address, T v) { *address = v; }

#ifndef CUDA_ON_CPU_COUNT
DEVICE float rsqrtf(float x) { return 1.0f / sqrtf(x); }
#endif
DEVICE double rsqrt(double x) { return 1.0 / sqrt(x); }
DEVICE float rsqrt(float x) { return rsqrtf(x); }
DEVICE float __expf(float x) { return expf(x); }
DEVICE float __logf(float x) { return logf(x); }
DEVICE float __log2f(float x) { return log2f(x); }
DEVICE float __powf(float x, float y) { return powf(x, y); }
DEVICE float __sinf(float x) { return sinf(x); }
DEVICE float __cosf(float x) { return cosf(x); }
DEVICE float __fdividef(float x, float y) { return x / y; }
DEVICE float __frcp_rn(float x) { return 1.0f / x; }
DEVICE float __fsqrt_rn(float x) { return sqrtf(x); }
DEVICE float __frsqrt_rn(float x) { return rsqrtf(x); }
DEVICE float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
DEVICE float __fadd_rn(float a, float b) { return a + b; }
DEVICE float __fmul_rn(float a, float b) { return a * b; }
DEVICE float __saturatef(float x) { return x > 1.0f ? float(1.0f) : x > 0.0f ? x : float(0.0f); }

DEVICE int __popc(unsigned x) { return __builtin_popcount(x); }
DEVICE int __ffs(int x) { return __builtin_ffs(x); }
DEVICE int __clz(int x) { return x ? __builtin_clz(x) : 32; }
DEVICE unsigned __umulhi(unsigned a, unsigned b) { return (uint64_t)a * b >> 32; }
DEVICE int __mulhi(int a, int b) { return (int64_t)a * b >> 32; }
DEVICE unsigned __umul24(unsigned a, unsigned b) { return (a & 0xffffff) * (b & 0xffffff); }

template <class To, class From>
DEVICE To coc_bits(From v) {
  static_assert(sizeof(To) == sizeof(From), "the same bits, read as another type");
  To r;
  memcpy(&r, &v, sizeof r);
  return r;
}
DEVICE unsigned __float_as_uint(float x) { return coc_bits<unsigned>(x); }
DEVICE int __float_as_int(float x) { return coc_bits<int>(x); }
DEVICE float __int_as_float(int x) { return coc_bits<float>(x); }
DEVICE float __uint_as_float(unsigned x) { return coc_bits<float>(x); }
DEVICE long long __double_as_longlong(double x) { return coc_bits<long long>(x); }
DEVICE double __longlong_as_double(long long x) { return coc_bits<double>(x); }
DEVICE int __float2int_rn(float x) { return (int)rintf(x); }
DEVICE int __float2int_rd(float x) { return (int)floorf(x); }
DEVICE int __float2int_rz(float x) { return (int)x; }
DEVICE float __int2float_rn(int x) { return (float)x; }
DEVICE float __uint2float_rn(unsigned x) { return (float)x; }

// min and max of floats return the number where one is a NaN, as fminf and fmaxf do.
#define MIN_MAX(T, MIN, MAX)                 \
  DEVICE T min(T a, T b) { return MIN; }     \
  DEVICE T max(T a, T b) { return MAX; }
MIN_MAX(int, b < a ? b : a, a < b ? b : a)
MIN_MAX(unsigned, b < a ? b : a, a < b ? b : a)
MIN_MAX(long long, b < a ? b : a, a < b ? b : a)
MIN_MAX(unsigned long long, b < a ? b : a, a < b ? b : a)
MIN_MAX(float, fminf(a, b), fmaxf(a, b))
MIN_MAX(double, fmin(a, b), fmax(a, b))
#undef MIN_MAX
