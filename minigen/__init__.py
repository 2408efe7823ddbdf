"""minigen: deep generative models from scratch, made to be read.

    from minigen import Tensor, grad, no_grad, ops

    x = Tensor([1.0, 2.0], requires_grad=True)
    (dx,) = grad(ops.silu(x).sum(), x)

The reading order of the source is in the README. Parts that cost time to import are loaded when they are first used.
"""

from importlib import import_module

from . import ops
from .autograd import backward, grad, no_grad
from .dispatch import use_kernels
from .gradcheck import check_grads
from .random import Generator
from .tensor import Tensor

__version__ = "0.1.0"
__all__ = [
    "Generator", "Tensor", "backward", "check_grads", "get_num_threads", "grad", "load", "no_grad", "profile",
    "set_num_threads", "use_kernels",
    "data", "diffusion", "metrics", "models", "nn", "ops", "optim", "train",
]  # fmt: skip
LAZY_FUNCTIONS = {  # and the files that hold them
    "get_num_threads": ".kernels._threads",
    "load": ".train",
    "profile": ".profiler",
    "set_num_threads": ".kernels._threads",
}


def __getattr__(name):
    if name in LAZY_FUNCTIONS:
        return getattr(import_module(LAZY_FUNCTIONS[name], __name__), name)
    if name in __all__:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module 'minigen' has no attribute {name!r}")
