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
from functools import partial

import numpy as np

from ._cuda_elements import over_elements_cuda
from ._memory import aligned
from ._numba import jit
from ._threads import parallel
from .simd.transcendental import erfc, exp, log1p, logistic, tanh

# ---------------------------------------------------------------- NumPy: the definition


def relu_numpy(x):
    """Rectified linear unit; NaN stays NaN."""
    return np.maximum(x, 0)


def relu_grad_numpy(g, x):
    """dx, 0 at the kink."""
    return g * (x > 0)


def leaky_relu_numpy(x, slope):
    """A ReLU that leaks: of negative numbers, a share `slope` passes."""
    return np.where(x > 0, x, slope * x).astype(x.dtype)


def leaky_relu_grad_numpy(g, x, slope):
    """dx, `slope` times g at the kink."""
    return np.where(x > 0, g, slope * g).astype(x.dtype)


def sigmoid_numpy(x):
    """A logit to its probability: either form of the quotient takes exp(-|x|)."""
    e = np.exp(-abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(x.dtype)


def sigmoid_grad_numpy(g, y):
    """dx, from the result y."""
    return g * y * (1 - y)


def tanh_numpy(x):
    """Hyperbolic tangent: a sigmoid from -1 to 1."""
    return np.tanh(x)


def tanh_grad_numpy(g, y):
    """dx, from the result y."""
    return g * (1 - y * y)


def softplus_numpy(x):
    """A smooth ReLU, taken apart as max(x, 0) + ln(1 + exp(-|x|))."""
    return np.maximum(x, 0) + np.log1p(np.exp(-abs(x)))


def softplus_grad_numpy(g, x):
    """dx: the slope is the sigmoid."""
    return g * sigmoid_numpy(x)


def silu_numpy(x):
    """Sigmoid linear unit, or Swish: x weighted by its own sigmoid."""
    return x * sigmoid_numpy(x)


def silu_grad_numpy(g, x):
    """dx, by the product rule."""
    s = sigmoid_numpy(x)
    return g * s * (1 + x * (1 - s))


def gelu_numpy(x):
    """Gaussian error linear unit: x weighted by the chance that a standard normal number is smaller."""
    return x * _gaussian_cdf(x)


def gelu_grad_numpy(g, x):
    """dx, by the product rule: phi is the slope of Phi."""
    return g * (_gaussian_cdf(x) + x * np.exp(-x * x / 2) / math.sqrt(2 * math.pi)).astype(x.dtype)


def _gaussian_cdf(x):
    from scipy.special import ndtr

    return ndtr(x).astype(x.dtype)


# ---------------------------------------------------------------- Numba: one element at a time, shared over the threads


GRAIN = 1 << 13  # elements that are worth a thread, of a function with an exponential in it
CHEAP = 1 << 15  # of a function without


def over_elements(loop, outputs=1, grain=GRAIN):
    """A kernel of any arrays of one shape, then scalars: runs loop(*arrays, *scalars, *new) on each thread's share.

    new: `outputs` arrays like the first. A share arrives as vectors of its own that begin at 0 (`parallel` sees to it):
    were it told by two indices, the compiler would have to allow for negative ones, which count from the end, and fetch
    one by one.
    """

    def kernel(*given):
        new = [aligned(given[0].shape, given[0].dtype) for _ in range(outputs)]
        flat = [a.reshape(-1) if isinstance(a, np.ndarray) else a for a in (*given, *new)]
        parallel(given[0].size, loop, *flat, grain=grain)
        return new[0] if outputs == 1 else tuple(new)

    return kernel


@jit
def relu_loop(x, y):
    for i in range(len(x)):
        y[i] = x[i] if x[i] > 0 or x[i] != x[i] else 0  # x != x keeps NaN visible


@jit
def relu_grad_loop(g, x, dx):
    for i in range(len(x)):
        dx[i] = g[i] if x[i] > 0 else 0


@jit
def leaky_relu_loop(x, slope, y):
    for i in range(len(x)):
        y[i] = x[i] if x[i] > 0 else slope * x[i]


@jit
def leaky_relu_grad_loop(g, x, slope, dx):
    for i in range(len(x)):
        dx[i] = g[i] if x[i] > 0 else slope * g[i]


@jit
def sigmoid_loop(x, y):
    for i in range(len(x)):
        y[i] = logistic(x[i])


@jit
def sigmoid_grad_loop(g, y, dx):
    for i in range(len(y)):
        dx[i] = g[i] * y[i] * (type(y[i])(1) - y[i])


@jit
def tanh_loop(x, y):
    for i in range(len(x)):
        y[i] = tanh(x[i])


@jit
def tanh_grad_loop(g, y, dx):
    for i in range(len(y)):
        dx[i] = g[i] * (type(y[i])(1) - y[i] * y[i])


@jit
def softplus_loop(x, y):
    for i in range(len(x)):
        y[i] = max(x[i], type(x[i])(0)) + log1p(exp(-abs(x[i])))


@jit
def softplus_grad_loop(g, x, dx):
    for i in range(len(x)):
        dx[i] = g[i] * logistic(x[i])


@jit
def silu_loop(x, y):
    for i in range(len(x)):
        y[i] = x[i] * logistic(x[i])


@jit
def silu_grad_loop(g, x, dx):
    for i in range(len(x)):
        s, one = logistic(x[i]), type(x[i])(1)  # a plain 1 would lift float32 to float64
        dx[i] = g[i] * s * (one + x[i] * (one - s))


@jit
def gaussian_cdf(x):
    """Phi(x) = erfc(-x / sqrt 2) / 2: 1 + erf would lose the digits of a small tail."""
    scale = type(x)
    return scale(0.5) * erfc(-x * scale(math.sqrt(0.5)))


@jit
def gaussian_density(x):
    """phi(x)."""
    scale = type(x)
    return exp(scale(-0.5) * x * x) * scale(1 / math.sqrt(2 * math.pi))


@jit
def gelu_loop(x, y):
    for i in range(len(x)):
        y[i] = x[i] * gaussian_cdf(x[i])


@jit
def gelu_grad_loop(g, x, dx):
    for i in range(len(x)):
        dx[i] = g[i] * (gaussian_cdf(x[i]) + x[i] * gaussian_density(x[i]))


relu_numba = over_elements(relu_loop, grain=CHEAP)
relu_grad_numba = over_elements(relu_grad_loop, grain=CHEAP)
leaky_relu_numba = over_elements(leaky_relu_loop, grain=CHEAP)
leaky_relu_grad_numba = over_elements(leaky_relu_grad_loop, grain=CHEAP)
sigmoid_numba = over_elements(sigmoid_loop)
sigmoid_grad_numba = over_elements(sigmoid_grad_loop)
tanh_numba = over_elements(tanh_loop)
tanh_grad_numba = over_elements(tanh_grad_loop)
softplus_numba = over_elements(softplus_loop)
softplus_grad_numba = over_elements(softplus_grad_loop)
silu_numba = over_elements(silu_loop)
silu_grad_numba = over_elements(silu_grad_loop)
gelu_numba = over_elements(gelu_loop)
gelu_grad_numba = over_elements(gelu_grad_loop)

# ---------------------------------------------------------------- CUDA: one thread an element, or four neighbours


in_cuda = partial(over_elements_cuda, __file__, versions=(1, 2))

relu_cuda = in_cuda("relu")
relu_grad_cuda = in_cuda("relu_grad")
leaky_relu_cuda = in_cuda("leaky_relu")
leaky_relu_grad_cuda = in_cuda("leaky_relu_grad")
sigmoid_cuda = in_cuda("sigmoid")
sigmoid_grad_cuda = in_cuda("sigmoid_grad")
tanh_cuda = in_cuda("tanh")
tanh_grad_cuda = in_cuda("tanh_grad")
softplus_cuda = in_cuda("softplus")
softplus_grad_cuda = in_cuda("softplus_grad")
silu_cuda = in_cuda("silu")
silu_grad_cuda = in_cuda("silu_grad")
gelu_cuda = in_cuda("gelu")
gelu_grad_cuda = in_cuda("gelu_grad")
