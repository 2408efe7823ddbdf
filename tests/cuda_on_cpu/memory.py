"""The GPU's memory, as the runtime keeps it: every allocation between pages that may not be touched."""

import ctypes
from functools import cache

import numpy as np

from . import build

P, SIZE, INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int


@cache
def library():
    """The runtime, loaded so that kernel modules find it."""
    lib = ctypes.CDLL(str(build.runtime()), mode=ctypes.RTLD_GLOBAL)
    lib.coc_alloc.restype, lib.coc_alloc.argtypes = P, [SIZE]
    lib.coc_free.argtypes = lib.coc_intact.argtypes = [P, SIZE]
    lib.coc_protect.argtypes = [P, SIZE, INT]
    lib.coc_argument.argtypes = [P, SIZE, INT, INT, P]
    return lib


class Memory:
    """One allocation. It is filled with ones bits, so that NaN or -1 shows where a result was forgotten.

    written   in check mode, a byte for each byte: whether anything has been written there; None once all has been
    """

    def __init__(self, bytes, written):
        self.lib, self.bytes = library(), bytes
        self.pointer = self.lib.coc_alloc(bytes)
        if not self.pointer:
            raise MemoryError(f"{bytes} bytes")
        self.written = None if written else np.zeros(bytes, np.uint8)
        self.__array_interface__ = {"shape": (bytes,), "typestr": "|u1", "data": (self.pointer, False), "version": 3}

    def __del__(self):
        self.lib.coc_free(self.pointer, self.bytes)

    def array(self, shape, dtype):
        """A NumPy array in this memory; the memory lives as long as the array or any view of it."""
        return np.asarray(self)[: self.bytes].view(dtype).reshape(shape)


def memory_of(array):
    """The Memory that a NumPy array lies in, or None."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.base if isinstance(array.base, Memory) else None


def written_bytes(array, memory):
    """The bytes of `memory.written` that belong to an array in it: shape (*array.shape, itemsize)."""
    offset = array.__array_interface__["data"][0] - memory.pointer
    shape, strides = (*array.shape, array.itemsize), (*array.strides, 1)
    return np.ndarray(shape, np.uint8, memory.written, offset, strides)
