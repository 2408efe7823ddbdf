"""Optimiser steps on one flat vector that holds every parameter: written in place, one sweep over memory each.

    sgd       g' = g + decay p               b = momentum b + g'            p -= lr b
    rmsprop   v = alpha v + (1 - alpha) g^2                                 p -= lr g / (sqrt(v) + eps)
    adamw     m = beta1 m + (1 - beta1) g    v = beta2 v + (1 - beta2) g^2
              m^ = m / (1 - beta1^k)         v^ = v / (1 - beta2^k)         p -= lr (m^ / (sqrt(v^) + eps) + decay p)
    ema       e += (1 - d) (p - e)
    norm      square_norm = sum of g^2
    gather    vector = the parts, end to end

Adam starts m and v at 0, which biases both towards 0; after k steps (the first is k = 1) the weights
of all gradients seen add up to 1 - beta^k, hence the division. adamw with decay 0 is Adam. In SGD the
decay goes through the momentum like any gradient (an L2 penalty); AdamW takes it past m and v, so
that every weight shrinks by the same factor whatever the size of its gradients.

Shapes   p, g, m, v, b, ema (P,), C-contiguous, of one float type; g is read only
Source   Kingma and Ba, Adam, ICLR 2015, algorithm 1; Loshchilov and Hutter, Decoupled Weight Decay
         Regularization, ICLR 2019, algorithm 2; Hinton, Neural Networks for Machine Learning, lecture 6e (RMSprop);
         Polyak and Juditsky 1992 (averaging)
"""

import numpy as np

from ._numba import jit
from ._threads import parallel


def check_vectors(written, read):
    """Raises ValueError unless all are flat vectors alike: a step works in place, so a copy would be a lost step."""
    like = next(iter({**written, **read}.values()))
    for name, a in {**written, **read}.items():
        flat = a.ndim == 1 and a.flags.c_contiguous and a.dtype.kind == "f"
        if not flat or (a.shape, a.dtype) != (like.shape, like.dtype):
            raise ValueError(
                f"{name} must be a C-contiguous float vector like the first one, {like.dtype}{like.shape}: "
                f"got {a.dtype}{a.shape}, strides {a.strides}"
            )
        if name in written and not a.flags.writeable:
            raise ValueError(f"{name} is written in place and must be writable, got a read-only array")


# ---------------------------------------------------------------- NumPy: the definition


def sgd_step_numpy(p, g, b, lr, momentum, decay):
    check_vectors({"p": p, "b": b}, {"g": g})
    b *= momentum
    b += g + decay * p
    p -= lr * b


def rmsprop_step_numpy(p, g, v, lr, alpha, eps):
    check_vectors({"p": p, "v": v}, {"g": g})
    v *= alpha
    v += (1 - alpha) * g * g
    p -= lr * g / (np.sqrt(v) + eps)


def adamw_step_numpy(p, g, m, v, lr, beta1, beta2, eps, decay, step):
    check_vectors({"p": p, "m": m, "v": v}, {"g": g})
    m *= beta1
    m += (1 - beta1) * g
    v *= beta2
    v += (1 - beta2) * g * g
    m_hat, v_hat = m / (1 - beta1**step), v / (1 - beta2**step)
    p *= 1 - lr * decay
    p -= lr * m_hat / (np.sqrt(v_hat) + eps)


def ema_step_numpy(ema, p, d):
    check_vectors({"ema": ema}, {"p": p})
    ema += (1 - d) * (p - ema)


def square_norm_numpy(g):
    """The sum of squares as a Python float, accumulated in float64."""
    check_vectors({}, {"g": g})
    return float(np.sum(np.square(g, dtype=np.float64)))


def gather_numpy(vector, parts):
    np.concatenate([part.reshape(-1) for part in parts], out=vector)


# ---------------------------------------------------------------- Numba: the vector shared over the threads
#
# The scalars are worked out in float64 and rounded once to the vectors' type: 1 - beta2 taken in
# float32 would be off by 5e-5, and a float64 scalar would drag the whole loop to float64.
# Every loop runs from 0 over its own slice: an index that might be negative, for all the compiler knows, and then
# count from the end, would keep it from using vectors.

GRAIN = 1 << 14  # elements that are worth a thread
BLOCK = 1 << 12  # elements a sum: blocks, not threads, set the order of adding, so any thread count gives the same bits


def sgd_step_numba(p, g, b, lr, momentum, decay):
    check_vectors({"p": p, "b": b}, {"g": g})
    parallel(p.size, sgd_elements, p, g, b, *map(p.dtype.type, (lr, momentum, decay)), grain=GRAIN)


def rmsprop_step_numba(p, g, v, lr, alpha, eps):
    check_vectors({"p": p, "v": v}, {"g": g})
    parallel(p.size, rmsprop_elements, p, g, v, *map(p.dtype.type, (lr, alpha, 1 - alpha, eps)), grain=GRAIN)


def adamw_step_numba(p, g, m, v, lr, beta1, beta2, eps, decay, step):
    check_vectors({"p": p, "m": m, "v": v}, {"g": g})
    bias1, bias2 = 1 - beta1**step, 1 - beta2**step
    scalars = (beta1, 1 - beta1, beta2, 1 - beta2, lr / bias1, bias2**-0.5, eps, 1 - lr * decay)
    parallel(p.size, adamw_elements, p, g, m, v, *map(p.dtype.type, scalars), grain=GRAIN)


def ema_step_numba(ema, p, d):
    check_vectors({"ema": ema}, {"p": p})
    parallel(p.size, ema_elements, ema, p, p.dtype.type(1 - d), grain=GRAIN)


def square_norm_numba(g):
    check_vectors({}, {"g": g})
    sums = np.zeros(-(-g.size // BLOCK))
    parallel(len(sums), square_norm_blocks, g, sums, grain=GRAIN // BLOCK)
    return float(sums.sum())


def gather_numba(vector, parts):
    ends = np.cumsum([part.size for part in parts])
    parallel(len(parts), share_of_parts, vector, parts, ends, grain=1 + GRAIN * len(parts) // max(vector.size, 1))


def share_of_parts(first, last, vector, parts, ends):
    for part, end in zip(parts[first:last], ends[first:last]):
        vector[end - part.size : end] = part.reshape(-1)


@jit
def sgd_elements(first, last, p, g, b, lr, momentum, decay):
    p, g, b = p[first:last], g[first:last], b[first:last]
    for i in range(len(p)):
        b[i] = momentum * b[i] + (g[i] + decay * p[i])
        p[i] -= lr * b[i]


@jit
def rmsprop_elements(first, last, p, g, v, lr, alpha, one_minus_alpha, eps):
    p, g, v = p[first:last], g[first:last], v[first:last]
    for i in range(len(p)):
        v[i] = alpha * v[i] + one_minus_alpha * g[i] * g[i]
        p[i] -= lr * g[i] / (np.sqrt(v[i]) + eps)


@jit
def adamw_elements(first, last, p, g, m, v, beta1, one_minus_beta1, beta2, one_minus_beta2, lr, root, eps, shrink):
    """lr and root hold the bias corrections: lr / (1 - beta1^k) and 1 / sqrt(1 - beta2^k)."""
    p, g, m, v = p[first:last], g[first:last], m[first:last], v[first:last]
    for i in range(len(p)):
        m[i] = beta1 * m[i] + one_minus_beta1 * g[i]
        v[i] = beta2 * v[i] + one_minus_beta2 * g[i] * g[i]
        p[i] = shrink * p[i] - lr * m[i] / (np.sqrt(v[i]) * root + eps)


@jit
def ema_elements(first, last, ema, p, one_minus_d):
    ema, p = ema[first:last], p[first:last]
    for i in range(len(p)):
        ema[i] += one_minus_d * (p[i] - ema[i])


@jit
def square_norm_blocks(first, last, g, sums):
    for block in range(first, last):
        numbers, total = g[block * BLOCK : (block + 1) * BLOCK], 0.0
        for i in range(len(numbers)):
            total += np.float64(numbers[i]) * np.float64(numbers[i])
        sums[block] = total


# ---------------------------------------------------------------- CUDA: one thread an element
# The pair optimizer.cu is to come.
