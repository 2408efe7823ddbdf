"""Matrix products."""

from math import prod

from ..autograd import Fused, Operation
from ..dispatch import dispatch
from .elementwise import sum_to
from .shape import reshape, transpose


class MatMul(Operation):
    """Y = A B     dA = G B^T     dB = A^T G

    A (*, M, K), B (*, K, N) -> Y (*, M, N), the leading axes broadcast.
    """

    def forward(self, a, b):
        return dispatch("matmul", a, b)

    def backward(self, g, needs, a, b):
        return (
            sum_to(matmul(g, swap(b)), a.shape) if needs[0] else None,
            sum_to(matmul(swap(a), g), b.shape) if needs[1] else None,
        )


class Linear(Fused):
    """Y = X W + b     dX = G W^T     dW = X^T G     db = sum of G's rows

    X (*, K), W (K, N), b (N,) -> Y (*, N): to the kernels, the leading axes are the rows of one matrix.
    """

    adds_to_first = True

    def forward(self, x, w, bias):
        return dispatch("linear", rows(x), w, bias).reshape(*x.shape[:-1], w.shape[1])

    def backward_fast(self, g, needs, x, w, bias):
        so_far = None if self.so_far is None else rows(self.so_far.data)
        dx, dw, db = dispatch("linear_grad", rows(g), rows(x), w, needs, so_far)
        return None if dx is None else dx.reshape(x.shape), dw, db

    def composed(self, x, w, bias):
        return matmul(x, w) + bias


def matmul(a, b):
    """Y = A B: (*, M, K) @ (*, K, N) -> (*, M, N), leading axes broadcast; a vector is a row or a column, as in NumPy.

    Raises ValueError where the inner lengths differ.
    """
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"matmul needs at least one axis on both sides, got shapes {a.shape} and {b.shape}")
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"the inner lengths of a matrix product must agree: {a.shape} @ {b.shape}")
    row, column = a.ndim == 1, b.ndim == 1
    if row:
        a = reshape(a, (1, -1))
    if column:
        b = reshape(b, (-1, 1))
    y = MatMul()(a, b)
    shape = y.shape[: -2 if row else -1] if column else (*y.shape[:-2], y.shape[-1]) if row else y.shape
    if row and column:
        shape = y.shape[:-2]
    return reshape(y, shape)


def linear(x, weight, bias=None):
    """y = x W + b for x (*, D_in), W (D_in, D_out), b (D_out,) -> y (*, D_out).

    Raises ValueError where the lengths D_in or D_out do not agree.
    """
    if x.shape[-1] != weight.shape[0]:
        raise ValueError(
            f"x has {x.shape[-1]} features but weight expects {weight.shape[0]}: x {x.shape}, weight {weight.shape}"
        )
    if bias is not None and bias.shape != weight.shape[1:]:
        raise ValueError(f"bias must have shape ({weight.shape[1]},), got {bias.shape}")
    if bias is None:
        return reshape(matmul(rows(x), weight), (*x.shape[:-1], weight.shape[1]))
    return Linear()(x, weight, bias)


def rows(x):
    """An array or a Tensor with its leading axes made one."""
    return x.reshape(prod(x.shape[:-1]), x.shape[-1])


def swap(a):
    """The matrix transpose: the last two axes exchanged."""
    return transpose(a, (*range(a.ndim - 2), a.ndim - 1, a.ndim - 2))
