"""Activation functions, element by element, each with its gradient.

    relu        max(x, 0)                       1 where x > 0, else 0
    leaky_relu  x where x > 0, else slope x     1 where x > 0, else slope
    sigmoid     s = 1 / (1 + exp(-x))           s (1 - s)
    tanh        t = tanh(x)                     1 - t^2
    softplus    ln(1 + exp(x))                  s
    silu        x s                             s (1 + x (1 - s))
    gelu        x Phi(x)                        Phi(x) + x phi(x)

Phi(x) = (1 + erf(x / sqrt 2)) / 2 is the Gaussian distribution function, phi(x) = exp(-x^2 / 2) / sqrt(2 pi).
sigmoid and tanh take their gradient from the result y, the others from x. All are written so that
neither end overflows: exp is only taken of numbers that are not positive.

Shapes   any, the same for x, y, g, dx
Source   Elfwing et al. 2018 (SiLU); Hendrycks and Gimpel 2016 (GELU, the exact form); deck 002, "Network Architectures"
"""

import math

import numpy as np

from ._numba import jit, parallel
from .simd.transcendental import exp

# ---------------------------------------------------------------- NumPy: the definition


def relu_numpy(x):
    return np.maximum(x, 0)


def relu_grad_numpy(g, x):
    return g * (x > 0)


def leaky_relu_numpy(x, slope):
    return np.where(x > 0, x, slope * x).astype(x.dtype)


def leaky_relu_grad_numpy(g, x, slope):
    return np.where(x > 0, g, slope * g).astype(x.dtype)


def sigmoid_numpy(x):
    e = np.exp(-abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype)


def sigmoid_grad_numpy(g, y):
    return g * y * (1 - y)


def tanh_numpy(x):
    return np.tanh(x)


def tanh_grad_numpy(g, y):
    return g * (1 - y * y)


def softplus_numpy(x):
    return np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))


def softplus_grad_numpy(g, x):
    return g * sigmoid_numpy(x)


def silu_numpy(x):
    return x * sigmoid_numpy(x)


def silu_grad_numpy(g, x):
    s = sigmoid_numpy(x)
    return g * s * (1 + x * (1 - s))


def gelu_numpy(x):
    return x * _gaussian_cdf(x)


def gelu_grad_numpy(g, x):
    return g * (_gaussian_cdf(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)).astype(x.dtype)


def _gaussian_cdf(x):
    from scipy.special import ndtr

    return ndtr(x).astype(x.dtype)


# ---------------------------------------------------------------- Numba: one element at a time, shared over the threads


GRAIN = 1 << 14  # elements that are worth a thread


def _over_elements(worker, x, *more):
    """y of x's shape, with worker(first, last, x, *more, y) run over all arrays as flat vectors."""
    y = np.empty_like(x)
    flat = [a.reshape(-1) if isinstance(a, np.ndarray) else a for a in (x, *more, y)]
    parallel(x.size, worker, *flat, grain=GRAIN)
    return y


def relu_numba(x):
    return _over_elements(relu_elements, x)


def relu_grad_numba(g, x):
    return _over_elements(relu_grad_elements, g, x)


def leaky_relu_numba(x, slope):
    return _over_elements(leaky_relu_elements, x, slope)


def leaky_relu_grad_numba(g, x, slope):
    return _over_elements(leaky_relu_grad_elements, g, x, slope)


def sigmoid_numba(x):
    return _over_elements(sigmoid_elements, x)


def sigmoid_grad_numba(g, y):
    return _over_elements(sigmoid_grad_elements, g, y)


def tanh_numba(x):
    return _over_elements(tanh_elements, x)


def tanh_grad_numba(g, y):
    return _over_elements(tanh_grad_elements, g, y)


def softplus_numba(x):
    return _over_elements(softplus_elements, x)


def softplus_grad_numba(g, x):
    return _over_elements(softplus_grad_elements, g, x)


def silu_numba(x):
    return _over_elements(silu_elements, x)


def silu_grad_numba(g, x):
    return _over_elements(silu_grad_elements, g, x)


def gelu_numba(x):
    return _over_elements(gelu_elements, x)


def gelu_grad_numba(g, x):
    return _over_elements(gelu_grad_elements, g, x)


@jit
def logistic(x):
    """1 / (1 + exp(-x)), from exp(-|x|) so that nothing overflows."""
    e, one = exp(-abs(x)), type(x)(1)  # a plain 1 would lift float32 to float64
    return (one if x >= 0 else e) / (one + e)


@jit
def relu_elements(first, last, x, y):
    for i in range(first, last):
        y[i] = x[i] if x[i] > 0 or x[i] != x[i] else 0  # x != x keeps NaN visible


@jit
def relu_grad_elements(first, last, g, x, dx):
    for i in range(first, last):
        dx[i] = g[i] if x[i] > 0 else 0


@jit
def leaky_relu_elements(first, last, x, slope, y):
    for i in range(first, last):
        y[i] = x[i] if x[i] > 0 else slope * x[i]


@jit
def leaky_relu_grad_elements(first, last, g, x, slope, dx):
    for i in range(first, last):
        dx[i] = g[i] if x[i] > 0 else slope * g[i]


@jit
def sigmoid_elements(first, last, x, y):
    for i in range(first, last):
        y[i] = logistic(x[i])


@jit
def sigmoid_grad_elements(first, last, g, y, dx):
    for i in range(first, last):
        dx[i] = g[i] * y[i] * (type(y[i])(1) - y[i])


@jit
def tanh_elements(first, last, x, y):
    for i in range(first, last):
        y[i] = np.tanh(x[i])


@jit
def tanh_grad_elements(first, last, g, y, dx):
    for i in range(first, last):
        dx[i] = g[i] * (type(y[i])(1) - y[i] * y[i])


@jit
def softplus_elements(first, last, x, y):
    for i in range(first, last):
        y[i] = (x[i] if x[i] > 0 else 0) + np.log1p(np.exp(-abs(x[i])))


@jit
def softplus_grad_elements(first, last, g, x, dx):
    for i in range(first, last):
        dx[i] = g[i] * logistic(x[i])


@jit
def silu_elements(first, last, x, y):
    for i in range(first, last):
        y[i] = x[i] * logistic(x[i])


@jit
def silu_grad_elements(first, last, g, x, dx):
    for i in range(first, last):
        s, one = logistic(x[i]), type(x[i])(1)
        dx[i] = g[i] * s * (one + x[i] * (one - s))


@jit
def gelu_elements(first, last, x, y):
    for i in range(first, last):
        y[i] = x[i] * 0.5 * math.erfc(-x[i] / math.sqrt(2.0))


@jit
def gelu_grad_elements(first, last, g, x, dx):
    for i in range(first, last):
        cdf = 0.5 * math.erfc(-x[i] / math.sqrt(2.0))
        dx[i] = g[i] * (cdf + x[i] * np.exp(-x[i] * x[i] / 2) / math.sqrt(2 * math.pi))


# ---------------------------------------------------------------- CUDA: one thread an element; activation.cu is to come
