"""A strict stand-in for CuPy: `installed()` puts it into the place of the package, and kernels run on the CPU.

    with installed(check=True) as cupy:
        x = cupy.asarray(numbers)
        y = dispatch("silu", x)          # goes through kernels/activation.py to activation.cu
        cupy.launches                    # what ran: [Call(kernel="silu_v1", ...), ...]

It knows the functions that the library may use; each is one that CuPy has (tests/test_cuda_facts.py).
"""

import re
import sys
import types
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from . import gpu_array as arrays
from .gpu_array import compute, inside, ndarray, wrap
from .module import module

# Functions of NumPy that CuPy has under the same name.
FUNCTIONS = """
    abs absolute add all amax amin any arange arctan2 argmax argmin argsort around array_equal broadcast_to ceil
    clip concatenate cos count_nonzero cumprod cumsum diag divide dot einsum equal exp expand_dims expm1
    eye fill_diagonal flip floor floor_divide full greater greater_equal identity isclose isfinite isinf isnan
    isneginf less less_equal linspace log log10 log1p log2 logaddexp logical_and logical_not logical_or matmul
    max maximum mean min minimum mod moveaxis multiply negative not_equal ones outer pad power prod ravel
    reciprocal remainder repeat reshape rint roll round sign sin sinh sort split sqrt square squeeze stack std
    subtract sum swapaxes take tan tanh tensordot tile transpose tril triu true_divide var vstack where zeros
"""
NAMES = """
    bool_ dtype e finfo float16 float32 float64 floating generic iinfo inf int16 int32 int64 int8 integer nan
    newaxis pi uint16 uint32 uint64 uint8
"""

DEFAULT_SHARED = 48 * 1024  # bytes of dynamic shared memory that a kernel gets without being told
LARGEST_SHARED = 227 * 1024


class Call(NamedTuple):
    """One launch of a kernel: of the text `code`, whose first line names its file."""

    file: str
    kernel: str
    code: str
    grid: tuple
    block: tuple
    shared: int
    parameters: tuple
    counters: dict | None


class Settings:
    mode, order, seed, capability = "fast", 0, 0, 90
    launches: list = []


# ---------------------------------------------------------------- kernels


class RawModule:
    def __init__(self, *, code, options=(), backend="nvrtc"):
        self.code, self.options = code, tuple(options)
        self.module = module(code, self.options, Settings.mode)

    def get_function(self, name):
        if name not in self.module.kernels:
            raise RuntimeError(f"CUDA_ERROR_NOT_FOUND: named symbol not found: {name}")
        return Function(self.module.kernels[name], self)


class Function:
    """A kernel to be launched, with the limits that the driver enforces."""

    def __init__(self, kernel, module):
        self.kernel, self.of = kernel, module
        self._shared = DEFAULT_SHARED

    @property
    def max_dynamic_shared_size_bytes(self):
        return self._shared

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, bytes):
        if not 0 <= bytes <= LARGEST_SHARED:
            raise RuntimeError(f"CUDA_ERROR_INVALID_VALUE: {bytes} bytes of dynamic shared memory")
        self._shared = bytes

    def __call__(self, grid, block, args, *, shared_mem=0, stream=None):
        grid, block = ((*sizes, 1, 1)[:3] for sizes in (grid, block))
        x, y, z = block
        if min(*grid, *block) < 1 or grid[0] >= 2**31 or max(grid[1:]) > 65535:
            raise RuntimeError(f"CUDA_ERROR_INVALID_VALUE: grid {grid}, block {block}")
        if x * y * z > 1024 or z > 64:
            raise RuntimeError(f"CUDA_ERROR_INVALID_VALUE: a block of {block} has more than 1024 threads, or 64 in z")
        if shared_mem > self._shared:
            raise RuntimeError("CUDA_ERROR_INVALID_VALUE: set max_dynamic_shared_size_bytes before more than 48 KiB")
        for a in args:
            if isinstance(a, np.ndarray):
                raise TypeError(f"Unsupported type {type(a)}")
        plain = [a._a if isinstance(a, ndarray) else a for a in args]
        self.kernel(grid, block, plain, shared_mem, Settings.order, Settings.seed)
        counters = self.kernel.counters() if Settings.mode == "count" else None
        named = re.match(r'#line 1 "(.+?)"', self.of.code)
        what = named[1] if named else "kernel.cu", self.kernel.name, self.of.code
        Settings.launches.append(Call(*what, grid, block, shared_mem, self.of.options, counters))


# ---------------------------------------------------------------- arrays


def asarray(a, dtype=None, order=None, blocking=False):
    if isinstance(a, ndarray) and dtype in (None, a.dtype):
        return a
    return array(a, dtype)


def array(a, dtype=None, copy=True, order="K", ndmin=0):
    a = arrays.read(a) if isinstance(a, ndarray) else a
    if isinstance(a, (list, tuple)) and any(isinstance(x, ndarray) for x in a):
        a = inside(a)
    return wrap(np.array(a, dtype=dtype, order=order, ndmin=ndmin))


def ascontiguousarray(a, dtype=None):
    a = asarray(a, dtype)
    return a if a.flags.c_contiguous else wrap(np.ascontiguousarray(arrays.read(a)))


def asnumpy(a, stream=None, order="C", out=None):
    return a.get(order=order, out=out) if isinstance(a, ndarray) else np.asarray(a)


def empty(shape, dtype=float, order="C"):
    return arrays.empty(shape, dtype, order)


def like(make):
    return lambda a, dtype=None, order="K", shape=None: make(a.shape if shape is None else shape, dtype or a.dtype)


def function(name):
    return lambda *args, **kwargs: compute(getattr(np, name), args, kwargs)


def erf(x):
    from scipy import special

    return compute(special.erf, (x,), {})


def log_ndtr(x):
    from scipy import special

    return compute(special.log_ndtr, (x,), {})


# ---------------------------------------------------------------- the device, streams, memory


class Device:
    def __init__(self, id=0):
        self.id = id

    @property
    def compute_capability(self):
        return str(Settings.capability)

    def synchronize(self):
        pass

    def use(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    mem_info = (8 * 2**30, 16 * 2**30)


class Stream:
    """Everything runs at once and in order, so that a stream has nothing to do."""

    def __init__(self, null=False, non_blocking=False, ptds=False, priority=None):
        self.ptr = 0

    def synchronize(self):
        pass

    def record(self, event=None):
        return event or Event()

    def wait_event(self, event):
        pass

    def use(self):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass


class Event:
    def __init__(self, block=False, disable_timing=False, interprocess=False):
        self.done = True

    def record(self, stream=None):
        pass

    def synchronize(self):
        pass


class MemoryPool:
    def used_bytes(self):
        return 0

    def total_bytes(self):
        return 0

    def free_all_blocks(self, stream=None):
        pass

    def malloc(self, size):
        raise NotImplementedError("the stand-in's arrays find their memory themselves")

    def set_limit(self, size=None, fraction=None):
        pass


class CUDARuntimeError(RuntimeError):
    pass


def _cuda():
    null, pool = Stream(), MemoryPool()
    runtime = types.SimpleNamespace(
        CUDARuntimeError=CUDARuntimeError,
        getDeviceCount=lambda: 1,
        getDeviceProperties=lambda id: {
            "name": b"a CPU that stands in for a GPU",
            "major": Settings.capability // 10,
            "minor": Settings.capability % 10,
        },
        deviceSynchronize=lambda: None,
    )
    return types.SimpleNamespace(
        Device=Device,
        Stream=Stream,
        Event=Event,
        MemoryPool=MemoryPool,
        PinnedMemoryPool=MemoryPool,
        runtime=runtime,
        is_available=lambda: True,
        get_current_stream=lambda: null,
        set_allocator=lambda allocator=None: None,
        set_pinned_memory_allocator=lambda allocator=None: None,
        get_elapsed_time=lambda start, end: 0.0,
        alloc_pinned_memory=lambda bytes: bytearray(bytes),
    ), pool


def make():
    """The module."""
    cupy = types.ModuleType("cupy")
    cupy.__version__ = "stand-in"
    for name in NAMES.split():
        setattr(cupy, name, getattr(np, name))
    for name in FUNCTIONS.split():
        setattr(cupy, name, function(name))
    made = {"ndarray": ndarray, "RawModule": RawModule, "empty": empty, "asarray": asarray, "array": array}
    made |= {"ascontiguousarray": ascontiguousarray, "asnumpy": asnumpy, "empty_like": like(empty)}
    made |= {"zeros_like": like(cupy.zeros), "ones_like": like(cupy.ones)}
    made["full_like"] = lambda a, value, dtype=None: cupy.full(a.shape, value, dtype or a.dtype)
    made["may_share_memory"] = lambda a, b: np.may_share_memory(a._a, b._a)
    made["get_array_module"] = lambda *all: cupy if any(isinstance(a, ndarray) for a in all) else np
    for name, value in made.items():
        setattr(cupy, name, value)
    cupy.cuda, pool = _cuda()
    cupy.get_default_memory_pool = lambda: pool
    cupy.get_default_pinned_memory_pool = lambda: pool
    cupyx = types.ModuleType("cupyx")
    cupyx.scipy = types.ModuleType("cupyx.scipy")
    cupyx.scipy.special = types.ModuleType("cupyx.scipy.special")
    cupyx.scipy.special.erf, cupyx.scipy.special.log_ndtr = erf, log_ndtr
    cupyx.empty_pinned = lambda shape, dtype=float, order="C": np.empty(shape, dtype, order)
    modules = {"cupy": cupy, "cupyx": cupyx, "cupyx.scipy": cupyx.scipy, "cupyx.scipy.special": cupyx.scipy.special}
    return cupy, modules


@contextmanager
def installed(check=False, order=0, seed=0, count=False, capability=90):
    """The stand-in as `cupy` within the block.

    check       every access is checked: bounds, races, reads of what was never written, alignment
    order       the schedule of threads: 0 by number, 1 reversed, 2 and more shuffled with `seed` after every barrier
    count       `launches` carry what each asked of the hardware
    capability  of the GPU that it claims to be
    """
    from minigen.kernels import _cuda as launcher

    cupy, modules = make()
    before = {name: sys.modules.get(name) for name in modules}
    old = {name: getattr(Settings, name) for name in ("mode", "order", "seed", "capability", "launches")}
    sys.modules.update(modules)
    Settings.mode = "count" if count else "check" if check else "fast"
    Settings.order, Settings.seed, Settings.capability, Settings.launches = order, seed, capability, []
    arrays.following, following = check, arrays.following
    cupy.launches, cupy.settings = Settings.launches, Settings
    _forget(launcher)
    try:
        yield cupy
    finally:
        for name, value in before.items():
            sys.modules.pop(name) if value is None else sys.modules.__setitem__(name, value)
        for name, value in old.items():
            setattr(Settings, name, value)
        arrays.following = following
        _forget(launcher)


def _forget(launcher):
    for value in vars(launcher).values():
        if hasattr(value, "cache_clear"):
            value.cache_clear()
