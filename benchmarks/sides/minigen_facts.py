"""What our side runs on."""

from threadpoolctl import threadpool_info

from minigen import __version__
from minigen.info import info
from minigen.kernels import _numba, _threads


def facts():
    known = info()
    blas = [pool for pool in threadpool_info() if pool["user_api"] == "blas"]
    kernels = {f"{pool['internal_api']} {pool['version']} ({pool.get('architecture', 'unknown')})" for pool in blas}
    return {
        "python": known["python"].split()[0],
        "numpy": known["numpy"],
        "numba": known["numba"],
        "minigen": __version__,
        "BLAS kernel": ", ".join(sorted(kernels)) or "unknown",
        "SIMD lanes": lanes(),
        "threads": _threads.get_num_threads(),
    }


def lanes():
    """float32 numbers in one register of our kernels."""
    if _numba.numba is None:
        return "none: Numba is not installed, so the NumPy reference is what is measured"
    from minigen.kernels.simd.vector import LANES

    return LANES
