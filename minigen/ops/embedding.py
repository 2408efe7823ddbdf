"""From discrete things and from coordinates to vectors: embedding tables, sinusoidal and random Fourier features."""

import math

import numpy as np

from ..autograd import Fused, as_tensors
from ..device import device_of, to_device
from ..dispatch import dispatch
from ..tensor import Tensor
from .elementwise import astype, cos, sin
from .linear import matmul
from .shape import concatenate, index, reshape


class Embedding(Fused):
    """y_i = W[index_i]     dW[k] = sum of g_i over all i with index_i = k"""

    def __init__(self, indices):
        self.indices = indices

    def forward(self, weight):
        y = dispatch("embedding", weight, self.indices.reshape(-1))
        return y.reshape(*self.indices.shape, weight.shape[1])

    def backward_fast(self, g, needs, weight):
        rows, width = weight.shape
        return (dispatch("embedding_grad", g.reshape(self.indices.size, width), self.indices.reshape(-1), rows),)

    def composed(self, weight):
        return index(weight, self.indices)


class Sinusoids(Fused):
    """y = [sin(x F), cos(x F)]     dx = (g_sin * cos(x F) - g_cos * sin(x F)) F^T

    x (N, D), F (D, M) -> y (N, 2M). F is not differentiated.
    """

    def __init__(self, frequencies):
        self.frequencies = frequencies

    def forward(self, x):
        return dispatch("sinusoids", x, self.frequencies)

    def backward_fast(self, g, needs, x):
        return (dispatch("sinusoids_grad", g, x, self.frequencies),)

    def composed(self, x):
        a = matmul(x, Tensor(self.frequencies.astype(x.dtype)))
        return concatenate([sin(a), cos(a)], axis=1)


def embedding(weight, indices):
    """Rows of a table: y_i = weight[index_i].   weight (K, D), indices (*) integers in 0..K-1 -> (*, D)

    The gradient adds up in a fixed order, so it is the same bits at every run.
    Raises TypeError for indices that are not integers, ValueError for one out of range or a weight that is not (K, D).
    Source: Bengio et al., A Neural Probabilistic Language Model, 2003.
    """
    (weight,) = as_tensors("embedding", (weight,))
    if weight.ndim != 2:
        raise ValueError(f"weight must be (K, D), got weight.shape={weight.shape}")
    return Embedding(integers_below(weight.shape[0], "indices", indices, like=weight))(weight)


def sinusoidal_features(t, dim, max_period=10000.0, dtype=None):
    """Time steps as sines and cosines: [sin(t f_i), cos(t f_i)], f_i = max_period^(-2 i / dim), i = 0 .. dim/2 - 1.

    t (N,), integers or floats, in steps -> (N, dim): dim/2 sines, then dim/2 cosines. Wavelengths run from 2 pi
    to nearly 2 pi max_period. The result's dtype is t's own (float32 for integers) unless given; the angles are
    computed in float64 either way. Differentiable in t.
    Raises ValueError for an odd or non-positive dim, max_period <= 0, or t that is not a vector.
    Source: Vaswani et al., 2017, section 3.5 (interleaved there); Ho et al., 2020, appendix B; deck 002, Network
    Architectures.
    """
    if dim < 2 or dim % 2:
        raise ValueError(f"dim must be a positive even number (half sines, half cosines), got dim={dim}")
    if not max_period > 0:
        raise ValueError(f"max_period must be positive, got max_period={max_period}")
    t = t if isinstance(t, Tensor) else Tensor(t)
    if t.ndim != 1:
        raise ValueError(f"t must be a vector (N,), got t.shape={t.shape}")
    if t.dtype.kind != "f":
        t = Tensor(t.data.astype(dtype or np.float32))  # steps up to 2^24 are exact in float32
    elif dtype is not None and t.dtype != dtype:
        t = astype(t, dtype)
    frequencies = device_of(t.data).xp.arange(dim // 2, dtype=np.float64)
    frequencies = max_period ** (-frequencies / (dim // 2))
    return Sinusoids(frequencies[None])(reshape(t, (-1, 1)))


def fourier_features(x, frequencies):
    """Coordinates as sines and cosines: [sin(2 pi x B), cos(2 pi x B)].   x (*, D), B (D, M) -> (*, 2M)

    B, in cycles per unit of x, is usually drawn once from N(0, s^2): s sets how fine the detail is that a network
    on top can learn. Differentiable in x; B is fixed.
    Raises ValueError where x and B do not fit.
    Source: Tancik et al., Fourier Features Let Networks Learn High Frequency Functions, 2020, eq. 5.
    """
    (x,) = as_tensors("fourier_features", (x,))
    b = device_of(x.data).xp.asarray(frequencies.data if isinstance(frequencies, Tensor) else frequencies)
    if b.ndim != 2 or x.ndim < 1 or x.shape[-1] != b.shape[0]:
        raise ValueError(f"frequencies must be (D, M) for x (*, D): got x.shape={x.shape}, frequencies.shape={b.shape}")
    rows = reshape(x, (math.prod(x.shape[:-1]), b.shape[0]))
    return reshape(Sinusoids(2 * math.pi * b.astype(np.float64))(rows), (*x.shape[:-1], 2 * b.shape[1]))


def integers_below(count, name, values, like):
    """values as int64 where `like` lives. Raises TypeError unless integers, ValueError unless all lie in 0..count-1.

    They are checked where they come from: looking at values on the GPU makes the CPU wait for it.
    """
    values = values.data if isinstance(values, Tensor) else values
    values = device_of(values).xp.asarray(values)
    if values.dtype.kind not in "iu":
        raise TypeError(f"{name} must be integers, got {values.dtype}")
    outside = (values < 0) | (values >= count)
    if outside.any():
        raise ValueError(f"{name} must lie in 0..{count - 1}, got {int(values[outside][0])}")
    return to_device(values.astype(np.int64), like.device)
