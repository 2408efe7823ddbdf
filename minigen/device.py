"""Where an array lives, and the array module (NumPy or CuPy) that computes there."""

from types import ModuleType
from typing import NamedTuple

import numpy as np


class NoGPU(RuntimeError):
    """The GPU was asked for and cannot be used: what is missing, in one line."""


class Device(NamedTuple):
    """`name` is "cpu" or "cuda"; `xp` is the module with NumPy's interface for arrays that live there."""

    name: str
    xp: ModuleType

    def __str__(self):
        return self.name


CPU = Device("cpu", np)


def device_of(array):
    """The device of an array. CuPy's arrays are known by their interface, so that CuPy is not imported to ask."""
    if not hasattr(array, "__cuda_array_interface__"):
        return CPU
    import cupy

    return Device("cuda", cupy)


def cuda():
    """The GPU. Raises NoGPU, with one clear line on what is missing: CuPy, or a GPU that its driver shows."""
    try:
        import cupy
    except ImportError:
        raise NoGPU(
            "device 'cuda' needs CuPy: pip install 'minigen[cuda12x]' or 'minigen[cuda13x]', by your driver"
        ) from None
    if not cupy.cuda.is_available():
        raise NoGPU("device 'cuda' needs an NVIDIA GPU and its driver: CuPy is installed, but finds none")
    return Device("cuda", cupy)


def device(name):
    """Look a device up by name. Raises ValueError for a name that is neither cpu nor cuda, NoGPU as cuda() does."""
    if isinstance(name, Device):
        return name
    if name not in ("cpu", "cuda"):
        raise ValueError(f"device must be 'cpu' or 'cuda', got {name!r}")
    return CPU if name == "cpu" else cuda()


def to_device(array, name):
    """The array on the named device; itself where it is there already.

    To the GPU, CuPy copies through pinned memory and does not wait for the end; from it, we have to.
    """
    target = device(name)
    if device_of(array).name == target.name:
        return array
    return target.xp.asarray(array) if target.name == "cuda" else array.get()


def overwrite(array, values):
    """array[...] = values, wherever the two live."""
    array[...] = to_device(values, device_of(array))
