// Sinusoidal features: features.py has the formulas.
//
//   version   idea                                                     expected gain                        least
//   v1        a thread an angle, which gives a sine and a cosine;      -                                    sm_75
//             backward a thread a number of x
//
// Angles are float64 whatever x is (features.py says why), and float64 is slow on most GPUs. A batch has a few thousand
// angles, so that there is no v2.

#include "common.cuh"

// x_i . column j of F: x (N, d), frequencies (d, m)

__device__ __forceinline__ double angle(const real* x, const double* frequencies, int i, int j, int d, int m) {
  double a = 0;
  for (int k = 0; k < d; k++) a += x[i * d + k] * frequencies[k * m + j];
  return a;
}

// y (N, 2m): the sines, then the cosines. n = N m angles.

extern "C" __global__ void sinusoids_v1(const real* x, const double* frequencies, real* y, int d, int m, int n) {
  const unsigned thread = blockIdx.x * blockDim.x + threadIdx.x;
  if (thread >= n) return;
  const int i = thread / m, j = thread % m;
  const double a = angle(x, frequencies, i, j, d, m);
  y[2 * i * m + j] = sin(a);
  y[2 * i * m + m + j] = cos(a);
}

// dx_ik = sum over j of (g_sin cos a - g_cos sin a) F_kj. n = N d numbers of dx.

extern "C" __global__ void sinusoids_grad_v1(
    const real* g, const real* x, const double* frequencies, real* dx, int d, int m, int n) {
  const unsigned thread = blockIdx.x * blockDim.x + threadIdx.x;
  if (thread >= n) return;
  const int i = thread / d, k = thread % d;
  double sum = 0;
  for (int j = 0; j < m; j++) {
    const double a = angle(x, frequencies, i, j, d, m);
    sum += (g[2 * i * m + j] * cos(a) - g[2 * i * m + m + j] * sin(a)) * frequencies[k * m + j];
  }
  dx[thread] = sum;
}
