"""The operations as Tensor's operators and methods: `x + y`, `x @ w`, `x[mask]`, `x.mean(axis)`."""

from ..tensor import Tensor
from . import elementwise, linear, reduce, shape


def _swapped(function):
    return lambda self, other: function(other, self)


def _compared(symbol):
    """Comparisons give plain boolean arrays: they have no gradient."""

    def compare(self, other):
        return getattr(self.data, symbol)(other.data if isinstance(other, Tensor) else other)

    return compare


def _transposed(self, *axes):
    axes = axes[0] if len(axes) == 1 and isinstance(axes[0], (tuple, list)) else axes
    return shape.transpose(self, axes or None)


def attach():
    for name, function in {"add": elementwise.add, "sub": elementwise.subtract, "mul": elementwise.multiply,
                           "truediv": elementwise.divide, "matmul": linear.matmul}.items():  # fmt: skip
        setattr(Tensor, f"__{name}__", function)
        setattr(Tensor, f"__r{name}__", _swapped(function))
    for symbol in ("__gt__", "__ge__", "__lt__", "__le__"):
        setattr(Tensor, symbol, _compared(symbol))
    methods = {
        "__neg__": elementwise.negate, "__pow__": elementwise.power, "__getitem__": shape.index,
        "exp": elementwise.exp, "log": elementwise.log, "sqrt": elementwise.sqrt, "abs": elementwise.absolute,
        "clip": elementwise.clip, "astype": elementwise.astype, "reshape": shape.reshape, "transpose": _transposed,
        "sum": reduce.sum, "mean": reduce.mean, "var": reduce.var, "max": reduce.max, "min": reduce.min,
    }  # fmt: skip
    for name, function in methods.items():
        setattr(Tensor, name, function)


attach()
