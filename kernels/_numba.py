"""How every Numba kernel is compiled: at its first call, for the types it gets, with the machine code kept on disk."""

import hashlib
import os
import platform
import tempfile
import warnings
from pathlib import Path
from types import FunctionType
from uuid import uuid4

from . import _memory  # noqa: F401  (from here on, freed arrays are kept for the next ones)

try:
    import numba
except ImportError:  # the NumPy half of every pair still works: dispatch.py falls back to it
    numba = None  # type: ignore[assignment]

# Reassociation lets LLVM vectorise sums. `nnan` and `ninf` are left out on purpose: they let the
# compiler assume that no NaN or infinity exists, and a diverging run would go unseen.
FAST_BUT_HONEST = {"reassoc", "contract", "arcp", "nsz"}


def jit(function, fastmath=frozenset(FAST_BUT_HONEST)):
    """Compile `function` at its first call for the dtypes it gets; keep the machine code on disk."""
    if numba is None:
        return function
    compiled = _compiled(function, fastmath, no_cpython_wrapper=True)
    compiled.__class__ = _ForCompiledCode
    return compiled


def jit_in_order(function):
    """`jit` for arithmetic whose order is the point, such as a subtraction in two parts: nothing is reassociated."""
    return jit(function, fastmath={"contract"})


def jit_for_python(function, fastmath=frozenset(FAST_BUT_HONEST)):
    """`jit` for what Python calls again and again."""
    return _compiled(function, fastmath) if numba is not None else function


def _compiled(function, fastmath, **options):
    options |= {"nogil": True, "cache": True, "error_model": "numpy", "no_cfunc_wrapper": True}
    return numba.njit(fastmath=set(fastmath), **options)(function)


if numba is not None:
    from numba.core.registry import CPUDispatcher

    class _ForCompiledCode(CPUDispatcher):
        """A function that compiled code calls: compiled without what it takes to be called from Python, which would be
        a sixth of the time that the first training step takes. Called from Python, it is compiled once more, with that.
        """

        def __call__(self, *args):
            if "_for_python" not in self.__dict__:
                f = self.py_func
                again = FunctionType(f.__code__, f.__globals__, f.__name__, f.__defaults__, f.__closure__)
                again.__qualname__, again.__module__ = f"{f.__qualname__}.for_python", f.__module__
                self._for_python = jit_for_python(again, self.targetoptions["fastmath"])
            return self._for_python(*args)


def _cache_folder():
    """A folder named by the text of all kernels: Numba does not notice an edit of an imported helper."""
    text = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.rglob("*.py")))
    name = f"kernels-{hashlib.sha256(text).hexdigest()[:16]}"
    for root in (os.environ.get("MINIGEN_CACHE"), Path.home() / ".cache" / "minigen"):
        if root and _writable(Path(root) / name):
            return Path(root) / name
    return Path(tempfile.gettempdir()) / f"minigen-{os.getuid() if hasattr(os, 'getuid') else 0}" / name


def _writable(folder):
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return os.access(folder, os.W_OK)
    except OSError:
        return False


def _keep_code_with_care():
    """Let a file of machine code be called after the process that writes it, and a disk that refuses it be no error.

    Numba numbers these files. Of two processes that compile the same kernel for different types at the same moment,
    both would write number 1, and the index, written apart, could name the one's types and the other's code.
    """
    from numba.core.caching import IndexDataCacheFile

    process, numbered, save = uuid4().hex[:8], IndexDataCacheFile._data_name, IndexDataCacheFile.save
    refused: list[OSError] = []

    def save_or_go_on(self, key, data):
        try:
            save(self, key, data)
        except OSError as error:
            if not refused:  # Numba resets what the warnings module has seen
                warnings.warn(f"compiled kernels cannot be kept in {self._cache_path}: {error.strerror}", stacklevel=1)
            refused.append(error)

    IndexDataCacheFile._data_name = lambda self, number: f"{process}.{numbered(self, number)}"
    IndexDataCacheFile.save = save_or_go_on


cache_is_new = False  # whether no kernel of this version has been compiled before
if numba is not None and "NUMBA_CACHE_DIR" not in os.environ:
    folder = _cache_folder()
    cache_is_new = not any(folder.glob("*"))
    numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    _keep_code_with_care()


def _widest_vectors():
    """The processor's features for Numba, without LLVM's preference for vectors of half their width.

    Compilers hold AVX-512 back because early processors lowered their clock for it. The loops of these kernels do
    nothing else, and gain: 0.61 -> 0.45 ns for a sigmoid, 1.45 -> 0.82 for erf.
    """
    from llvmlite.binding import get_host_cpu_features

    return get_host_cpu_features().flatten() + ",-prefer-256-bit"


if numba is not None and platform.machine() in ("x86_64", "AMD64") and "NUMBA_CPU_FEATURES" not in os.environ:
    numba.config.CPU_FEATURES = _widest_vectors()  # type: ignore[attr-defined]
