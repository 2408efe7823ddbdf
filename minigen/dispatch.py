"""Which implementation of a kernel runs: NumPy's reference, Numba on the CPU, or CUDA on the GPU.

`dispatch("group_norm", x, ...)` finds `group_norm_numpy`, `_numba` or `_cuda` in `kernels/group_norm.py`.
The arrays decide: CuPy's go to CUDA; NumPy's to Numba, or to the NumPy reference where Numba is not
installed. `use_kernels` forces one, and then raises rather than fall back, so that a test which
compares two implementations never compares one with itself.
"""

from collections.abc import Callable
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from importlib import import_module

import numpy as np

_forced: ContextVar[str | Callable[[str], str] | None] = ContextVar("kernels", default=None)

DIALECTS = ("numpy", "numba", "cuda")

# Every kernel, by the file that holds it.
KERNELS = {
    "activation": "relu relu_grad leaky_relu leaky_relu_grad sigmoid sigmoid_grad tanh tanh_grad "
    "softplus softplus_grad silu silu_grad gelu gelu_grad",
    "arithmetic": "add sum_positions concatenate split contiguous",
    "attention": "attention attention_grad",
    "batch_norm": "batch_norm batch_norm_grad",
    "conv": "conv2d conv2d_input_grad conv2d_weight_grad conv2d_weight_bias_grad",
    "embedding": "embedding embedding_grad",
    "features": "sinusoids sinusoids_grad",
    "group_norm": "group_norm group_norm_grad",
    "layer_norm": "layer_norm layer_norm_grad",
    "linear": "linear linear_grad",
    "loss": "mse mse_grad l1 l1_grad bce bce_grad gaussian_nll gaussian_nll_grad kl_gaussian kl_gaussian_grad "
    "kl_gaussians kl_gaussians_grad cross_entropy cross_entropy_grad",
    "matmul": "matmul",
    "optimizer": "sgd_step rmsprop_step adamw_step ema_step square_norm",
    "philox": "philox_bits philox_uniform philox_normal",
    "pool": "max_pool2d max_pool2d_grad avg_pool2d avg_pool2d_grad",
    "resize": "resize resize_grad",
    "softmax": "softmax softmax_grad log_softmax log_softmax_grad",
    "upsample_conv": "upsample_conv2d upsample_conv2d_input_grad upsample_conv2d_weight_bias_grad",
}
# Handed over as they are: BLAS reads a transposed matrix in place, and optimisers write into their vectors.
AS_THEY_ARE = {"matmul", "linear", "linear_grad", "contiguous", "sgd_step", "rmsprop_step", "adamw_step", "ema_step"}


@contextmanager
def use_kernels(dialect):
    """Force one dialect ("numpy", "numba" or "cuda") for every kernel call in the block; or a function of its name."""
    if dialect not in DIALECTS and not callable(dialect):
        raise ValueError(f"dialect must be one of {', '.join(DIALECTS)}, got {dialect!r}")
    token = _forced.set(dialect)
    try:
        yield
    finally:
        _forced.reset(token)


def dispatch(name, *args, **kwargs):
    """Call the kernel `name` in the dialect that fits its arrays.

    Raises LookupError for an unknown kernel, or for one without the dialect that `use_kernels` asks for; TypeError
    where that dialect does not fit the arrays.
    """
    implementation = kernel(name, _dialect(name, args))
    return implementation(*(args if name in AS_THEY_ARE else map(_plain, args)), **kwargs)


@cache
def kernel(name, dialect):
    """The Python function that implements a kernel in a dialect."""
    try:
        return getattr(_module(_files()[name]), f"{name}_{dialect}")
    except KeyError:
        raise LookupError(f"no kernel is called {name!r}; dispatch.KERNELS lists them") from None
    except AttributeError:
        raise LookupError(f"kernel {name!r} has no {dialect} version") from None


def _dialect(name, args):
    """Looking for an attribute that is missing takes long, so NumPy's arrays, which most are, are not asked for it."""
    forced = _forced.get()
    forced = forced(name) if callable(forced) else forced
    on_gpu = any([hasattr(a, "__cuda_array_interface__") for a in args if type(a) is not np.ndarray])
    if forced and on_gpu != (forced == "cuda") and (on_gpu or any(isinstance(a, np.ndarray) for a in args)):
        raise TypeError(f"use_kernels({forced!r}) does not fit arrays {'on the GPU' if on_gpu else 'of NumPy'}")
    return forced or ("cuda" if on_gpu else "numba" if _numba_installed() else "numpy")


def _plain(a):
    """Numba compiles once for each memory layout: hand it contiguous, aligned, writable arrays and nothing else."""
    if isinstance(a, np.ndarray) and not a.flags.carray:
        return np.require(a, requirements=("C", "A", "W"))
    return a


@cache
def _numba_installed():
    from .kernels import _numba

    return _numba.numba is not None


@cache
def _files():
    return {name: file for file, names in KERNELS.items() for name in names.split()}


@cache
def _module(file):
    return import_module(f".kernels.{file}", __package__)
