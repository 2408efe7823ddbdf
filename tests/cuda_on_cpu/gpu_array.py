"""The stand-in's array: NumPy's arithmetic in the GPU's memory, with CuPy's refusals.

An array of CuPy's never turns into one of NumPy's by itself, nor takes part in an operation with one. Where NumPy would
quietly do either, this class raises TypeError as CuPy does.
"""

import numpy as np

from .memory import Memory, memory_of, written_bytes

following = False  # whether each byte is followed: switched by standin.installed(check=True)


class Uninitialised(RuntimeError):
    """The library reads what no kernel has written."""


class Pointer:
    """What CuPy keeps as `array.data`."""

    def __init__(self, array):
        self.ptr = array.__array_interface__["data"][0]


class ndarray:
    """An array on the GPU. `_a`: the same numbers as NumPy sees them."""

    __slots__ = ("_a", "__weakref__")
    __array_priority__ = 100
    __hash__ = None

    def __init__(self, array):
        self._a = array

    # ---------------------------------------------------------------- to and from the CPU, on request only

    def __array__(self, *args, **kwargs):
        raise TypeError("Implicit conversion to a NumPy array is not allowed: use .get()")

    def get(self, stream=None, order="C", out=None, blocking=True):
        if out is None:
            return read(self).copy(order)
        out[...] = read(self)
        return out

    def set(self, array, stream=None):
        if not isinstance(array, np.ndarray) or array.shape != self.shape or array.dtype != self.dtype:
            raise TypeError("set() takes a NumPy array of the same shape and dtype")
        write(self, ..., array)

    def fill(self, value):
        write(self, ..., inside(value))

    def item(self, *args):
        return read(self).item(*args)

    def tolist(self):
        return read(self).tolist()

    def __float__(self):
        return float(read(self))

    def __int__(self):
        return int(read(self))

    def __index__(self):
        return read(self).__index__()

    def __bool__(self):
        return bool(read(self))

    # ---------------------------------------------------------------- what it is

    @property
    def __cuda_array_interface__(self):
        return {**self._a.__array_interface__, "version": 3, "stream": 1}

    @property
    def data(self):
        return Pointer(self._a)

    def __len__(self):
        return len(self._a)

    def __iter__(self):
        return (self[i] for i in range(len(self)))

    def __repr__(self):
        return f"cuda_on_cpu.{self._a!r}"

    # ---------------------------------------------------------------- operations

    def __getitem__(self, index):
        view = self._a[inside(index)]
        return wrap(view, copied_from=self)

    def __setitem__(self, index, value):
        write(self, inside(index), inside(value))

    def __array_ufunc__(self, ufunc, method, *args, **kwargs):
        return compute(getattr(ufunc, method), args, kwargs)

    def __array_function__(self, function, types, args, kwargs):
        raise TypeError(f"np.{function.__name__} of an array on the GPU: use the functions of cupy")


def _attribute(name):
    return property(lambda self: getattr(self._a, name))


def _view(name):
    """A method whose result shares memory, or is a copy where NumPy makes one."""

    def method(self, *args, **kwargs):
        return wrap(getattr(self._a, name)(*inside(args), **kwargs), copied_from=self)

    return method


def _method(name):
    def method(self, *args, **kwargs):
        return compute(getattr(np.ndarray, name), (self, *args), kwargs)

    return method


def _in_place(name):
    def method(self, other):
        read(self)
        getattr(self._a, name)(inside(other))
        return self

    return method


for _name in ["shape", "ndim", "size", "dtype", "itemsize", "nbytes", "strides", "flags"]:
    setattr(ndarray, _name, _attribute(_name))
for _name in ["reshape", "transpose", "ravel", "squeeze", "swapaxes", "view", "diagonal"]:
    setattr(ndarray, _name, _view(_name))
for _name in ["T", "real", "imag"]:
    setattr(ndarray, _name, property(lambda self, name=_name: wrap(getattr(self._a, name), copied_from=self)))
METHODS = """
    sum mean max min prod var std any all argmax argmin argsort cumsum cumprod clip dot take repeat astype copy
    flatten nonzero round trace conj __abs__ __neg__ __pos__ __invert__ __eq__ __ne__ __lt__ __le__ __gt__ __ge__
"""
for _name in METHODS.split():
    setattr(ndarray, _name, _method(_name))
OPERATORS = "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift"
for _name in OPERATORS.split():
    setattr(ndarray, f"__{_name}__", _method(f"__{_name}__"))
    setattr(ndarray, f"__r{_name}__", _method(f"__r{_name}__"))
    setattr(ndarray, f"__i{_name}__", _in_place(f"__i{_name}__"))


# ---------------------------------------------------------------- in and out of the class


def inside(x):
    """NumPy's view of arguments; an array of NumPy's among them is refused, as CuPy does."""
    if isinstance(x, ndarray):
        return read(x)
    if isinstance(x, np.ndarray):
        raise TypeError(f"Unsupported type {type(x)}")
    if isinstance(x, (tuple, list)):
        return type(x)(inside(i) for i in x)
    if isinstance(x, dict):
        return {name: inside(value) for name, value in x.items()}
    return x


def compute(function, args, kwargs):
    """Call a function of NumPy's; its result is on the GPU, in `out` where one is given."""
    out = kwargs.pop("out", None)
    if out is None:
        return wrap(function(*inside(args), **inside(kwargs)))
    (out,) = out if isinstance(out, tuple) else (out,)
    args, kwargs = inside(args), inside(kwargs)  # read before `out` counts as written
    mark(out, ...)
    function(*args, out=out._a, **kwargs)
    return out


def wrap(x, copied_from=None):
    """A result of NumPy's as an array on the GPU: views stay views, everything new moves into guarded memory."""
    if isinstance(x, (tuple, list)):
        return type(x)(wrap(i) for i in x)
    if not isinstance(x, (np.ndarray, np.generic)):
        return x
    if isinstance(x, np.ndarray) and memory_of(x) is not None:
        return ndarray(x)
    if copied_from is not None:
        read(copied_from)  # a copy of what was never written
    new = empty(np.shape(x), x.dtype, written=True, order="K" if np.ndim(x) else "C", like=x)
    new._a[...] = x
    return new


def empty(shape, dtype=float, order="C", written=False, like=None):
    """Memory that holds nothing yet."""
    shape = (shape,) if isinstance(shape, (int, np.integer)) else tuple(shape)
    dtype = np.dtype(dtype)
    memory = Memory(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, written or not following)
    if like is not None and like.ndim > 1 and like.flags.f_contiguous and not like.flags.c_contiguous:
        order = "F"
    if order == "F":
        return ndarray(memory.array(shape[::-1], dtype).T)
    return ndarray(memory.array(shape, dtype))


# ---------------------------------------------------------------- reading and writing, followed in check mode


def read(array):
    """NumPy's view of an array's numbers. Raises Uninitialised in check mode if some were never written."""
    memory = memory_of(array._a)
    if memory is not None and memory.written is not None and array.size:
        missing = int((written_bytes(array._a, memory) == 0).any(-1).sum())
        if missing:
            raise Uninitialised(f"{missing} of {array.size} elements of an array {array.shape} were never written")
    return array._a


def write(array, index, value):
    array._a[index] = value
    mark(array, index)


def mark(array, index):
    memory = memory_of(array._a)
    if memory is not None and memory.written is not None:
        written_bytes(array._a, memory)[index] = 1
