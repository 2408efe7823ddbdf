// mma.h on a CPU: nvcuda::wmma fragments. A warp holds a matrix together, element i of lane l being element l n + i of
// it, row by row. On a GPU the mapping is not specified, so that only element-wise use of .x[] is portable there too.
#pragma once
#include "cuda_fp16.h"

namespace nvcuda { namespace wmma {

struct matrix_a; struct matrix_b; struct accumulator;
struct row_major; struct col_major;
namespace precision { struct tf32; }
enum layout_t { mem_row_major, mem_col_major };

template <class T> struct Stored { typedef T type; };
template <> struct Stored<precision::tf32> { typedef float type; };
template <class Use, int M, int N, int K> struct Size;
template <int M, int N, int K> struct Size<matrix_a, M, N, K> { static constexpr int rows = M, columns = K; };
template <int M, int N, int K> struct Size<matrix_b, M, N, K> { static constexpr int rows = K, columns = N; };
template <int M, int N, int K> struct Size<accumulator, M, N, K> { static constexpr int rows = M, columns = N; };

template <class Use, int M, int N, int K, class T, class Layout = void>
struct fragment {
  typedef typename Stored<T>::type type;
  static constexpr int rows = Size<Use, M, N, K>::rows, columns = Size<Use, M, N, K>::columns;
  static constexpr int num_elements = rows * columns / 32;
  type x[num_elements];
};

// TF32 keeps 10 bits of mantissa; ties round away from zero.
DEVICE float __float_to_tf32(float v) { return __uint_as_float((__float_as_uint(v) + 0x1000u) & ~0x1fffu); }

template <class F, class V>
DEVICE void fill_fragment(F& f, V v) { for (auto& e : f.x) e = v; }

template <class F>
DEVICE unsigned at(int i, unsigned stride, bool columns_first) {
  const int e = coc_lane() * F::num_elements + i, row = e / F::columns, column = e % F::columns;
  return columns_first ? column * stride + row : row * stride + column;
}
template <class P>
DEVICE void check(const P* p, unsigned stride, int line) {
  if ((size_t)p % 32 || stride % (16 / sizeof(P)))
    coc_report(line, "wmma: the matrix must begin at a multiple of 32 bytes, its rows at multiples of 16");
  __syncwarp(~0u, line);
}
template <class Use, int M, int N, int K, class T, class L, class P>
DEVICE void load_matrix_sync(fragment<Use, M, N, K, T, L>& f, const P* p, unsigned stride, HERE) {
  typedef fragment<Use, M, N, K, T, L> F;
  check(p, stride, line);
  for (int i = 0; i < F::num_elements; i++) f.x[i] = p[at<F>(i, stride, std::is_same<L, col_major>::value)];
}
template <int M, int N, int K, class T, class P>
DEVICE void load_matrix_sync(fragment<accumulator, M, N, K, T>& f, const P* p, unsigned stride, layout_t l, HERE) {
  typedef fragment<accumulator, M, N, K, T> F;
  check(p, stride, line);
  for (int i = 0; i < F::num_elements; i++) f.x[i] = p[at<F>(i, stride, l == mem_col_major)];
}
template <int M, int N, int K, class T, class P>
DEVICE void store_matrix_sync(P* p, const fragment<accumulator, M, N, K, T>& f, unsigned stride, layout_t l, HERE) {
  typedef fragment<accumulator, M, N, K, T> F;
  check(p, stride, line);
  for (int i = 0; i < F::num_elements; i++) p[at<F>(i, stride, l == mem_col_major)] = f.x[i];
}

// d = a b + c. Every lane shows where its fragments are, and reads what it needs of the others'.
template <int M, int N, int K, class TD, class TA, class LA, class TB, class LB>
UNCHECKED void mma_sync(fragment<accumulator, M, N, K, TD>& d, const fragment<matrix_a, M, N, K, TA, LA>& a,
                        const fragment<matrix_b, M, N, K, TB, LB>& b, const fragment<accumulator, M, N, K, TD>& c, HERE) {
  typedef fragment<matrix_a, M, N, K, TA, LA> A;
  typedef fragment<matrix_b, M, N, K, TB, LB> B;
  constexpr int na = A::num_elements, nb = B::num_elements, nd = M * N / 32;
  const void *mine[2] = {&a, &b}, *as[32], *bs[32];
  unsigned present;
  memcpy(as, coc_warp(~0u, &mine[0], 8, "mma_sync", line, &present), sizeof as);
  memcpy(bs, coc_warp(~0u, &mine[1], 8, "mma_sync", line, &present), sizeof bs);
  TD result[nd];
  for (int i = 0; i < nd; i++) {
    const int e = coc_lane() * nd + i, row = e / N, column = e % N;
    float sum = 0.f;
    for (int k = 0; k < K; k++) {
      const int ia = row * K + k, ib = k * N + column;
      float x = (float)((const A*)as[ia / na])->x[ia % na], y = (float)((const B*)bs[ib / nb])->x[ib % nb];
      if (std::is_same<TA, precision::tf32>::value) x = __float_to_tf32(x), y = __float_to_tf32(y);
      sum += x * y;
    }
    result[i] = c.x[i] + sum;
  }
  coc_warp(~0u, nullptr, 0, "mma_sync", line, &present);  // nobody overwrites what others still read
  for (int i = 0; i < nd; i++) d.x[i] = result[i];
}

}}  // namespace nvcuda::wmma
