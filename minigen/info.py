"""What this installation is made of: versions, kernels, BLAS, threads, GPU. For bug reports and benchmarks."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version


def info():
    """-> {what: how it is here}, all text, in the order to print."""
    from . import __version__
    from .device import cuda
    from .kernels import _numba, _threads

    packages = ("numpy", "scipy", "numba", "llvmlite", "safetensors", "click", "tqdm")
    numba = _numba.numba is not None
    try:
        gpu = _gpu(cuda().xp)
    except RuntimeError as error:
        gpu = f"none ({error})"
    return {
        "minigen": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.platform()}, {os.cpu_count()} processors",
        **{name: _version(name) for name in packages},
        "CPU kernels": "numba" if numba else "numpy (the reference; install numba for speed)",
        "threads": str(_threads.get_num_threads()),
        "kernel cache": str(_numba.numba.config.CACHE_DIR) if numba else "none",
        "BLAS": "; ".join(_blas()) or "unknown",
        "GPU": gpu,
    }


def _version(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _blas():
    """One line for each BLAS library loaded. NumPy's and SciPy's wheels bring one each."""
    import scipy.linalg  # noqa: F401  (loads SciPy's)
    from threadpoolctl import threadpool_info

    pools = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    return [f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads" for pool in pools]


def _gpu(cupy):
    try:
        properties = cupy.cuda.runtime.getDeviceProperties(0)
    except cupy.cuda.runtime.CUDARuntimeError as error:
        return f"none ({error})"
    capability = f"{properties['major']}.{properties['minor']}"
    return f"{properties['name'].decode()}, compute capability {capability}, CuPy {cupy.__version__}"
