"""Losses, element by element (cross-entropy: row by row), each with its gradient. All in nats.

    mse           (x - t)^2                                             dx = 2 (x - t) = -dt
    l1            |x - t|                                               dx = sign(x - t) = -dt
    bce           softplus(x) - t x                                     dx = sigmoid(x) - t        dt = -x
    gaussian_nll  (ln 2 pi + w + (x - m)^2 exp(-w)) / 2                 dx = (x - m) exp(-w) = -dm
                                                                        dw = (1 - (x - m)^2 exp(-w)) / 2
    kl_gaussian   (exp(w) - 1 - w + m^2) / 2                            dm = m     dw = (exp(w) - 1) / 2
    kl_gaussians  (exp(w1 - w2) - 1 - (w1 - w2) + (m1 - m2)^2 exp(-w2)) / 2
                  dm1 = (m1 - m2) exp(-w2) = -dm2     dw1 = (exp(w1 - w2) - 1) / 2
                  dw2 = -dw1 - (m1 - m2)^2 exp(-w2) / 2
    cross_entropy lse - x_label,  lse = ln sum_k exp(x_k)               dx_k = exp(x_k - lse) - [k = label]

m is a mean, w = ln(variance). A logit x means the probability sigmoid(x); with softplus the logarithms
of both sigmoid(x) and 1 - sigmoid(x) are exact at any x, where logs of a rounded probability are not.
kl_gaussian is KL(N(m, e^w) || N(0, 1)), kl_gaussians KL(N(m1, e^w1) || N(m2, e^w2)); expm1 keeps small ones exact.

Where dt = -dx and the like, a gradient kernel returns the one; the operation (ops/loss.py) changes the sign.

Shapes   any, the same for all; cross_entropy: x (N, K), labels (N,) int64 -> loss, lse (N,)
Source   Goodfellow, Bengio, Courville, Deep Learning, section 6.2.2; Kingma and Welling, Auto-Encoding Variational
         Bayes, appendix B; Ho et al., Denoising Diffusion Probabilistic Models, eq. 5 and 14; deck 003, VAE
"""

import math
from functools import partial

import numpy as np

from ._cuda import C_NAMES, blocks, contiguous, empty, i32, launch
from ._cuda_elements import THREADS, over, over_elements_cuda
from ._numba import jit
from ._threads import parallel
from ._versions import check_shapes, choose, floats
from .activation import CHEAP, over_elements, sigmoid_numpy, softplus_numpy
from .simd.transcendental import exp, expm1, log1p, logistic
from .softmax import largest

LN_2PI = math.log(2 * math.pi)

# ---------------------------------------------------------------- NumPy: the definition


def mse_numpy(x, t):
    """Squared error; its mean is the MSE."""
    return (x - t) ** 2


def mse_grad_numpy(g, x, t):
    """dx, which is -dt."""
    return 2 * g * (x - t)


def l1_numpy(x, t):
    """Absolute error."""
    return abs(x - t)


def l1_grad_numpy(g, x, t):
    """dx, which is -dt; 0 where x = t."""
    return g * np.sign(x - t)


def bce_numpy(x, t):
    """Binary cross-entropy of the logit x with the target t, 0 to 1."""
    return softplus_numpy(x) - t * x


def bce_grad_numpy(g, x, t):
    """dx: by how much the probability misses the target."""
    return g * (sigmoid_numpy(x) - t)


def gaussian_nll_numpy(x, m, w):
    """-ln N(x; m, e^w)."""
    return (LN_2PI + w + (x - m) ** 2 * np.exp(-w)) / 2


def gaussian_nll_grad_numpy(g, x, m, w):
    """dx and dw."""
    precision = np.exp(-w)
    return g * (x - m) * precision, g * (1 - (x - m) ** 2 * precision) / 2


def kl_gaussian_numpy(m, w):
    """The KL term of a VAE, for one number of the code."""
    return (np.expm1(w) - w + m * m) / 2


def kl_gaussian_grad_numpy(g, m, w):
    """dm and dw."""
    return g * m, g * np.expm1(w) / 2


def kl_gaussians_numpy(m1, w1, m2, w2):
    """KL of two Gaussians, as in a diffusion model's bound."""
    return (np.expm1(w1 - w2) - (w1 - w2) + (m1 - m2) ** 2 * np.exp(-w2)) / 2


def kl_gaussians_grad_numpy(g, m1, w1, m2, w2):
    """dm1, dw1 and dw2."""
    precision = np.exp(-w2)
    dw1 = g * np.expm1(w1 - w2) / 2
    return g * (m1 - m2) * precision, dw1, -dw1 - g * (m1 - m2) ** 2 * precision / 2


def cross_entropy_numpy(x, labels):
    """-ln softmax(x)[label], and the lse that backward wants."""
    top = x.max(1, initial=-np.inf)
    lse = top + np.log(np.exp(x - top[:, None]).sum(1))
    return lse - x[np.arange(len(x)), labels], lse


def cross_entropy_grad_numpy(g, x, labels, lse):
    """dx: the probabilities, less 1 at the label."""
    p = np.exp(x - lse[:, None])
    p[np.arange(len(x)), labels] -= 1
    return g[:, None] * p


# ---------------------------------------------------------------- Numba: elements, or rows, shared over the threads


@jit
def mse_loop(x, t, y):
    for i in range(len(x)):
        y[i] = (x[i] - t[i]) * (x[i] - t[i])


@jit
def mse_grad_loop(g, x, t, dx):
    for i in range(len(x)):
        dx[i] = (g[i] + g[i]) * (x[i] - t[i])


@jit
def l1_loop(x, t, y):
    for i in range(len(x)):
        y[i] = abs(x[i] - t[i])


@jit
def l1_grad_loop(g, x, t, dx):
    for i in range(len(x)):
        dx[i] = g[i] * np.sign(x[i] - t[i])


@jit
def bce_loop(x, t, y):
    for i in range(len(x)):
        softplus = max(x[i], type(x[i])(0)) + log1p(exp(-abs(x[i])))
        y[i] = softplus - t[i] * x[i]


@jit
def bce_grad_loop(g, x, t, dx):
    for i in range(len(x)):
        dx[i] = g[i] * (logistic(x[i]) - t[i])


@jit
def gaussian_nll_loop(x, m, w, y):
    constant, half = type(x[0])(LN_2PI), type(x[0])(0.5)  # plain numbers would lift float32 to float64
    for i in range(len(x)):
        y[i] = half * (constant + w[i] + (x[i] - m[i]) ** 2 * exp(-w[i]))


@jit
def gaussian_nll_grad_loop(g, x, m, w, dx, dw):
    one, half = type(x[0])(1), type(x[0])(0.5)
    for i in range(len(x)):
        precision = exp(-w[i])
        dx[i] = g[i] * (x[i] - m[i]) * precision
        dw[i] = half * g[i] * (one - (x[i] - m[i]) ** 2 * precision)


@jit
def kl_gaussian_loop(m, w, y):
    half = type(m[0])(0.5)
    for i in range(len(m)):
        y[i] = half * (expm1(w[i]) - w[i] + m[i] * m[i])


@jit
def kl_gaussian_grad_loop(g, m, w, dm, dw):
    half = type(m[0])(0.5)
    for i in range(len(m)):
        dm[i] = g[i] * m[i]
        dw[i] = half * g[i] * expm1(w[i])


@jit
def kl_gaussians_loop(m1, w1, m2, w2, y):
    half = type(m1[0])(0.5)
    for i in range(len(m1)):
        distance = (m1[i] - m2[i]) ** 2 * exp(-w2[i])
        y[i] = half * (expm1(w1[i] - w2[i]) - (w1[i] - w2[i]) + distance)


@jit
def kl_gaussians_grad_loop(g, m1, w1, m2, w2, dm1, dw1, dw2):
    half = type(m1[0])(0.5)
    for i in range(len(m1)):
        precision = exp(-w2[i])
        dm1[i] = g[i] * (m1[i] - m2[i]) * precision
        dw1[i] = half * g[i] * expm1(w1[i] - w2[i])
        dw2[i] = -dw1[i] - half * g[i] * (m1[i] - m2[i]) ** 2 * precision


mse_numba = over_elements(mse_loop, grain=CHEAP)
mse_grad_numba = over_elements(mse_grad_loop, grain=CHEAP)
l1_numba = over_elements(l1_loop, grain=CHEAP)
l1_grad_numba = over_elements(l1_grad_loop, grain=CHEAP)
bce_numba = over_elements(bce_loop)
bce_grad_numba = over_elements(bce_grad_loop)
gaussian_nll_numba = over_elements(gaussian_nll_loop)
gaussian_nll_grad_numba = over_elements(gaussian_nll_grad_loop, outputs=2)
kl_gaussian_numba = over_elements(kl_gaussian_loop)
kl_gaussian_grad_numba = over_elements(kl_gaussian_grad_loop, outputs=2)
kl_gaussians_numba = over_elements(kl_gaussians_loop)
kl_gaussians_grad_numba = over_elements(kl_gaussians_grad_loop, outputs=3)


def cross_entropy_numba(x, labels):
    """Two sweeps over a row: its maximum, then the sum; no probability is kept."""
    loss, lse = np.empty(len(x), x.dtype), np.empty(len(x), x.dtype)
    parallel(len(x), cross_entropy_rows, x, labels, loss, lse)
    return loss, lse


def cross_entropy_grad_numba(g, x, labels, lse):
    """One sweep: lse makes the probabilities again."""
    dx = np.empty_like(x)
    parallel(len(x), cross_entropy_grad_rows, g, x, labels, lse, dx)
    return dx


@jit
def cross_entropy_rows(first, last, x, labels, loss, lse):
    for i in range(first, last):
        top, total = largest(x, i, x.shape[1]), 0.0
        for k in range(x.shape[1]):
            total += exp(x[i, k] - top)
        lse[i] = top + np.log(total)
        loss[i] = lse[i] - x[i, labels[i]]


@jit
def cross_entropy_grad_rows(first, last, g, x, labels, lse, dx):
    for i in range(first, last):
        for k in range(x.shape[1]):
            dx[i, k] = g[i] * exp(x[i, k] - lse[i])
        dx[i, labels[i]] -= g[i]


# ---------------------------------------------------------------- CUDA: one thread an element, one warp a long row

in_cuda = partial(over_elements_cuda, __file__)

mse_cuda = in_cuda("mse")
mse_grad_cuda = in_cuda("mse_grad")
l1_cuda = in_cuda("l1")
l1_grad_cuda = in_cuda("l1_grad")
bce_cuda = in_cuda("bce")
bce_grad_cuda = in_cuda("bce_grad")
gaussian_nll_cuda = in_cuda("gaussian_nll")
gaussian_nll_grad_cuda = in_cuda("gaussian_nll_grad", outputs=2)
kl_gaussian_cuda = in_cuda("kl_gaussian")
kl_gaussian_grad_cuda = in_cuda("kl_gaussian_grad", outputs=2)
kl_gaussians_cuda = in_cuda("kl_gaussians")
kl_gaussians_grad_cuda = in_cuda("kl_gaussians_grad", outputs=3)


def cross_entropy_cuda(x, labels, version=None):
    """version 1: a thread a row; 2: a warp a row, which rows of 32 logits or more get by themselves."""
    x, labels = rows_of_logits("cross_entropy", x, labels)
    n, k = x.shape
    version = choose("cross_entropy", version, {1: None, 2: None}, opt_in=(2,) if k < 32 else ())
    loss, lse = empty((n,), x), empty((n,), x)
    if n:
        rows = THREADS if version == 1 else THREADS // 32  # a block
        args = (x, labels, loss, lse, i32(k), i32(n))
        launch(__file__, f"cross_entropy_v{version}", blocks(n, rows), THREADS, args, REAL=C_NAMES[x.dtype.name])
    return loss, lse


def cross_entropy_grad_cuda(g, x, labels, lse):
    """One version: a thread an element."""
    x, labels = rows_of_logits("cross_entropy_grad", x, labels)
    x, g, lse = floats("cross_entropy_grad", x=x, g=g, lse=lse)
    check_shapes("cross_entropy_grad", x.shape[:1], g=g, lse=lse)
    dx = empty(x.shape, x)
    over(__file__, "cross_entropy_grad_v1", 1, (g, x, labels, lse, dx, i32(x.shape[1])), x)
    return dx


def rows_of_logits(kernel, x, labels):
    """x and labels in C order. Raises TypeError for other dtypes, ValueError for other shapes."""
    (x,) = floats(kernel, x=x)
    if labels.dtype != np.int64:
        raise TypeError(f"{kernel}: labels must be int64, got {labels.dtype}")
    if x.ndim != 2 or labels.shape != x.shape[:1]:
        raise ValueError(f"{kernel}: x must be (N, K) and labels (N,), got {x.shape} and {labels.shape}")
    return x, contiguous(labels)
