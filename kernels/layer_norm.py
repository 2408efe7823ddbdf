"""Layer normalisation: every row gets mean 0 and variance 1 over its C elements.

    y = gamma * xhat + beta        xhat = (x - mu) * rstd        rstd = 1 / sqrt(var + eps)

mu and var run over one row (var with divisor C). Backward, with dxhat = dy * gamma and <.> the mean over a row:

    dx     = rstd * (dxhat - <dxhat> - xhat * <dxhat * xhat>)
    dgamma = sum over rows of dy * xhat         dbeta = sum over rows of dy

Shapes   x, y, dy, dx (R, C)    gamma, beta, dgamma, dbeta (C,)    mu, rstd (R,)
Source   Ba, Kiros and Hinton, Layer Normalization, 2016, eq. 4; the gradient is group_norm.py's with one group a row
"""

import numpy as np

from ._numba import jit, parallel

# ---------------------------------------------------------------- NumPy: the definition


def layer_norm_numpy(x, gamma, beta, eps):
    count = max(x.shape[1], 1)  # an empty row has mean 0
    mu = x.sum(axis=1, dtype=np.float64) / count
    var = ((x - mu[:, None]) ** 2).sum(axis=1) / count
    mu, rstd = mu.astype(x.dtype), (1 / np.sqrt(var + eps)).astype(x.dtype)
    return (x - mu[:, None]) * rstd[:, None] * gamma + beta, mu, rstd


def layer_norm_grad_numpy(dy, x, gamma, mu, rstd):
    xhat, dxhat = (x - mu[:, None]) * rstd[:, None], dy * gamma
    count = max(x.shape[1], 1)

    def row_mean(a):
        return (a.sum(axis=1, keepdims=True, dtype=np.float64) / count).astype(x.dtype)

    dx = rstd[:, None] * (dxhat - row_mean(dxhat) - xhat * row_mean(dxhat * xhat))
    dgamma, dbeta = (dy * xhat).sum(axis=0, dtype=np.float64), dy.sum(axis=0, dtype=np.float64)
    return dx, dgamma.astype(x.dtype), dbeta.astype(x.dtype)


# ---------------------------------------------------------------- Numba: one task a row; backward, a block of rows

BLOCK = 64  # rows that share one partial sum for dgamma and dbeta


def layer_norm_numba(x, gamma, beta, eps):
    y, mu, rstd = np.empty_like(x), np.empty(len(x), x.dtype), np.empty(len(x), x.dtype)
    parallel(len(x), layer_norm_rows, x, gamma, beta, eps, y, mu, rstd)
    return y, mu, rstd


def layer_norm_grad_numba(dy, x, gamma, mu, rstd):
    blocks = -(-len(x) // BLOCK)
    dx, dgamma, dbeta = np.empty_like(x), np.zeros((blocks, x.shape[1])), np.zeros((blocks, x.shape[1]))
    parallel(blocks, layer_norm_grad_blocks, dy, x, gamma, mu, rstd, dx, dgamma, dbeta)
    # The blocks do not depend on the number of threads, so neither does the order of this sum.
    return dx, dgamma.sum(axis=0).astype(x.dtype), dbeta.sum(axis=0).astype(x.dtype)


@jit
def layer_norm_rows(first, last, x, gamma, beta, eps, y, mu, rstd):
    """Sums in float64, the variance from deviations: E[x^2] - mu^2 would cancel where |mu| >> std."""
    _, c = x.shape
    for i in range(first, last):
        total = 0.0
        for k in range(c):
            total += x[i, k]
        mean = total / max(c, 1)
        square = 0.0
        for k in range(c):
            square += (x[i, k] - mean) ** 2
        mu[i], rstd[i] = mean, 1 / np.sqrt(square / max(c, 1) + eps)
        for k in range(c):
            y[i, k] = (x[i, k] - mu[i]) * rstd[i] * gamma[k] + beta[k]


@jit
def layer_norm_grad_blocks(first, last, dy, x, gamma, mu, rstd, dx, dgamma, dbeta):
    rows, c = x.shape
    for block in range(first, last):
        for i in range(block * BLOCK, min((block + 1) * BLOCK, rows)):
            sum_dxhat = sum_dxhat_xhat = 0.0
            for k in range(c):
                xhat = (x[i, k] - mu[i]) * rstd[i]
                dbeta[block, k] += dy[i, k]
                dgamma[block, k] += dy[i, k] * xhat
                sum_dxhat += dy[i, k] * gamma[k]
                sum_dxhat_xhat += dy[i, k] * gamma[k] * xhat
            mean_dxhat = x.dtype.type(sum_dxhat / max(c, 1))
            mean_dxhat_xhat = x.dtype.type(sum_dxhat_xhat / max(c, 1))
            for k in range(c):
                xhat = (x[i, k] - mu[i]) * rstd[i]
                dx[i, k] = rstd[i] * (dy[i, k] * gamma[k] - mean_dxhat - xhat * mean_dxhat_xhat)


# ---------------------------------------------------------------- CUDA: layer_norm.cu is to come; one warp a row
