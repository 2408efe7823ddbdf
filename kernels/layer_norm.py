"""Layer normalisation: every row gets mean 0 and variance 1 over its C elements.

    y = gamma * xhat + beta        xhat = (x - mu) * rstd        rstd = 1 / sqrt(var + eps)

mu and var run over one row (var with divisor C). Backward, with dxhat = dy * gamma and <.> the mean over a row:

    dx     = rstd * (dxhat - <dxhat> - xhat * <dxhat * xhat>)
    dgamma = sum over rows of dy * xhat         dbeta = sum over rows of dy

Shapes   x, y, dy, dx (R, C)    gamma, beta, dgamma, dbeta (C,)    mu, rstd (R,)
Source   Ba, Kiros and Hinton, Layer Normalization, 2016, eq. 4; the gradient is group_norm.py's with one group a row
"""

import numpy as np

from ._cuda import blocks, empty, i32, launch, real
from ._memory import aligned
from ._numba import jit
from ._threads import parallel
from ._versions import check_shapes, floats
from .group_norm import BLOCK_SIZE, version_and_parameters

# ---------------------------------------------------------------- NumPy: the definition


def layer_norm_numpy(x, gamma, beta, eps):
    """y, and the mu and rstd that backward wants."""
    count = max(x.shape[1], 1)  # an empty row has mean 0
    mu = x.sum(axis=1, dtype=np.float64) / count
    var = ((x - mu[:, None]) ** 2).sum(axis=1) / count
    mu, rstd = mu.astype(x.dtype), (1 / np.sqrt(var + eps)).astype(x.dtype)
    return (x - mu[:, None]) * rstd[:, None] * gamma + beta, mu, rstd


def layer_norm_grad_numpy(dy, x, gamma, mu, rstd):
    """dx, dgamma and dbeta."""
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
    """Three sweeps over a row, which stays in the cache."""
    y, mu, rstd = aligned(x.shape, x.dtype), aligned((len(x),), x.dtype), aligned((len(x),), x.dtype)
    parallel(len(x), layer_norm_rows, x, gamma, beta, eps, y, mu, rstd)
    return y, mu, rstd


def layer_norm_grad_numba(dy, x, gamma, mu, rstd):
    """Likewise; a block of rows adds to sums of its own."""
    blocks = -(-len(x) // BLOCK)
    dx, (dgamma, dbeta) = aligned(x.shape, x.dtype), np.zeros((2, blocks, x.shape[1]), x.dtype)
    parallel(blocks, layer_norm_grad_blocks, dy, x, gamma, mu, rstd, dx, dgamma, dbeta)
    # The blocks do not depend on the number of threads, so neither does the order of this sum.
    return dx, *(a.sum(axis=0, dtype=np.float64).astype(x.dtype) for a in (dgamma, dbeta))


@jit
def layer_norm_rows(first, last, x, gamma, beta, eps, y, mu, rstd):
    """The variance from deviations: E[x^2] - mu^2 would cancel where |mu| >> std.

    Sums start from a zero of x's own dtype, as a plain 0.0 would lift the loop to float64. Should the mean be a little
    off by that, the mean of the deviations from it says by how much.
    """
    zero, count = x.dtype.type(0), x.dtype.type(max(x.shape[1], 1))
    for i in range(first, last):
        row, result, total = x[i], y[i], zero
        for k in range(len(row)):
            total += row[k]
        mean, offset, square = total / count, zero, zero
        for k in range(len(row)):
            deviation = row[k] - mean
            offset += deviation
            square += deviation * deviation
        offset /= count
        var = square / count - offset * offset
        mu[i], rstd[i] = mean + offset, 1 / np.sqrt((0 if var < 0 else var) + eps)
        centre, scale = mu[i], rstd[i]
        for k in range(len(row)):
            result[k] = (row[k] - centre) * scale * gamma[k] + beta[k]


@jit
def layer_norm_grad_blocks(first, last, dy, x, gamma, mu, rstd, dx, dgamma, dbeta):
    """A block's sums in x's own dtype: they are added up in float64.

    Few arrays a loop, as in group_norm.py: sums of a row; then sums of a column; then dx.
    """
    zero, count = x.dtype.type(0), x.dtype.type(max(x.shape[1], 1))
    for block in range(first, last):
        sum_dy_xhat, sum_dy = dgamma[block], dbeta[block]
        for i in range(block * BLOCK, min((block + 1) * BLOCK, len(x))):
            row, g, result, centre, scale = x[i], dy[i], dx[i], mu[i], rstd[i]
            mean_dxhat = mean_dxhat_xhat = zero
            for k in range(len(row)):
                dxhat = g[k] * gamma[k]
                mean_dxhat += dxhat
                mean_dxhat_xhat += dxhat * ((row[k] - centre) * scale)
            mean_dxhat /= count
            mean_dxhat_xhat /= count
            for k in range(len(row)):
                sum_dy[k] += g[k]
                sum_dy_xhat[k] += g[k] * ((row[k] - centre) * scale)
            for k in range(len(row)):
                xhat = (row[k] - centre) * scale
                result[k] = scale * (g[k] * gamma[k] - mean_dxhat - xhat * mean_dxhat_xhat)


# ---------------------------------------------------------------- CUDA: one warp a row

ROWS_A_BLOCK = 128  # that share one partial sum for dgamma and dbeta


def layer_norm_cuda(x, gamma, beta, eps, version=None):
    """version 1: a block of threads a row, two passes; 2: a warp a row, one pass (float32 only)."""
    x, gamma, beta = floats("layer_norm", x=x, gamma=gamma, beta=beta)
    rows, c = x.shape
    check_shapes("layer_norm", (c,), gamma=gamma, beta=beta)
    y, mu, rstd = empty(x.shape, x), empty((rows,), x), empty((rows,), x)
    version, parameters = version_and_parameters("layer_norm", version, c, x, gamma, beta)
    arrays = x, gamma, beta, y, mu, rstd
    if version == 2:
        args = *arrays, i32(rows), i32(c), real(eps, x)
        launch(__file__, "layer_norm_v2", blocks(rows, BLOCK_SIZE // 32), BLOCK_SIZE, args, **parameters)
    elif rows:
        launch(__file__, "layer_norm_v1", rows, BLOCK_SIZE, (*arrays, i32(c), real(eps, x)), **parameters)
    return y, mu, rstd


def layer_norm_grad_cuda(dy, x, gamma, mu, rstd, version=None):
    """Versions as in layer_norm_cuda; 2 takes the sums over rows in two stages."""
    arrays = floats("layer_norm_grad", dy=dy, x=x, gamma=gamma, mu=mu, rstd=rstd)
    dy, x, gamma, mu, rstd = arrays
    rows, c = x.shape
    check_shapes("layer_norm_grad", x.shape, dy=dy)
    check_shapes("layer_norm_grad", (c,), gamma=gamma)
    check_shapes("layer_norm_grad", (rows,), mu=mu, rstd=rstd)
    dx, dgamma, dbeta = empty(x.shape, x), empty((c,), x), empty((c,), x)
    version, parameters = version_and_parameters("layer_norm_grad", version, c, dy, x, gamma)
    if version == 2:
        args = *arrays, dx, i32(rows), i32(c)
        launch(__file__, "layer_norm_grad_v2", blocks(rows, BLOCK_SIZE // 32), BLOCK_SIZE, args, **parameters)
        channel_sums(__file__, dy, x, mu, rstd, dgamma, dbeta, 1, 1, parameters)
        return dx, dgamma, dbeta
    if x.size:
        launch(__file__, "layer_norm_grad_v1", rows, BLOCK_SIZE, (*arrays, dx, i32(c)), **parameters)
    if c:  # `beta` would be read with SiLU only
        args = dy, x, gamma, gamma, mu, rstd, dgamma, dbeta, i32(rows), i32(c), i32(1), i32(1), i32(0)
        launch(__file__, "channel_sums_v1", c, BLOCK_SIZE, args, **parameters)
    return dx, dgamma, dbeta


def channel_sums(file, dy, x, mu, rstd, dgamma, dbeta, p, groups, parameters):
    """Fill in dgamma and dbeta in two stages; norm.cuh says which statistics p and groups give to a row."""
    rows, c = x.shape
    parts = empty((blocks(rows, ROWS_A_BLOCK), 2, c), x)
    args = dy, x, mu, rstd, parts, i32(rows), i32(ROWS_A_BLOCK), i32(c), i32(p), i32(groups)
    launch(file, "channel_sums_v2", len(parts), BLOCK_SIZE, args, **parameters)
    launch(file, "add_parts", c, BLOCK_SIZE, (parts, dgamma, dbeta, i32(len(parts)), i32(c)), **parameters)
