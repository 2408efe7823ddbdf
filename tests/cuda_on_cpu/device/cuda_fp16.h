// cuda_fp16.h on a CPU: IEEE half precision through the compiler's _Float16, rounded to nearest even.
#pragma once

struct __half {
  _Float16 v;
  __half() = default;
  __half(float f) : v((_Float16)f) {}
  __half(double f) : v((_Float16)f) {}
  __half(int f) : v((_Float16)f) {}
  operator float() const { return (float)v; }
  __half& operator+=(__half o) { v = v + o.v; return *this; }
};
struct alignas(4) __half2 { __half x, y; };
typedef __half half;
typedef __half2 half2;

DEVICE float __half2float(__half h) { return (float)h.v; }
DEVICE __half __float2half(float f) { return __half(f); }
DEVICE __half __float2half_rn(float f) { return __half(f); }
DEVICE __half2 __floats2half2_rn(float a, float b) { return {__half(a), __half(b)}; }
DEVICE __half2 __halves2half2(__half a, __half b) { return {a, b}; }
DEVICE float2 __half22float2(__half2 h) { return {(float)h.x.v, (float)h.y.v}; }
DEVICE __half __hadd(__half a, __half b) { __half r; r.v = a.v + b.v; return r; }
DEVICE __half __hmul(__half a, __half b) { __half r; r.v = a.v * b.v; return r; }
DEVICE __half __hfma(__half a, __half b, __half c) { return __half(fmaf((float)a, (float)b, (float)c)); }
DEVICE unsigned short __half_as_ushort(__half h) { return coc_bits<unsigned short>(h); }
DEVICE __half __ushort_as_half(unsigned short u) { return coc_bits<__half>(u); }
