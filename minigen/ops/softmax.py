"""Softmax and log-softmax: fused kernels (kernels/softmax.py has the formulas), composed twins beside them."""

from ..autograd import Fused, as_tensors
from ..dispatch import dispatch
from ..tensor import Tensor
from .elementwise import exp, log
from .reduce import normal_axes
from .reduce import sum as sum_over
from .shape import transpose


class Softmax(Fused):
    """y_j = exp(x_j) / sum_i exp(x_i) over the last axis     dx_j = y_j (g_j - sum_i g_i y_i)"""

    def forward(self, x):
        y = dispatch("softmax", x)
        self.save(y)
        return y

    def backward_fast(self, g, needs, x):
        return (dispatch("softmax_grad", g, self.saved[0]),)

    def composed(self, x):
        e = exp(x - top(x))
        return e / sum_over(e, -1, keepdims=True)


class LogSoftmax(Fused):
    """y_j = x_j - ln sum_i exp(x_i) over the last axis     dx_j = g_j - exp(y_j) sum_i g_i"""

    def forward(self, x):
        y = dispatch("log_softmax", x)
        self.save(y)
        return y

    def backward_fast(self, g, needs, x):
        return (dispatch("log_softmax_grad", g, self.saved[0]),)

    def composed(self, x):
        shifted = x - top(x)
        return shifted - log(sum_over(exp(shifted), -1, keepdims=True))


def top(x):
    """The maximum over the last axis, as a constant: softmax does not depend on what is subtracted from its scores."""
    scores = x.data
    return Tensor(scores.max(-1, keepdims=True) if scores.shape[-1] else scores.sum(-1, keepdims=True))


def softmax(x, axis=-1):
    """Probabilities from scores: y_j = exp(x_j) / sum_i exp(x_i) along `axis`.   x (*) -> y (*)

    Stable for scores of any size. An entry of -inf gets probability 0 and gradient 0; a slice of nothing
    but -inf gives NaN. Raises ValueError for an axis that x does not have.
    """
    return along_axis(Softmax(), x, axis)


def log_softmax(x, axis=-1):
    """Log-probabilities (nats) from scores: y_j = x_j - ln sum_i exp(x_i) along `axis`.   x (*) -> y (*)

    More exact than log(softmax(x)), and finite where that is ln 0. A slice of nothing but -inf gives NaN.
    Raises ValueError for an axis that x does not have.
    """
    return along_axis(LogSoftmax(), x, axis)


def along_axis(operation, x, axis):
    """Apply an operation on last axes along another one: exchange the two, apply, exchange back."""
    (x,) = as_tensors(type(operation).__name__, (x,))
    (axis,) = normal_axes(x, axis)
    if axis == x.ndim - 1:
        return operation(x)
    axes = list(range(x.ndim))
    axes[axis], axes[-1] = axes[-1], axes[axis]
    return transpose(operation(transpose(x, axes)), axes)
