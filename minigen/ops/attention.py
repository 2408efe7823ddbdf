"""Attention: a fused kernel pair that never holds all probabilities (kernels/attention.py has the mathematics)."""

import numpy as np

from ..autograd import Fused, as_tensors
from ..device import device_of, to_device
from ..dispatch import dispatch
from ..tensor import Tensor
from .elementwise import exp, where
from .linear import matmul
from .reduce import sum as sum_over
from .shape import transpose
from .softmax import top


class Attention(Fused):
    """O = softmax(Q K^T / sqrt(D)) V for every sample and head; dQ, dK, dV: kernels/attention.py.

    `composed`, which serves second derivatives only, does hold the N x heads x L x M probabilities.
    """

    def __init__(self, mask):
        self.mask = mask

    def forward(self, q, k, v):
        o, lse = dispatch("attention", q, k, v, self.mask)
        self.save(lse)
        return o

    def backward_fast(self, g, needs, q, k, v):
        return dispatch("attention_grad", g, q, k, v, self.mask, self.saved[0])

    def composed(self, q, k, v):
        scores = matmul(transpose(q, (0, 2, 1, 3)), transpose(k, (0, 2, 3, 1))) * q.shape[-1] ** -0.5
        if self.mask is not None:
            scores = where(self.mask, scores, -np.inf)
        highest = top(scores).data
        e = exp(scores - Tensor(device_of(highest).xp.where(highest > -np.inf, highest, 0.0).astype(scores.dtype)))
        total = sum_over(e, -1, keepdims=True)
        nobody = Tensor((total.data == 0).astype(scores.dtype))  # 1 for a query without keys: 0 / 1 and not 0 / 0
        return transpose(matmul(e / (total + nobody), transpose(v, (0, 2, 1, 3))), (0, 2, 1, 3))


def attention(q, k, v, mask=None):
    """Multi-head scaled dot-product attention: O = softmax(Q K^T / sqrt(D)) V, every sample and head on its own.

    q (N, L, heads, D), k (N, M, heads, D), v (N, M, heads, E) -> (N, L, heads, E). Self-attention where q, k and v
    come from the same tokens (M = L), cross-attention where k and v come from a context. The scale 1 / sqrt(D) is
    applied here, once. mask: boolean array broadcasting to (N, heads, L, M), True = attend; a query that may
    attend to nothing (or M = 0) gets zeros, and passes no gradient on.

    Memory: a few rows of the L x M scores a thread forward, and twice as many backward, whatever N and heads are.
    Raises ValueError for shapes that do not fit, TypeError for a mask that is not boolean or mixed dtypes.
    Source: Vaswani et al., Attention Is All You Need, 2017, eq. 1; deck 004, transformer block.
    """
    q, k, v = as_tensors("attention", (q, k, v))
    for name, x in (("q", q), ("k", k), ("v", v)):
        if x.ndim != 4 or x.dtype.kind != "f":
            raise ValueError(f"{name} must be a float tensor (N, length, heads, D), got {x.dtype}{x.shape}")
    (n, length, heads, d), m = q.shape, k.shape[1]
    if k.shape != (n, m, heads, d) or v.shape[:3] != (n, m, heads) or d == 0:
        raise ValueError(
            "q, k, v must be (N, L, heads, D), (N, M, heads, D), (N, M, heads, E) with D >= 1: "
            f"got q.shape={q.shape}, k.shape={k.shape}, v.shape={v.shape}"
        )
    return Attention(checked_mask(mask, (n, heads, length, m), like=q))(q, k, v)


def checked_mask(mask, shape, like):
    """The mask as a boolean array that broadcasts to (N, heads, L, M), where `like` lives; or None."""
    if mask is None:
        return None
    mask = mask.data if isinstance(mask, Tensor) else mask
    mask = mask if hasattr(mask, "dtype") else np.asarray(mask)
    if mask.dtype != bool:
        raise TypeError(f"mask must be boolean (True = attend), got {mask.dtype}")
    fits = mask.ndim <= 4 and all(a in (1, b) for a, b in zip(mask.shape[::-1], shape[::-1]))
    if not fits:
        raise ValueError(f"mask must broadcast to (N, heads, L, M) = {shape}, got mask.shape={mask.shape}")
    return to_device(mask, like.device)
