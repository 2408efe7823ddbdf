"""Optimiser steps on one flat vector that holds every parameter: in place, and in one pass over memory.

    sgd       g' = s g + decay p             b = momentum b + g'            p -= lr b
    rmsprop   g' = s g                       v = alpha v + (1 - alpha) g'^2 p -= lr g' / (sqrt(v) + eps)
    adamw     g' = s g                       m = beta1 m + (1 - beta1) g'   v = beta2 v + (1 - beta2) g'^2
              m^ = m / (1 - beta1^k)         v^ = v / (1 - beta2^k)         p -= lr (m^ / (sqrt(v^) + eps) + decay p)
              and, where an average is given, ema's line with the new p
    ema       e += (1 - d) (p - e)
    norm      square_norm = sum of g^2

A step has next to no arithmetic: it takes as long as its vectors take to come from memory and go back. So what can
be done while they are here is: the gradient is clipped by its scale s as it is read (s = limit / norm where the norm
is above the limit, else 1), and adamw takes the new weights into their average. The norm has to be known before, so
it is the one other pass.

Adam starts m and v at 0, which biases both towards 0; after k steps (the first is k = 1) the weights
of all gradients seen add up to 1 - beta^k, hence the division. adamw with decay 0 is Adam. In SGD the
decay goes through the momentum like any gradient (an L2 penalty); AdamW takes it past m and v, so
that every weight shrinks by the same factor whatever the size of its gradients.

Shapes   p, m, v, b, ema (P,), C-contiguous, of one float type, written in place
         gradients: g in parts, a list of such vectors that end to end are (P,), read only. They are the parameters'
         gradients where backward left them: laying them end to end first would cost a third of a step
Source   Kingma and Ba, Adam, ICLR 2015, algorithm 1; Loshchilov and Hutter, Decoupled Weight Decay
         Regularization, ICLR 2019, algorithm 2; Hinton, Neural Networks for Machine Learning, lecture 6e (RMSprop);
         Pascanu et al., On the difficulty of training RNNs, ICML 2013, algorithm 1 (clipping); Polyak and Juditsky
         1992 (averaging)
"""

import numpy as np

from ._cuda import C_NAMES, blocks, empty, i32, launch
from ._cuda_elements import THREADS, fitting, over
from ._numba import jit, numba
from ._threads import parallel

if numba is not None:
    from ._calls import pointer


def check_vectors(written, **read):
    """Raises ValueError unless all are flat vectors alike: a step works in place, so a copy would be a lost step.

    written: {name: vector}; read: name = list of vectors, end to end as long as each of the others.
    """
    like = next(iter(written.values()))
    for name, vectors in {**{name: [a] for name, a in written.items()}, **read}.items():
        for a in vectors:
            if a.ndim != 1 or not a.flags.c_contiguous or a.dtype.kind != "f" or a.dtype != like.dtype:
                raise ValueError(
                    f"{name} must be a C-contiguous float vector like the first one, {like.dtype}{like.shape}: "
                    f"got {a.dtype}{a.shape}, strides {a.strides}"
                )
            if name in written and not getattr(a.flags, "writeable", True):  # CuPy knows none that is not
                raise ValueError(f"{name} is written in place and must be writable, got a read-only array")
        if (length := sum(a.size for a in vectors)) != like.size:
            raise ValueError(f"{name} must be as long as the first vector, {like.size}: got {length}")


# ---------------------------------------------------------------- NumPy: the definition


def sgd_step_numpy(p, gradients, b, scale, lr, momentum, decay):
    """Stochastic gradient descent with momentum."""
    check_vectors({"p": p, "b": b}, g=gradients)
    g = scale * np.concatenate(gradients) + decay * p
    b *= momentum
    b += g
    p -= lr * b


def rmsprop_step_numpy(p, gradients, v, scale, lr, alpha, eps):
    """Each gradient is divided by the root of its mean square of late."""
    check_vectors({"p": p, "v": v}, g=gradients)
    g = scale * np.concatenate(gradients)
    v *= alpha
    v += (1 - alpha) * g * g
    p -= lr * g / (np.sqrt(v) + eps)


def adamw_step_numpy(p, gradients, m, v, scale, lr, beta1, beta2, eps, decay, step, ema=None, d=0.0):
    """Adam with decoupled weight decay. step: k; d: of the average `ema`."""
    check_vectors({"p": p, "m": m, "v": v}, g=gradients)
    g = scale * np.concatenate(gradients)
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    v += (1 - beta2) * g * g
    m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)
    p *= 1 - lr * decay
    p -= lr * m_hat / (np.sqrt(v_hat) + eps)
    if ema is not None:
        ema_step_numpy(ema, p, d)


def ema_step_numpy(ema, p, d):
    """Exponential moving average of the weights."""
    check_vectors({"ema": ema}, p=[p])
    ema += (1 - d) * (p - ema)


def square_norm_numpy(*gradients):
    """The sum of squares as a Python float, accumulated in float64."""
    return float(sum(np.sum(np.square(g, dtype=np.float64)) for g in gradients))


# ---------------------------------------------------------------- Numba: the vector shared over the threads
#
# The scalars are worked out in float64 and rounded once to the vectors' type: 1 - beta2 taken in
# float32 would be off by 5e-5, and a float64 scalar would drag the whole loop to float64.
# A weight whose gradient stays 0, such as a dead unit's, has means that decay for ever. Below the smallest normal
# number some processors take a hundred times as long for each operation; so what is negligible becomes 0 before.
# Every loop runs from 0 over its own slice: an index that might be negative, for all the compiler knows, and then
# count from the end, would keep it from using vectors.

GRAIN = 1 << 13  # elements that are worth a thread
NEGLIGIBLE = 1 << 24  # times the smallest normal number: 2e-31 for float32
PIECE = 1 << 17  # elements a sum: pieces, not threads, set the order of adding, so any thread count gives the same bits


def sgd_step_numba(p, gradients, b, scale, lr, momentum, decay):
    """One pass over p, b and the gradient."""
    check_vectors({"p": p, "b": b}, g=gradients)
    scalars = scale, lr, momentum, decay, least(p.dtype)
    over_pieces(gradients, p.dtype, sgd_pieces, p, b, *map(p.dtype.type, scalars))


def rmsprop_step_numba(p, gradients, v, scale, lr, alpha, eps):
    """One pass over p, v and the gradient."""
    check_vectors({"p": p, "v": v}, g=gradients)
    scalars = scale, lr, alpha, 1 - alpha, eps, least(p.dtype)
    over_pieces(gradients, p.dtype, rmsprop_pieces, p, v, *map(p.dtype.type, scalars))


def adamw_step_numba(p, gradients, m, v, scale, lr, beta1, beta2, eps, decay, step, ema=None, d=0.0):
    """One pass over p, m, v, the gradient and the average."""
    check_vectors({"p": p, "m": m, "v": v} | ({} if ema is None else {"ema": ema}), g=gradients)
    bias1, bias2 = 1 - beta1**step, 1 - beta2**step
    scalars = scale, beta1, 1 - beta1, beta2, 1 - beta2, lr / bias1, bias2**-0.5, eps, 1 - lr * decay, 1 - d
    scalars = *scalars, least(p.dtype)
    over_pieces(gradients, p.dtype, adamw_pieces, p, m, v, ema, *map(p.dtype.type, scalars))


def ema_step_numba(ema, p, d):
    """One pass over the average and p."""
    check_vectors({"ema": ema}, p=[p])
    parallel(p.size, ema_loop, ema, p, p.dtype.type(1 - d), grain=GRAIN)


def square_norm_numba(*gradients):
    """A sum for each piece, added in the order in which the pieces lie."""
    dtype = np.result_type(np.float32, *gradients)
    sums = np.zeros(sum(-(-len(g) // PIECE) for g in gradients))
    over_pieces(gradients, dtype, square_pieces, np.empty(0, dtype), sums)
    return float(sums.sum())


def over_pieces(gradients, dtype, worker, *args):
    """Run worker(first, last, pieces, *args) over (place in the whole vector, address, length) of each piece."""
    gradients, pieces, end = [np.ascontiguousarray(g, dtype) for g in gradients], [], 0
    for g in gradients:
        address = g.ctypes.data
        pieces += [(end + i, address + i * g.itemsize, min(PIECE, len(g) - i)) for i in range(0, len(g), PIECE)]
        end += len(g)
    grain = 1 + GRAIN * len(pieces) // max(end, 1)
    parallel(len(pieces), worker, np.array(pieces, np.int64), *args, grain=grain)


def least(dtype):
    """What a mean must not stay below, unless it is 0."""
    return NEGLIGIBLE * float(np.finfo(dtype).tiny)


@jit
def unless_negligible(mean, least):
    """0 (of the mean's type) for what is smaller. NaN is not, and stays."""
    return mean - mean if abs(mean) < least else mean


@jit
def piece_of_gradient(pieces, i, like):
    """(g, where it begins, where it ends) of a piece, of the type of another array."""
    start, address, length = pieces[i]
    return numba.carray(pointer(address), length, like.dtype), start, start + length


@jit
def sgd_pieces(first, last, pieces, whole_p, whole_b, scale, lr, momentum, decay, least):
    for piece in range(first, last):
        g, start, end = piece_of_gradient(pieces, piece, whole_p)
        p, b = whole_p[start:end], whole_b[start:end]
        for i in range(len(g)):
            b[i] = unless_negligible(momentum * b[i] + (scale * g[i] + decay * p[i]), least)
            p[i] -= lr * b[i]


@jit
def rmsprop_pieces(first, last, pieces, whole_p, whole_v, scale, lr, alpha, one_minus_alpha, eps, least):
    for piece in range(first, last):
        g, start, end = piece_of_gradient(pieces, piece, whole_p)
        p, v = whole_p[start:end], whole_v[start:end]
        for i in range(len(g)):
            clipped = scale * g[i]
            v[i] = unless_negligible(alpha * v[i] + one_minus_alpha * clipped * clipped, least)
            p[i] -= lr * clipped / (np.sqrt(v[i]) + eps)


@jit
def adamw_pieces(
    first, last, pieces, whole_p, whole_m, whole_v, ema,
    scale, beta1, one_minus_beta1, beta2, one_minus_beta2, lr, root, eps, shrink, one_minus_d, least,
):  # fmt: skip
    """lr and root hold the bias corrections: lr / (1 - beta1^k) and 1 / sqrt(1 - beta2^k)."""
    for piece in range(first, last):
        g, start, end = piece_of_gradient(pieces, piece, whole_p)
        p, m, v = whole_p[start:end], whole_m[start:end], whole_v[start:end]
        average = p if ema is None else ema[start:end]
        for i in range(len(g)):
            clipped = scale * g[i]
            m[i] = unless_negligible(beta1 * m[i] + one_minus_beta1 * clipped, least)
            v[i] = unless_negligible(beta2 * v[i] + one_minus_beta2 * clipped * clipped, least)
            p[i] = shrink * p[i] - lr * m[i] / (np.sqrt(v[i]) * root + eps)
            if ema is not None:
                average[i] += one_minus_d * (p[i] - average[i])


@jit
def ema_loop(ema, p, one_minus_d):
    for i in range(len(p)):
        ema[i] += one_minus_d * (p[i] - ema[i])


@jit
def square_pieces(first, last, pieces, like, sums):
    """sums[piece] = the sum of its squares, in float64."""
    for piece in range(first, last):
        g, _, _ = piece_of_gradient(pieces, piece, like)
        total = 0.0
        for i in range(len(g)):
            total += np.float64(g[i]) * np.float64(g[i])
        sums[piece] = total


# ---------------------------------------------------------------- CUDA: one thread an element, or four neighbours
#
# The gradient's parts are laid end to end first, unless there is one only: a launch for each of many small ones would
# cost more. check_vectors has said that all vectors are alike, so what is left to ask is whether 16-byte loads fit.


def sgd_step_cuda(p, gradients, b, scale, lr, momentum, decay, version=None):
    """version 1: a thread an element; 2: four neighbours, in 16-byte loads (float32 only)."""
    check_vectors({"p": p, "b": b}, g=gradients)
    in_place("sgd", version, [p, end_to_end(gradients), b], scale, lr, momentum, decay)


def rmsprop_step_cuda(p, gradients, v, scale, lr, alpha, eps, version=None):
    """Versions as in sgd_step_cuda."""
    check_vectors({"p": p, "v": v}, g=gradients)
    in_place("rmsprop", version, [p, end_to_end(gradients), v], scale, lr, alpha, 1 - alpha, eps)


def adamw_step_cuda(p, gradients, m, v, scale, lr, beta1, beta2, eps, decay, step, ema=None, d=0.0, version=None):
    """Versions as in sgd_step_cuda; the average is taken on the way."""
    check_vectors({"p": p, "m": m, "v": v} | ({} if ema is None else {"ema": ema}), g=gradients)
    bias1, bias2 = 1 - beta1**step, 1 - beta2**step
    scalars = (scale, beta1, 1 - beta1, beta2, 1 - beta2, lr / bias1, bias2**-0.5, eps, 1 - lr * decay)
    vectors = [p, end_to_end(gradients), m, v]
    if ema is None:
        in_place("adamw", version, vectors, *scalars)
    else:
        in_place("adamw_ema", version, [*vectors, ema], *scalars, 1 - d)


def ema_step_cuda(ema, p, d, version=None):
    """Versions as in sgd_step_cuda."""
    check_vectors({"ema": ema}, p=[p])
    in_place("ema", version, [ema, p], 1 - d)


def square_norm_cuda(*gradients, version=None):
    """As a Python float: here the CPU waits for the GPU."""
    g = end_to_end(gradients)
    version = fitting("square_norm", version, (1, 2), g)
    sums = empty((min(blocks(g.size, 16 * THREADS), 1024),), g, np.float64)  # the grid depends on the length alone
    total = empty((1,), g, np.float64)
    args = g, sums, i32(g.size // 4 if version == 2 else g.size)
    launch(__file__, f"square_norm_v{version}", len(sums), THREADS, args, REAL=C_NAMES[g.dtype.name])
    launch(__file__, "total_v1", 1, 32, (sums, total, i32(len(sums))), REAL=C_NAMES[g.dtype.name])
    return total.item()


def in_place(kernel, version, vectors, *scalars):
    """Launch a step on its vectors, with the scalars in their type."""
    version = fitting(kernel, version, (1, 2), *vectors)
    over(__file__, f"{kernel}_v{version}", version, (*vectors, *map(vectors[0].dtype.type, scalars)), vectors[0])


def end_to_end(parts):
    """The gradient as one vector."""
    import cupy

    return parts[0] if len(parts) == 1 else cupy.concatenate(parts)
