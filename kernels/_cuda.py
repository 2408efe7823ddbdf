"""How a CUDA kernel is compiled and launched: the .cu file beside each NAME.py, through CuPy's RawModule.

    launch(__file__, "silu", grid=blocks(x.size, 256), block=256, args=(x, y, i32(x.size)), REAL="float")

Keywords in capitals are `-D` parameters of the text. Kernels are `extern "C"` with such parameters rather than
templates: their names are then what the file says, and CuPy keeps their machine code on disk under the text itself.
An `#include "common.cuh"` is replaced by that file's text here, so that an edit of it changes the key too.

Nothing checks an argument list on the way to the GPU: a Python int is passed as 64 bits, a float as a double, and
whatever they displace is read as something else. So every number is wrapped in the exact type of its parameter
(`i32`, `f32`, `real`), and arrays are contiguous and of fewer than 2^31 elements, so that an `int` may index them.
"""

import re
from functools import cache
from pathlib import Path

import numpy as np

MOST = 2**31 - 2**16  # elements: an int counts them, and still does when a loop has stepped beyond the last of them
PLENTY = 48 * 1024  # bytes of dynamic shared memory above which a kernel must be told first
OPTIONS = ("-std=c++17",)
C_NAMES = {"float16": "half", "float32": "float", "float64": "double"}


def i32(number):
    """An `int` parameter. Raises ValueError where 32 bits may not hold an index: it would wrap round silently."""
    if not -MOST <= number <= MOST:
        raise ValueError(f"CUDA kernels index with 32 bits: {number} is more than {MOST}; split the batch")
    return np.int32(number)


def f32(number):
    """A `float` parameter."""
    return np.float32(number)


def real(number, like):
    """A parameter of the type of an array's elements."""
    return like.dtype.type(number)


def empty(shape, like, dtype=None):
    """An array on the GPU for a kernel to fill, of `like`'s dtype unless another is given."""
    i32(int(np.prod(shape, dtype=object)))
    return _cupy().empty(shape, dtype or like.dtype)


def zeros(shape, like, dtype=None):
    """The same, filled with 0."""
    i32(int(np.prod(shape, dtype=object)))
    return _cupy().zeros(shape, dtype or like.dtype)


def contiguous(array, dtype=None):
    """The array in C order (and of a dtype), copied only where it is not so already."""
    return _cupy().ascontiguousarray(array, dtype)


def aligned(*arrays, to=16):
    """Whether every array begins at a multiple of so many bytes, as a 16-byte load wants it."""
    return all(array.data.ptr % to == 0 for array in arrays)


def blocks(tasks, each):
    """How many blocks of `each` tasks cover them all; one at least, since a grid of none is an error."""
    return max(1, -(-tasks // each))


def launch(file, kernel, grid, block, args, shared=0, **parameters):
    """Run `kernel` of the .cu file beside the Python file: grid and block as an int or a tuple, shared in bytes."""
    for a in args:
        if hasattr(a, "__cuda_array_interface__"):
            if not a.flags.c_contiguous:
                raise ValueError(f"{kernel}: an array of shape {a.shape} is not contiguous")
            i32(a.size)
        elif not isinstance(a, np.generic):
            raise TypeError(f"{kernel}: argument {a!r} must be an array on the GPU or a NumPy number of its exact type")
    function = _function(file, kernel, tuple(sorted(parameters.items())))
    if shared > PLENTY:
        function.max_dynamic_shared_size_bytes = shared
    function(_three(grid), _three(block), args, shared_mem=shared)


def source(file):
    """What is compiled: the text of the .cu file beside a Python file, our own headers in place of their includes."""
    return _with_headers(Path(file).with_suffix(".cu"))


def _with_headers(path):
    """`#line` directives keep the line numbers in messages those of the files."""
    lines = [f'#line 1 "{path.name}"']
    for number, line in enumerate(path.read_text().splitlines(), 1):
        header = re.match(r'#include "(\w+\.cuh)"', line)
        lines += [_with_headers(path.parent / header[1]), f'#line {number + 1} "{path.name}"'] if header else [line]
    return "\n".join(lines) + "\n"


def options(parameters):
    """Compiler options for `-D` parameters, given as pairs."""
    return (*OPTIONS, *(f"-D{name}={value}" for name, value in parameters))


@cache
def _function(file, kernel, parameters):
    return _module(file, parameters).get_function(kernel)


@cache
def _module(file, parameters):
    return _cupy().RawModule(code=source(file), options=options(parameters))


def kernels_of(file):
    """The names of the __global__ functions in the .cu file beside the Python file."""
    return re.findall(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s*)?(\w+)", source(file))


def capability():
    """The GPU's compute capability as a number: 75, 80, 90 ..."""
    return int(_cupy().cuda.Device().compute_capability)


def _three(sizes):
    sizes = (sizes,) if isinstance(sizes, int) else tuple(sizes)
    return sizes + (1,) * (3 - len(sizes))


def _cupy():
    import cupy

    return cupy
