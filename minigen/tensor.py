"""Tensor: an array, its gradient, and the operation that made it.

The array is NumPy's (or CuPy's); everything that computes on it lives in `minigen/ops`, one function
an operation, which `ops/methods.py` also hangs here as methods (`x.sum()`, `x + y`).
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from .device import device_of, to_device


class Tensor:
    """An array on the tape.

    data            float32 or float64 to be differentiated; integers and booleans may be carried along
    requires_grad   whether a gradient is wanted for it; results inherit this from their inputs
    grad            dL/d(self), a Tensor of the same shape, filled in by `backward`
    op              the Operation that made it; None for a leaf
    version         counts in-place changes of `data` (optimisers make them), so that a graph recorded
                    before a change is refused rather than silently wrong
    """

    __slots__ = ("data", "requires_grad", "grad", "op", "version", "__weakref__")
    data: Any
    requires_grad: bool
    grad: "Tensor | None"

    def __init__(self, data, requires_grad=False, dtype=None):
        if isinstance(data, Tensor):
            raise TypeError("data is a Tensor already; use it as it is, or .detach() it from its graph")
        if dtype is not None or not isinstance(data, np.ndarray):
            data = device_of(data).xp.asarray(data, dtype=dtype or _default_dtype(data))
        if data.dtype.kind not in "fiub" or data.dtype == np.float16:
            raise TypeError(f"data must be float32, float64, integer or boolean, got {data.dtype}")
        if requires_grad and data.dtype.kind != "f":
            raise TypeError(f"only floating-point tensors have gradients, got {data.dtype}")
        self.data = data
        self.requires_grad = requires_grad
        self.grad = None
        self.op = None
        self.version = 0

    # ---------------------------------------------------------------- what it is

    @property
    def shape(self):
        return self.data.shape

    @property
    def ndim(self):
        return self.data.ndim

    @property
    def size(self):
        return self.data.size

    @property
    def dtype(self):
        return self.data.dtype

    @property
    def device(self):
        """'cpu' or 'cuda'."""
        return device_of(self.data).name

    def __len__(self):
        return len(self.data)

    def __repr__(self):
        made_by = f", made by {type(self.op).__name__}" if self.op is not None else ""
        wants = ", requires_grad" if self.requires_grad and self.op is None else ""
        body = np.array2string(np.asarray(self), precision=4, threshold=20, prefix="Tensor(")
        return f"Tensor({body}, shape={self.shape}, {self.dtype}{wants}{made_by})"

    # ---------------------------------------------------------------- leaving the tape

    def detach(self):
        """The same array as a leaf without a gradient: what follows is not differentiated back through here."""
        return Tensor(self.data)

    def numpy(self):
        """The array in NumPy, shared where it is on the CPU already."""
        return to_device(self.data, "cpu")

    def item(self):
        """The one element, as a Python number."""
        return self.data.item()

    def __array__(self, dtype=None, copy=None):
        array = self.numpy()
        return array.astype(dtype) if dtype is not None and dtype != array.dtype else array.copy() if copy else array

    def __float__(self):
        return float(self.item())

    def __int__(self):
        return int(self.item())

    def __bool__(self):
        return bool(self.item())

    def to(self, device):
        """This tensor's values on 'cpu' or 'cuda', as a leaf; itself where it is there already."""
        moved = to_device(self.data, device)
        return self if moved is self.data else Tensor(moved, self.requires_grad)

    # ---------------------------------------------------------------- the tape (minigen/autograd.py)

    def backward(self, g=None, create_graph=False, retain_graph=None):
        """Accumulate gradients into the leaves: see `minigen.autograd.backward`."""
        from .autograd import backward

        backward(self, g, create_graph, retain_graph)

    def zero_grad(self):
        self.grad = None

    # ---------------------------------------------------------------- NumPy meets Tensor

    def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
        """`array + tensor` is an operation of ours; `np.exp(tensor)` would silently leave the tape: refused."""
        reflected = _REFLECTED.get(ufunc)
        if reflected and method == "__call__" and not kwargs and not isinstance(inputs[0], Tensor):
            return getattr(self, reflected)(inputs[0])
        raise TypeError(
            f"np.{ufunc.__name__} on a Tensor would lose its gradient: use minigen.ops.{ufunc.__name__}, "
            "or np.asarray(tensor) if no gradient is wanted"
        )

    # Attached by minigen/ops/methods.py; declared here for readers and type checkers.
    __add__: Callable[..., "Tensor"]
    __radd__: Callable[..., "Tensor"]
    __sub__: Callable[..., "Tensor"]
    __rsub__: Callable[..., "Tensor"]
    __mul__: Callable[..., "Tensor"]
    __rmul__: Callable[..., "Tensor"]
    __truediv__: Callable[..., "Tensor"]
    __rtruediv__: Callable[..., "Tensor"]
    __pow__: Callable[..., "Tensor"]
    __neg__: Callable[..., "Tensor"]
    __matmul__: Callable[..., "Tensor"]
    __rmatmul__: Callable[..., "Tensor"]
    __getitem__: Callable[..., "Tensor"]
    __gt__: Callable[..., Any]
    __ge__: Callable[..., Any]
    __lt__: Callable[..., Any]
    __le__: Callable[..., Any]
    astype: Callable[..., "Tensor"]
    reshape: Callable[..., "Tensor"]
    transpose: Callable[..., "Tensor"]
    sum: Callable[..., "Tensor"]
    mean: Callable[..., "Tensor"]
    max: Callable[..., "Tensor"]
    min: Callable[..., "Tensor"]
    var: Callable[..., "Tensor"]
    exp: Callable[..., "Tensor"]
    log: Callable[..., "Tensor"]
    sqrt: Callable[..., "Tensor"]
    abs: Callable[..., "Tensor"]
    clip: Callable[..., "Tensor"]


def as_tensors(name, inputs):
    """Wrap arrays and Python numbers; refuse to mix devices or float types, which would hide a copy or a cast."""
    inputs = list(inputs)
    if not all([isinstance(x, Tensor) for x in inputs]):
        like = next((x.data for x in inputs if isinstance(x, Tensor)), None)
        like = next((x for x in inputs if getattr(x, "ndim", 0)), np.empty(0, np.float32)) if like is None else like
        inputs = [as_tensor(x, like) for x in inputs]
    first = inputs[0].data if inputs else None
    for i, x in enumerate(inputs):
        if x.data.dtype != first.dtype:
            raise TypeError(
                f"{name}: input {i} is {x.dtype} but another input is {first.dtype}; convert one with .astype"
            )
        if type(x.data) is not type(first) and x.device != inputs[0].device:
            raise TypeError(
                f"{name}: input {i} is on {x.device} but another input is on {inputs[0].device}; move one with .to"
            )
    return inputs


def as_tensor(x, like):
    """A Tensor as it is, an array wrapped, a Python number in the dtype and on the device of the array `like`."""
    if isinstance(x, Tensor):
        return x
    return Tensor(device_of(like).xp.asarray(x, dtype=like.dtype) if isinstance(x, NUMBERS) else x)


def cotangent(y, g):
    """The gradient that backward starts from at y: g, checked, or 1 for a scalar."""
    if not y.requires_grad:
        raise ValueError(f"the output of shape {y.shape} has no graph: nothing it was made from requires a gradient")
    if g is None and y.size != 1:
        raise ValueError(f"only a scalar has a gradient of its own; for an output of shape {y.shape} give grad_outputs")
    g = device_of(y.data).xp.ones_like(y.data) if g is None else g
    g = g if isinstance(g, Tensor) else Tensor(g)
    if g.shape != y.shape or g.dtype != y.dtype:
        raise ValueError(f"grad_outputs is {g.dtype}{g.shape}, but the output is {y.dtype}{y.shape}")
    return g


def _default_dtype(data):
    """Arrays keep their dtype; Python floats become float32, the dtype that the library computes in."""
    if hasattr(data, "dtype"):
        return None
    return np.float32 if np.asarray(data).dtype.kind == "f" else None


NUMBERS = (bool, int, float, np.generic)
_REFLECTED = {
    np.add: "__radd__", np.subtract: "__rsub__", np.multiply: "__rmul__", np.true_divide: "__rtruediv__",
    np.matmul: "__rmatmul__",
    np.greater: "__lt__", np.greater_equal: "__le__", np.less: "__gt__", np.less_equal: "__ge__",
}  # fmt: skip
