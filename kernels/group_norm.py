"""Group normalisation, with or without SiLU: every group of C/G channels of one sample gets mean 0 and variance 1.

    z = gamma * xhat + beta        xhat = (x - mu) * rstd        rstd = 1 / sqrt(var + eps)
    y = z,  or with SiLU  y = z s,  s = sigmoid(z)

mu and var run over the P positions and C/G channels of a group (var with divisor P*C/G).

Backward, with dxhat = dz * gamma and <.> the mean over a group:

    dz     = dy,  or with SiLU  dy s (1 + z (1 - s))
    dx     = rstd * (dxhat - <dxhat> - xhat * <dxhat * xhat>)
    dgamma = sum over n, p of dz * xhat         dbeta = sum over n, p of dz

The two means are what is left of d(mu) and d(var): adding a constant to a group, or scaling it,
changes nothing in xhat, so the gradient has no component along 1 or along xhat.

Only mu and rstd are kept for backward; xhat and z are computed again from x, which saves two arrays of x's size.

Shapes   x, y, dy, dx (N, P, C)    gamma, beta, dgamma, dbeta (C,)    mu, rstd (N, G)
Source   Wu and He, Group Normalization, ECCV 2018, eq. 1 to 7; deck 002, "Network Architectures"
"""

import numpy as np

from ._cuda import C_NAMES, empty, i32, launch, real
from ._memory import aligned
from ._numba import jit
from ._threads import parallel
from ._versions import check_shapes, choose, float32_only, floats, pack
from .activation import silu_grad_numpy, silu_numpy
from .simd.prefetch import will_read, will_write
from .simd.transcendental import exp

# ---------------------------------------------------------------- NumPy: the definition


def group_norm_numpy(x, gamma, beta, groups, eps, silu):
    """y, and the mu and rstd that backward wants."""
    grouped = _grouped(x, groups)
    count = max(grouped.shape[1] * grouped.shape[3], 1)  # an empty group has mean 0
    mu = grouped.sum(axis=(1, 3), dtype=np.float64) / count
    var = ((grouped - mu[:, None, :, None]) ** 2).sum(axis=(1, 3)) / count
    mu, rstd = mu.astype(x.dtype), (1 / np.sqrt(var + eps)).astype(x.dtype)
    z = _standardise(x, mu, rstd) * gamma + beta
    return silu_numpy(z) if silu else z, mu, rstd


def group_norm_grad_numpy(dy, x, gamma, beta, mu, rstd, silu, so_far=None):
    """dx, to which so_far is added where it is given, dgamma and dbeta."""
    xhat = _standardise(x, mu, rstd)
    dz = silu_grad_numpy(dy, xhat * gamma + beta) if silu else dy
    dgamma = (dz * xhat).sum(axis=(0, 1), dtype=np.float64)
    dbeta = dz.sum(axis=(0, 1), dtype=np.float64)

    xhat, dxhat = _grouped(xhat, mu.shape[1]), _grouped(dz * gamma, mu.shape[1])
    count = max(xhat.shape[1] * xhat.shape[3], 1)

    def group_mean(a):
        return (a.sum(axis=(1, 3), keepdims=True, dtype=np.float64) / count).astype(x.dtype)

    dx = rstd[:, None, :, None] * (dxhat - group_mean(dxhat) - xhat * group_mean(dxhat * xhat))
    dx = dx.reshape(x.shape)
    return dx if so_far is None else dx + so_far, dgamma.astype(x.dtype), dbeta.astype(x.dtype)


def _grouped(x, groups):
    n, p, c = x.shape
    return x.reshape(n, p, groups, c // groups)


def _standardise(x, mu, rstd):
    return ((_grouped(x, mu.shape[1]) - mu[:, None, :, None]) * rstd[:, None, :, None]).reshape(x.shape)


# ---------------------------------------------------------------- Numba: one task a sample
#
# The compiler turns a loop over contiguous numbers into vector instructions, at a price for each time it is entered.
# So a sample is not read position by position, C numbers at a time, but in rows of several positions, WIDTH numbers
# or somewhat more; gamma, beta and the statistics are repeated to match. The last row may be shorter.
# No loop touches many arrays, and none writes to an array that it also reads under another name: the compiler lets
# the loop check that what it writes overlaps nothing that it reads, and goes number by number where it does.

WIDTH = 256
BLOCK = 32  # rows that are summed in x's own precision, before that sum is added to the others in float64
GRAIN = 1 << 13  # numbers that are worth a share
AHEAD = 6  # rows that are asked for before they are needed
SPARSE = 16  # one row in so many is read for the first guess of the mean


def group_norm_numba(x, gamma, beta, groups, eps, silu):
    """Samples as flat vectors, so that a row may hold several positions."""
    n, p, c = x.shape
    y, mu, rstd = aligned((n, p * c), x.dtype), aligned((n, groups), x.dtype), aligned((n, groups), x.dtype)
    given = x.reshape(n, p * c), gamma, beta, eps, silu
    parallel(n, group_norm_samples, *given, y, mu, rstd, grain=1 + GRAIN // max(p * c, 1))
    return y.reshape(x.shape), mu, rstd


def group_norm_grad_numba(dy, x, gamma, beta, mu, rstd, silu, so_far=None):
    """dx, dgamma and dbeta, from the same flat samples."""
    n, p, c = x.shape
    dx, sums = aligned((n, p * c), x.dtype), np.empty((n, 2, c))
    given = dy.reshape(n, p * c), x.reshape(n, p * c), gamma, beta, mu, rstd
    so_far = dx[:0] if so_far is None else so_far.reshape(n, p * c)
    parallel(n, group_norm_grad_samples, *given, silu, so_far, dx, sums, grain=1 + GRAIN // max(p * c, 1))
    # One sum a sample, added up in the order of the samples: the result does not depend on the threads.
    return dx.reshape(x.shape), *sums.sum(axis=0).astype(x.dtype)


@jit
def repeated(per_channel):
    """One number a channel, again and again, WIDTH times or somewhat more."""
    c = len(per_channel)
    row = np.empty((WIDTH + c - 1) // max(c, 1) * c, per_channel.dtype)
    for start in range(0, len(row), max(c, 1)):
        for i in range(c):  # as one slice, Numba would compile the words of an error message, for a second
            row[start + i] = per_channel[i]
    return row


@jit
def group_sum(sums, g, size):
    """Of a sum a channel, those of group g, which has so many channels."""
    total = 0.0
    for k in range(g * size, (g + 1) * size):
        total += sums[k]
    return total


@jit
def spread(per_group, row, c):
    """Write a number a group to the group's channels, wherever the row repeats them."""
    size = c // len(per_group)
    for g in range(len(per_group)):
        for k in range(g * size, (g + 1) * size):
            row[k] = per_group[g]
    for start in range(c, len(row), max(c, 1)):
        for k in range(c):
            row[start + k] = row[k]


@jit
def add_by_channel(row, sums):
    """sums[channel] += the numbers of a row that are that channel's."""
    c = len(sums)
    for start in range(0, len(row), max(c, 1)):
        for k, number in enumerate(row[start : start + c]):  # start + k might be negative: no vectors
            sums[k] += number


@jit
def deviation_sums(numbers, every, centre, total, square):
    """Write each channel's sums, over rows 0, every, 2 every ..., of d = row - centre and of d^2 -> numbers read."""
    width, count = len(centre), 0
    step = max(width * every, 1)
    part, part_square = np.empty(width, numbers.dtype), np.empty(width, numbers.dtype)
    total[:] = 0
    square[:] = 0
    for start in range(0, len(numbers), BLOCK * step):
        part[:] = 0
        part_square[:] = 0
        for at in range(start, min(start + BLOCK * step, len(numbers)), step):
            will_read(numbers, at + AHEAD * step, at + AHEAD * step + width)
            row = numbers[at : at + width]
            count += len(row)
            for k in range(len(row)):
                deviation = row[k] - centre[k]
                part[k] += deviation
                part_square[k] += deviation * deviation
        add_by_channel(part, total)
        add_by_channel(part_square, square)
    return count


@jit
def group_norm_samples(first, last, x, gamma, beta, eps, silu, y, mu, rstd):
    """Sweeps over a sample: a guess m of the mean, from few rows; mean and variance, from deviations; the result.

    E[x^2] - mu^2 would cancel where |mu| >> std. E[(x - m)^2] - (mu - m)^2 does not: m is the mean of one number in
    16, and those alone contribute (mu - m)^2 / 16 or more to the variance, so that |mu - m| <= 4 std.
    """
    groups, c = mu.shape[1], len(gamma)
    size = c // groups
    gamma, beta = repeated(gamma), repeated(beta)
    width = len(gamma)
    total, square, centre, scale = np.empty(c), np.empty(c), np.empty(width, x.dtype), np.empty(width, x.dtype)
    for i in range(first, last):
        centre[:] = 0
        count = max(deviation_sums(x[i], SPARSE, centre, total, square) // groups, 1)
        for g in range(groups):
            mu[i, g] = group_sum(total, g, size) / count
        spread(mu[i], centre, c)
        count = max(deviation_sums(x[i], 1, centre, total, square) // groups, 1)
        for g in range(groups):
            offset = group_sum(total, g, size) / count
            var = group_sum(square, g, size) / count - offset * offset
            mu[i, g], rstd[i, g] = mu[i, g] + offset, 1 / np.sqrt((0 if var < 0 else var) + eps)
        spread(mu[i], centre, c)
        spread(rstd[i], scale, c)
        for k in range(width):
            scale[k] *= gamma[k]
        normalise(x[i], centre, scale, beta, silu, y[i])


@jit
def normalise(x, centre, scale, beta, silu, y):
    """y = z or silu(z), z = (x - centre) scale + beta."""
    one = x.dtype.type(1)  # a plain 1 would lift float32 to float64
    for at in range(0, len(x), max(len(centre), 1)):
        will_write(y, at + AHEAD * len(centre), at + (AHEAD + 1) * len(centre))
        row, result = x[at : at + len(centre)], y[at : at + len(centre)]
        if silu:
            for k in range(len(row)):
                z = (row[k] - centre[k]) * scale[k] + beta[k]
                result[k] = z / (one + exp(-z))
        else:
            for k in range(len(row)):
                result[k] = (row[k] - centre[k]) * scale[k] + beta[k]


@jit
def group_norm_grad_samples(first, last, dy, x, gamma, beta, mu, rstd, silu, so_far, dx, sums):
    """Sweeps over a sample: dz, so that no exp is taken twice; the sums of dz and of dz xhat; dx.

    The sums for dgamma and dbeta, weighted by gamma, are also the two group means that dx needs.
    """
    groups, c = mu.shape[1], len(gamma)
    size, count = c // groups, max(x.shape[1] // groups, 1)
    gamma, beta = repeated(gamma), repeated(beta)
    width = len(gamma)
    dz_of_silu = np.empty(x.shape[1] if silu else 0, x.dtype)
    centre, scale = np.empty(width, x.dtype), np.empty(width, x.dtype)
    a, b, mean, slope = np.empty(width, x.dtype), np.empty(width, x.dtype), np.empty(groups), np.empty(groups)
    for i in range(first, last):
        dgamma, dbeta = sums[i]
        spread(mu[i], centre, c)
        spread(rstd[i], scale, c)
        for k in range(width):
            scale[k] *= gamma[k]
        if silu:
            through_silu(dy[i], x[i], centre, scale, beta, dz_of_silu)
        dz = dz_of_silu if silu else dy[i]
        product_sums(dz, x[i], centre, dbeta, dgamma)
        for g in range(groups):
            of_dz, of_deviation = 0.0, 0.0
            for k in range(g * size, (g + 1) * size):
                of_dz += scale[k] * dbeta[k]
                of_deviation += scale[k] * dgamma[k]
                dgamma[k] *= rstd[i, g]
            mean[g], slope[g] = of_dz / count, of_deviation / count * rstd[i, g] ** 2
        spread(mean, a, c)
        spread(slope, b, c)
        project_out(dz, x[i], centre, scale, a, b, dx[i], so_far[i : i + 1])


@jit
def through_silu(dy, x, centre, scale, beta, dz):
    """dz = dy s (1 + z (1 - s)), z as in `normalise`."""
    one = x.dtype.type(1)
    for at in range(0, len(x), max(len(centre), 1)):
        for numbers in (dy, x):
            will_read(numbers, at + AHEAD * len(centre), at + (AHEAD + 1) * len(centre))
        g, row, result = dy[at : at + len(centre)], x[at : at + len(centre)], dz[at : at + len(centre)]
        for k in range(len(row)):
            z = (row[k] - centre[k]) * scale[k] + beta[k]
            s = one / (one + exp(-z))
            result[k] = g[k] * s * (one + z * (one - s))


@jit
def product_sums(dz, x, centre, total, product):
    """Write each channel's sums of dz and of dz (x - centre)."""
    width = max(len(centre), 1)
    part, part_product = np.empty(len(centre), x.dtype), np.empty(len(centre), x.dtype)
    total[:] = 0
    product[:] = 0
    for start in range(0, len(x), BLOCK * width):
        part[:] = 0
        part_product[:] = 0
        for at in range(start, min(start + BLOCK * width, len(x)), width):
            g, row = dz[at : at + width], x[at : at + width]
            for k in range(len(row)):
                part[k] += g[k]
                part_product[k] += g[k] * (row[k] - centre[k])
        add_by_channel(part, total)
        add_by_channel(part_product, product)


@jit
def project_out(dz, x, centre, scale, a, b, dx, so_far=None):
    """dx = scale dz - a - b (x - centre), what is left without the parts along 1 and xhat; plus so_far's one row."""
    for at in range(0, len(x), max(len(centre), 1)):
        will_write(dx, at + AHEAD * len(centre), at + (AHEAD + 1) * len(centre))
        g, row, result = dz[at : at + len(centre)], x[at : at + len(centre)], dx[at : at + len(centre)]
        if so_far is not None and len(so_far):
            more = so_far[0, at : at + len(centre)]
            for k in range(len(row)):
                result[k] = more[k] + (scale[k] * g[k] - (a[k] + b[k] * (row[k] - centre[k])))
        else:
            for k in range(len(row)):
                result[k] = scale[k] * g[k] - (a[k] + b[k] * (row[k] - centre[k]))


# ---------------------------------------------------------------- CUDA: one block a group

BLOCK_SIZE = 256  # threads: what group_norm.cu's arrays in shared memory are made for


def group_norm_cuda(x, gamma, beta, groups, eps, silu, version=None):
    """version 1: two passes over a group; 2: one pass, in 16-byte loads (float32 only)."""
    x, gamma, beta = floats("group_norm", x=x, gamma=gamma, beta=beta)
    n, p, c = x.shape
    check_shapes("group_norm", (c,), gamma=gamma, beta=beta)
    y, mu, rstd = empty(x.shape, x), empty((n, groups), x), empty((n, groups), x)
    version, parameters = version_and_parameters("group_norm", version, c // groups, x, gamma, beta)
    if mu.size:
        args = x, gamma, beta, y, mu, rstd, i32(p), i32(c), i32(groups), real(eps, x), i32(silu)
        launch(__file__, f"group_norm_v{version}", mu.size, BLOCK_SIZE, args, **parameters)
    return y, mu, rstd


def group_norm_grad_cuda(dy, x, gamma, beta, mu, rstd, silu, so_far=None, version=None):
    """version 1: dgamma and dbeta by a kernel of their own; 2: their sums taken on the way to dx (float32 only)."""
    arrays = floats("group_norm_grad", dy=dy, x=x, gamma=gamma, beta=beta, mu=mu, rstd=rstd)
    dy, x, gamma, beta, mu, rstd = arrays
    (n, p, c), groups = x.shape, mu.shape[1]
    check_shapes("group_norm_grad", x.shape, dy=dy)
    check_shapes("group_norm_grad", (c,), gamma=gamma, beta=beta)
    check_shapes("group_norm_grad", (n, groups), mu=mu, rstd=rstd)
    dx, dgamma, dbeta = empty(x.shape, x), empty((c,), x), empty((c,), x)
    version, parameters = version_and_parameters("group_norm_grad", version, c // groups, dy, x, gamma, beta)
    sizes = i32(p), i32(c), i32(groups), i32(silu)
    if version == 2:
        parts = empty((n, 2, c), x)
        launch(__file__, "group_norm_grad_v2", mu.size, BLOCK_SIZE, (*arrays, dx, parts, *sizes), **parameters)
        launch(__file__, "add_parts", c, BLOCK_SIZE, (parts, dgamma, dbeta, i32(n), i32(c)), **parameters)
        return dx if so_far is None else dx + so_far, dgamma, dbeta
    if x.size:
        launch(__file__, "group_norm_grad_v1", mu.size, BLOCK_SIZE, (*arrays, dx, *sizes), **parameters)
    if c:
        args = *arrays, dgamma, dbeta, i32(n * p), i32(c), i32(p), i32(groups), i32(silu)
        launch(__file__, "channel_sums_v1", c, BLOCK_SIZE, args, **parameters)
    return dx if so_far is None else dx + so_far, dgamma, dbeta


def version_and_parameters(kernel, version, width, *arrays):
    """Of a norm: the version to run, and the -D parameters of its text. `width`: how many numbers lie side by side."""
    x = arrays[0]
    version = choose(kernel, version, {1: None, 2: float32_only(x) if x.size else "needs an element"})
    return version, {"REAL": C_NAMES[str(x.dtype)]} if version == 1 else {"PACK": pack(width, *arrays)}
