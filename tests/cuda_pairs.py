"""A CUDA kernel beside its NumPy reference, on the stand-in for a GPU: what the tests of several families share."""

import numpy as np
from cuda_on_cpu.standin import installed
from hypothesis import strategies as st
from tolerances import assert_close

from minigen.dispatch import kernel

SCHEDULES = st.tuples(st.integers(0, 3), st.integers(0, 99))  # order of the threads, and seed of a shuffled one


def run(cupy, name, *args, version=None):
    """The kernel's results as NumPy arrays, always in a tuple."""
    results = kernel(name, "cuda")(*(to_gpu(cupy, a) for a in args), version=version)
    return tuple(a.get() for a in (results if isinstance(results, tuple) else (results,)))


def reference(name, *args):
    results = kernel(name, "numpy")(*args)
    return results if isinstance(results, tuple) else (results,)


def compare(cupy, name, *args, version, kind, order=0):
    """Every result within the tolerance table; which versions ran is returned."""
    before = len(cupy.launches)
    actual, expected = run(cupy, name, *args, version=version), reference(name, *args)
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert a.dtype == e.dtype
        assert_close(a, e, kind, order, what=f"result {i} of {name}")
    return [call.kernel for call in cupy.launches[before:]]


def assert_same_bits_under_every_schedule(name, args, version):
    """Whatever order the threads take, the kernel's results are the same, bit for bit."""
    found = []
    for order in range(3):
        with installed(order=order, seed=order) as cupy:
            found.append(run(cupy, name, *args, version=version))
    for other in found[1:]:
        for a, b in zip(found[0], other):
            np.testing.assert_array_equal(a, b)


def to_gpu(cupy, a):
    return cupy.asarray(a) if isinstance(a, np.ndarray) else a


def unaligned(cupy, a):
    """The same numbers in a contiguous array that begins 4 bytes past a multiple of 16."""
    room = cupy.zeros(a.size + 1, a.dtype)
    room[1:] = cupy.asarray(a.ravel())
    return room[1:].reshape(a.shape)


def normal(*shape, seed=0, dtype=np.float32, mean=0.0):
    return (np.random.default_rng(seed).standard_normal(shape) + mean).astype(dtype)
