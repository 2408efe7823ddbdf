"""minigen: deep generative models from scratch, made to be read."""

__version__ = "0.1.0"

from .autograd import grad, no_grad
from .tensor import Tensor
