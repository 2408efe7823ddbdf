"""What every CUDA launcher does first: check its arrays, and choose the version of the kernel that fits them.

Version 1 of a kernel is the plainest; it covers every case, and float64. Each later one is faster and may cover less.
"""

import numpy as np

from ._cuda import aligned, contiguous


def floats(kernel, **arrays):
    """The arrays in C order. Raises TypeError, naming the array, unless all are float32 or all are float64."""
    dtype = next(iter(arrays.values())).dtype
    for name, a in arrays.items():
        if a.dtype not in (np.float32, np.float64):
            raise TypeError(f"{kernel}: {name} must be float32 or float64, got {a.dtype}")
        if a.dtype != dtype:
            raise TypeError(f"{kernel}: {name} must be {dtype} like the arrays before it, got {a.dtype}")
    return [contiguous(a) for a in arrays.values()]


def check_shapes(kernel, wanted, **arrays):
    """Raises ValueError, naming the array, unless each of them has the shape that is wanted."""
    for name, a in arrays.items():
        if a.shape != wanted:
            raise ValueError(f"{kernel}: {name} must have shape {wanted}, got {a.shape}")


def choose(kernel, version, obstacles, opt_in=()):
    """The version to run. `obstacles[v]` says in words what version v lacks for the case at hand, or is None.

    Without a wish (version=None), the highest that nothing stands against, leaving out those in `opt_in`.
    Raises ValueError where the version asked for does not exist or does not cover the case.
    """
    if version is None:
        return max(v for v, obstacle in obstacles.items() if obstacle is None and v not in opt_in)
    if version not in obstacles:
        raise ValueError(f"{kernel}: version must be one of {sorted(obstacles)}, got {version}")
    if obstacles[version] is not None:
        raise ValueError(f"{kernel}: version {version} {obstacles[version]}")
    return version


def float32_only(x):
    """The obstacle that float64 is to a version written in float."""
    return None if x.dtype == np.float32 else f"computes in float32, and the arrays are {x.dtype}"


def pack(width, *arrays):
    """How many floats a load may bring: 4 where all rows of `width` begin at multiples of 16 bytes, else 1."""
    return 4 if width % 4 == 0 and aligned(*arrays) else 1
