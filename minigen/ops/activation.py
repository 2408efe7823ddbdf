"""Activation functions: fused kernels (kernels/activation.py has the formulas), composed twins beside them."""

from ..autograd import Fused
from ..device import device_of
from ..dispatch import dispatch
from .elementwise import HyperbolicTangent, erf, exp, log, maximum


class ReLU(Fused):
    """y = max(x, 0)     dy/dx = 1 where x > 0, else 0"""

    def forward(self, x):
        return dispatch("relu", x)

    def backward_fast(self, g, needs, x):
        return (dispatch("relu_grad", g, x),)

    def composed(self, x):
        return x * (x.data > 0).astype(x.dtype)  # a straight line on either side: its slope is a constant to the tape


class LeakyReLU(Fused):
    """y = x where x > 0, else slope * x"""

    def __init__(self, slope):
        self.slope = slope

    def forward(self, x):
        return dispatch("leaky_relu", x, x.dtype.type(self.slope))

    def backward_fast(self, g, needs, x):
        return (dispatch("leaky_relu_grad", g, x, x.dtype.type(self.slope)),)

    def composed(self, x):
        one, slope = x.dtype.type(1), x.dtype.type(self.slope)
        return x * device_of(x.data).xp.where(x.data > 0, one, slope)


class Sigmoid(Fused):
    """y = 1 / (1 + exp(-x))     dy/dx = y (1 - y)"""

    def forward(self, x):
        y = dispatch("sigmoid", x)
        self.save(y)
        return y

    def backward_fast(self, g, needs, x):
        return (dispatch("sigmoid_grad", g, self.saved[0]),)

    def composed(self, x):
        return logistic(x)


class Tanh(Fused):
    """y = tanh(x)     dy/dx = 1 - y^2"""

    def forward(self, x):
        y = dispatch("tanh", x)
        self.save(y)
        return y

    def backward_fast(self, g, needs, x):
        return (dispatch("tanh_grad", g, self.saved[0]),)

    def composed(self, x):
        return HyperbolicTangent()(x)


class Softplus(Fused):
    """y = ln(1 + exp(x))     dy/dx = sigmoid(x)"""

    def forward(self, x):
        return dispatch("softplus", x)

    def backward_fast(self, g, needs, x):
        return (dispatch("softplus_grad", g, x),)

    def composed(self, x):
        # max(x, 0) + ln(1 + exp(-|x|)) in terms that are smooth at 0: there, x/2 + |x|/2 + ... has a kink in each part.
        positive = maximum(x, -x)  # |x|, with slope 1 at 0; its kink cancels against that of exp(-|x|)
        return (x + positive) * 0.5 + log(exp(-positive) + 1.0)


class SiLU(Fused):
    """y = x s     dy/dx = s (1 + x (1 - s))     s = sigmoid(x)"""

    def forward(self, x):
        return dispatch("silu", x)

    def backward_fast(self, g, needs, x):
        return (dispatch("silu_grad", g, x),)

    def composed(self, x):
        return x * logistic(x)


class GELU(Fused):
    """y = x Phi(x)     dy/dx = Phi(x) + x phi(x)"""

    def forward(self, x):
        return dispatch("gelu", x)

    def backward_fast(self, g, needs, x):
        return (dispatch("gelu_grad", g, x),)

    def composed(self, x):
        return x * (erf(x * 0.5**0.5) + 1.0) * 0.5


def logistic(x):
    """1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2 in plain operations: stable at both ends."""
    return HyperbolicTangent()(x * 0.5) * 0.5 + 0.5


def relu(x):
    """y = max(x, 0).   x (*) -> y (*)"""
    return ReLU()(x)


def leaky_relu(x, slope=0.2):
    """y = x where x > 0, else slope * x.   x (*) -> y (*).   Maas et al., 2013; DCGAN uses slope 0.2."""
    return LeakyReLU(slope)(x)


def sigmoid(x):
    """y = 1 / (1 + exp(-x)).   x (*) -> y (*)"""
    return Sigmoid()(x)


def tanh(x):
    """y = tanh(x).   x (*) -> y (*)"""
    return Tanh()(x)


def softplus(x):
    """y = ln(1 + exp(x)).   x (*) -> y (*), without overflow"""
    return Softplus()(x)


def silu(x):
    """y = x sigmoid(x).   x (*) -> y (*).   Elfwing et al., 2018"""
    return SiLU()(x)


def gelu(x):
    """y = x Phi(x), the exact form with erf.   x (*) -> y (*).   Hendrycks and Gimpel, 2016"""
    return GELU()(x)
