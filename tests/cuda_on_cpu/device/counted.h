// In count mode `float` is this type: the same four bytes, whose arithmetic is counted.
//
// What is counted is what the source asks for, before any optimiser: + - * / are one operation, fmaf is two, a square
// root, exponential or the like is one function. Comparisons, index arithmetic and doubles are not counted.
#pragma once

extern "C" __attribute__((visibility("default"))) uint64_t coc_operations, coc_functions;

namespace counted {

template <class T>
using Number = std::enable_if_t<std::is_arithmetic<T>::value || std::is_same<T, _Float16>::value>;

struct Float {
  float v;
  Float() = default;
  template <class T, class = Number<T>>
  DEVICE constexpr Float(T x) : v((float)x) {}
  template <class T, class = Number<T>>
  DEVICE constexpr explicit operator T() const { return (T)v; }
  DEVICE Float operator-() const { return -v; }
  DEVICE Float operator+() const { return *this; }
};

// With a double the result is a double, as in C++, and is not counted.
template <class T>
using With = std::conditional_t<std::is_same<T, double>::value, double, Float>;

#define OPERATOR(OP)                                                                                               \
  DEVICE Float operator OP(Float a, Float b) { coc_operations++; return a.v OP b.v; }                              \
  template <class T, class = Number<T>> DEVICE With<T> operator OP(Float a, T b) { return With<T>(a) OP With<T>(b); } \
  template <class T, class = Number<T>> DEVICE With<T> operator OP(T a, Float b) { return With<T>(a) OP With<T>(b); } \
  DEVICE Float& operator OP##=(Float& a, Float b) { return a = a OP b; }                                           \
  DEVICE double& operator OP##=(double& a, Float b) { return a = a OP b.v; }
OPERATOR(+) OPERATOR(-) OPERATOR(*) OPERATOR(/)
#undef OPERATOR
#define COMPARISON(OP) DEVICE bool operator OP(Float a, Float b) { return a.v OP b.v; }
COMPARISON(<) COMPARISON(>) COMPARISON(<=) COMPARISON(>=) COMPARISON(==) COMPARISON(!=)
#undef COMPARISON

}  // namespace counted

#define FUNCTION(NAME) \
  DEVICE counted::Float NAME##f(counted::Float x) { coc_functions++; return ::NAME##f(x.v); } \
  DEVICE counted::Float NAME(counted::Float x) { return NAME##f(x); }
FUNCTION(sqrt) FUNCTION(exp) FUNCTION(exp2) FUNCTION(log) FUNCTION(log2) FUNCTION(log1p) FUNCTION(expm1) FUNCTION(tanh)
FUNCTION(sin) FUNCTION(cos) FUNCTION(erf) FUNCTION(erfc)
#undef FUNCTION
DEVICE counted::Float rsqrtf(counted::Float x) { return 1.0f / sqrtf(x).v; }
DEVICE counted::Float powf(counted::Float x, counted::Float y) { coc_functions++; return powf(x.v, y.v); }
DEVICE counted::Float fmaf(counted::Float a, counted::Float b, counted::Float c) {
  coc_operations += 2;
  return fmaf(a.v, b.v, c.v);
}
DEVICE counted::Float fma(counted::Float a, counted::Float b, counted::Float c) { return fmaf(a, b, c); }
#define FREE(NAME) \
  DEVICE counted::Float NAME##f(counted::Float x) { return ::NAME##f(x.v); } \
  DEVICE counted::Float NAME(counted::Float x) { return NAME##f(x); }
FREE(fabs) FREE(floor) FREE(ceil) FREE(rint) FREE(round) FREE(trunc)
#undef FREE
DEVICE counted::Float fmaxf(counted::Float a, counted::Float b) { return fmaxf(a.v, b.v); }
DEVICE counted::Float fminf(counted::Float a, counted::Float b) { return fminf(a.v, b.v); }
DEVICE counted::Float fmax(counted::Float a, counted::Float b) { return fmaxf(a.v, b.v); }
DEVICE counted::Float fmin(counted::Float a, counted::Float b) { return fminf(a.v, b.v); }
DEVICE counted::Float copysignf(counted::Float a, counted::Float b) { return copysignf(a.v, b.v); }
DEVICE bool isnan(counted::Float x) { return x.v != x.v; }
DEVICE bool isinf(counted::Float x) { return std::isinf(x.v); }
DEVICE bool isfinite(counted::Float x) { return std::isfinite(x.v); }
