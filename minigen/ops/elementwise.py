"""Arithmetic and elementary functions, element by element: y_i = f(x_i), so dL/dx_i = g_i f'(x_i).

Shapes broadcast as in NumPy. An input that was stretched contributed to many results, so its
gradient is the sum over the stretched axes: `sum_to`.
"""

from ..autograd import Operation
from ..device import device_of, to_device
from ..dispatch import dispatch

LARGE = 1 << 15  # elements; from here on sums, joins and copies are shared over the threads (kernels/arithmetic.py)


class Add(Operation):
    """y = a + b"""

    keeps_inputs = False

    def forward(self, a, b):
        in_order = a.flags.c_contiguous and b.flags.c_contiguous  # else a kernel would copy before it adds
        return dispatch("add", a, b) if a.size >= LARGE and a.shape == b.shape and in_order else a + b

    def backward(self, g, needs):
        return [sum_to(g, shape) if need else None for need, shape in zip(needs, self.shapes)]


class Subtract(Operation):
    """y = a - b"""

    keeps_inputs = False

    def forward(self, a, b):
        return a - b

    def backward(self, g, needs):
        return sum_to(g, self.shapes[0]) if needs[0] else None, -sum_to(g, self.shapes[1]) if needs[1] else None


class Multiply(Operation):
    """y = a b     dy/da = b     dy/db = a"""

    def forward(self, a, b):
        return a * b

    def backward(self, g, needs, a, b):
        return sum_to(g * b, a.shape) if needs[0] else None, sum_to(g * a, b.shape) if needs[1] else None


class Divide(Operation):
    """y = a / b     dy/da = 1 / b     dy/db = -a / b^2"""

    def forward(self, a, b):
        return a / b

    def backward(self, g, needs, a, b):
        return sum_to(g / b, a.shape) if needs[0] else None, sum_to(-g * a / (b * b), b.shape) if needs[1] else None


class Power(Operation):
    """y = x^p for a fixed number p     dy/dx = p x^(p - 1)"""

    def __init__(self, p):
        self.p = p

    def forward(self, x):
        return x**self.p

    def backward(self, g, needs, x):
        return g * (x ** (self.p - 1)) * self.p if self.p else g * 0.0


class Negate(Operation):
    """y = -x"""

    keeps_inputs = False

    def forward(self, x):
        return -x

    def backward(self, g, needs):
        return -g


class Exp(Operation):
    """y = exp(x)     dy/dx = y"""

    keeps_inputs = True  # a second derivative asks for y as a function of x

    def forward(self, x):
        y = device_of(x).xp.exp(x)
        self.save(y)
        return y

    def backward(self, g, needs, x):
        return g * self.output()


class Log(Operation):
    """y = ln(x)     dy/dx = 1 / x"""

    def forward(self, x):
        return device_of(x).xp.log(x)

    def backward(self, g, needs, x):
        return g / x


class Sqrt(Operation):
    """y = sqrt(x)     dy/dx = 1 / (2 y)"""

    def forward(self, x):
        y = device_of(x).xp.sqrt(x)
        self.save(y)
        return y

    def backward(self, g, needs, x):
        return g / (self.output() * 2.0)


class Sin(Operation):
    """y = sin(x)     dy/dx = cos(x)"""

    def forward(self, x):
        return device_of(x).xp.sin(x)

    def backward(self, g, needs, x):
        return g * cos(x)


class Cos(Operation):
    """y = cos(x)     dy/dx = -sin(x)"""

    def forward(self, x):
        return device_of(x).xp.cos(x)

    def backward(self, g, needs, x):
        return -g * sin(x)


class HyperbolicTangent(Operation):
    """y = tanh(x)     dy/dx = 1 - y^2

    The composed forms of sigmoid, SiLU and their kin rest on this one: it is stable at both ends.
    (`minigen.tanh` is the fused version with kernels of its own.)
    """

    def forward(self, x):
        y = device_of(x).xp.tanh(x)
        self.save(y)
        return y

    def backward(self, g, needs, x):
        y = self.output()
        return g * (1.0 - y * y)


class Erf(Operation):
    """y = 2 / sqrt(pi) integral_0^x exp(-s^2) ds     dy/dx = 2 / sqrt(pi) exp(-x^2)"""

    def forward(self, x):
        if device_of(x).name == "cuda":
            from cupyx.scipy.special import erf as special_erf
        else:
            from scipy.special import erf as special_erf
        return special_erf(x)

    def backward(self, g, needs, x):
        return g * exp(-(x * x)) * 1.1283791670955126


class LogNormalCDF(Operation):
    """y = ln Phi(x), Phi the standard normal's cumulative distribution     dy/dx = exp(-x^2 / 2 - y) / sqrt(2 pi)"""

    keeps_inputs = True

    def forward(self, x):
        if device_of(x).name == "cuda":
            from cupyx.scipy.special import log_ndtr as special_log_ndtr
        else:
            from scipy.special import log_ndtr as special_log_ndtr
        y = special_log_ndtr(x)
        self.save(y)
        return y

    def backward(self, g, needs, x):
        return g * exp(x * x * -0.5 - self.output() - 0.9189385332046727)


class Abs(Operation):
    """y = |x|     dy/dx = sign(x), and 0 at 0"""

    def forward(self, x):
        return abs(x)

    def backward(self, g, needs, x):
        return g * device_of(x.data).xp.sign(x.data)


class Where(Operation):
    """y = a where the mask is true, else b."""

    keeps_inputs = False

    def __init__(self, mask):
        self.mask = mask

    def forward(self, a, b):
        self.mask = to_device(self.mask, device_of(a))
        return device_of(a).xp.where(self.mask, a, b)

    def backward(self, g, needs):
        chosen, other = (where(self.mask, g, 0.0), where(self.mask, 0.0, g))
        return sum_to(chosen, self.shapes[0]) if needs[0] else None, sum_to(other, self.shapes[1]) if needs[1] else None


class AsType(Operation):
    """y = x in another floating-point type; the gradient returns in x's own."""

    keeps_inputs = False

    def __init__(self, dtype):
        self.dtype = dtype

    def forward(self, x):
        self.from_dtype = x.dtype
        return x.astype(self.dtype)

    def backward(self, g, needs):
        return AsType(self.from_dtype)(g)


def sum_to(g, shape):
    """Sum g over the axes that broadcasting stretched from `shape`: the transpose of `broadcast_to`."""
    if g.shape == tuple(shape):
        return g
    extra = g.ndim - len(shape)
    stretched = tuple(i + extra for i, n in enumerate(shape) if n == 1 and g.shape[i + extra] != 1)
    g = g.sum(tuple(range(extra)) + stretched)
    return g if g.shape == tuple(shape) else g.reshape(shape)


def add(a, b):
    """y = a + b, with broadcasting."""
    return Add()(a, b)


def subtract(a, b):
    """y = a - b, with broadcasting."""
    return Subtract()(a, b)


def multiply(a, b):
    """y = a b elementwise, with broadcasting."""
    return Multiply()(a, b)


def divide(a, b):
    """y = a / b elementwise, with broadcasting."""
    return Divide()(a, b)


def power(x, p):
    """y = x^p for a Python number p. Raises TypeError for another exponent: exp(p log(x)) is its form."""
    if not isinstance(p, (int, float)):
        raise TypeError(f"the exponent must be a Python number, got {type(p).__name__}; write exp(p * log(x))")
    return Power(p)(x)


def negate(x):
    """y = -x"""
    return Negate()(x)


def exp(x):
    """y = e^x"""
    return Exp()(x)


def log(x):
    """y = ln(x)"""
    return Log()(x)


def sqrt(x):
    """y = the square root of x"""
    return Sqrt()(x)


def sin(x):
    """y = sin(x), x in radians"""
    return Sin()(x)


def cos(x):
    """y = cos(x), x in radians"""
    return Cos()(x)


def erf(x):
    """y = erf(x), the Gaussian error function"""
    return Erf()(x)


def log_ndtr(x):
    """y = ln Phi(x), the logarithm of the standard normal's cumulative distribution, exact far into the tail"""
    return LogNormalCDF()(x)


def absolute(x):
    """y = |x|; the gradient at 0 is 0"""
    return Abs()(x)


def where(mask, a, b):
    """y = a where mask is true, else b, with broadcasting. mask: a boolean array, not differentiated."""
    mask = getattr(mask, "data", mask) if hasattr(mask, "requires_grad") else mask
    if getattr(getattr(mask, "dtype", None), "kind", None) != "b":
        raise TypeError(f"mask must be a boolean array, got {getattr(mask, 'dtype', type(mask).__name__)}")
    return Where(mask)(a, b)


def maximum(a, b):
    """y = the larger of a and b; where they are equal the gradient goes to a. NaN in either gives NaN."""
    x, other = _data(a), _data(b)
    return where((x >= other) | (x != x), a, b)


def minimum(a, b):
    """y = the smaller of a and b; where they are equal the gradient goes to a. NaN in either gives NaN."""
    x, other = _data(a), _data(b)
    return where((x <= other) | (x != x), a, b)


def clip(x, low, high):
    """y = x limited to [low, high]; the gradient is 0 outside. Raises ValueError if low > high."""
    if low > high:
        raise ValueError(f"low must be at most high, got low={low}, high={high}")
    return minimum(maximum(x, low), high)


def astype(x, dtype):
    """y = x as float32 or float64."""
    return AsType(dtype)(x)


def _data(x):
    return x.data if hasattr(x, "requires_grad") else x
