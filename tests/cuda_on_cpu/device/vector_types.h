// float4 and its kin: an aligned struct that one instruction loads or stores whole.
#pragma once

#define VECTOR_TYPES(T, N, ALIGN2, ALIGN4)                               \
  struct N##1 { T x; };                                                  \
  struct alignas(ALIGN2) N##2 { T x, y; };                               \
  struct N##3 { T x, y, z; };                                            \
  struct alignas(ALIGN4) N##4 { T x, y, z, w; };                         \
  DEVICE N##2 make_##N##2(T x, T y) { return {x, y}; }                   \
  DEVICE N##3 make_##N##3(T x, T y, T z) { return {x, y, z}; }           \
  DEVICE N##4 make_##N##4(T x, T y, T z, T w) { return {x, y, z, w}; }

VECTOR_TYPES(float, float, 8, 16)
VECTOR_TYPES(double, double, 16, 16)
VECTOR_TYPES(int, int, 8, 16)
VECTOR_TYPES(unsigned, uint, 8, 16)
VECTOR_TYPES(signed char, char, 2, 4)
VECTOR_TYPES(unsigned char, uchar, 2, 4)
VECTOR_TYPES(short, short, 4, 8)
VECTOR_TYPES(unsigned short, ushort, 4, 8)
VECTOR_TYPES(long long, longlong, 16, 16)
VECTOR_TYPES(unsigned long long, ulonglong, 16, 16)
#undef VECTOR_TYPES

struct dim3 : uint3 {
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : uint3{a, b, c} {}
};
