// Losses and their gradients: loss.py has the formulas.
//
//   version   idea                                                     expected gain                        least
//   v1        a thread an element; for cross-entropy a thread a row    -                                    sm_75
//   v2        cross-entropy only: a warp a row, so that neighbouring   long rows: each 128 bytes that are   sm_75
//             lanes read neighbouring numbers                          fetched are used at once
//
// A loss runs once a training step over an array of the size of its output, so the elementwise ones stop at v1.
//
// FACTS    cross-entropy of 256 rows of 128 (python -m benchmarks cuda-facts): v1 moves 65,856 sectors where 8,288 would
//          do, since the lanes of a warp read 512 bytes apart; v2 the least

#include "common.cuh"

#define ELEMENT if (const unsigned i = blockIdx.x * blockDim.x + threadIdx.x; i < n)
#define HALF real(0.5)
#define LN_2PI real(1.8378770664093454836)

// What is read twice has a name: after a store the compiler must read again, as the arrays might overlap.

// ---------------------------------------------------------------- squared and absolute error

extern "C" __global__ void mse_v1(const real* x, const real* t, real* y, int n) {
  ELEMENT {
    const real d = x[i] - t[i];
    y[i] = d * d;
  }
}

extern "C" __global__ void mse_grad_v1(const real* g, const real* x, const real* t, real* dx, int n) {
  ELEMENT dx[i] = 2 * g[i] * (x[i] - t[i]);
}

extern "C" __global__ void l1_v1(const real* x, const real* t, real* y, int n) { ELEMENT y[i] = fabs(x[i] - t[i]); }

extern "C" __global__ void l1_grad_v1(const real* g, const real* x, const real* t, real* dx, int n) {
  ELEMENT {
    const real d = x[i] - t[i];
    dx[i] = g[i] * (d != d ? d : real((d > 0) - (d < 0)));  // d != d keeps NaN visible
  }
}

// ---------------------------------------------------------------- binary cross-entropy of a logit

extern "C" __global__ void bce_v1(const real* x, const real* t, real* y, int n) {
  ELEMENT {
    const real logit = x[i], softplus = (logit > 0 ? logit : real(0)) + log1p(exp(-fabs(logit)));
    y[i] = softplus - t[i] * logit;
  }
}

extern "C" __global__ void bce_grad_v1(const real* g, const real* x, const real* t, real* dx, int n) {
  ELEMENT {
    const real logit = x[i], e = exp(-fabs(logit)), sigmoid = (logit >= 0 ? real(1) : e) / (real(1) + e);
    dx[i] = g[i] * (sigmoid - t[i]);
  }
}

// ---------------------------------------------------------------- Gaussians: mean m, log-variance w

extern "C" __global__ void gaussian_nll_v1(const real* x, const real* m, const real* w, real* y, int n) {
  ELEMENT {
    const real d = x[i] - m[i], logvar = w[i];
    y[i] = HALF * (LN_2PI + logvar + d * d * exp(-logvar));
  }
}

extern "C" __global__ void gaussian_nll_grad_v1(
    const real* g, const real* x, const real* m, const real* w, real* dx, real* dw, int n) {
  ELEMENT {
    const real precision = exp(-w[i]), d = x[i] - m[i], up = g[i];
    dx[i] = up * d * precision;
    dw[i] = HALF * up * (real(1) - d * d * precision);
  }
}

extern "C" __global__ void kl_gaussian_v1(const real* m, const real* w, real* y, int n) {
  ELEMENT {
    const real mean = m[i], logvar = w[i];
    y[i] = HALF * (expm1(logvar) - logvar + mean * mean);
  }
}

extern "C" __global__ void kl_gaussian_grad_v1(
    const real* g, const real* m, const real* w, real* dm, real* dw, int n) {
  ELEMENT {
    const real up = g[i];
    dm[i] = up * m[i];
    dw[i] = HALF * up * expm1(w[i]);
  }
}

extern "C" __global__ void kl_gaussians_v1(
    const real* m1, const real* w1, const real* m2, const real* w2, real* y, int n) {
  ELEMENT {
    const real d = m1[i] - m2[i], dw = w1[i] - w2[i];
    y[i] = HALF * (expm1(dw) - dw + d * d * exp(-w2[i]));
  }
}

extern "C" __global__ void kl_gaussians_grad_v1(
    const real* g, const real* m1, const real* w1, const real* m2, const real* w2,
    real* dm1, real* dw1, real* dw2, int n) {
  ELEMENT {
    const real up = g[i], logvar = w2[i], precision = exp(-logvar), d = m1[i] - m2[i];
    const real of_w1 = HALF * up * expm1(w1[i] - logvar);
    dm1[i] = up * d * precision;
    dw1[i] = of_w1;
    dw2[i] = -of_w1 - HALF * up * d * d * precision;
  }
}

// ---------------------------------------------------------------- cross-entropy: rows of k logits, n of them

extern "C" __global__ void cross_entropy_v1(
    const real* x, const long long* labels, real* loss, real* lse, int k, int n) {
  ELEMENT {
    const real* row = x + i * k;
    real top = row[0], total = 0;
    for (int j = 1; j < k; j++) top = max(top, row[j]);
    for (int j = 0; j < k; j++) total += exp(row[j] - top);
    lse[i] = top + log(total);
    loss[i] = lse[i] - row[labels[i]];
  }
}

// Threads of a whole warp stay together: they share a row, so all or none of them go past the end.

extern "C" __global__ void cross_entropy_v2(
    const real* x, const long long* labels, real* loss, real* lse, int k, int n) {
  const int i = blockIdx.x * WARPS + WARP;
  if (i >= n) return;
  const real* row = x + i * k;
  real top = row[LANE % k], total = 0;
  for (int j = LANE; j < k; j += 32) top = max(top, row[j]);
  top = warp_max(top);
  for (int j = LANE; j < k; j += 32) total += exp(row[j] - top);
  total = warp_sum(total);
  if (LANE == 0) {
    const real l = top + log(total);
    lse[i] = l;
    loss[i] = l - row[labels[i]];
  }
}

// Here n counts elements: element i is logit i % k of row i / k.

extern "C" __global__ void cross_entropy_grad_v1(
    const real* g, const real* x, const long long* labels, const real* lse, real* dx, int k, int n) {
  ELEMENT {
    const int row = i / k, j = i % k;
    dx[i] = g[row] * (exp(x[i] - lse[row]) - real(j == labels[row]));
  }
}
