"""exp in a form that the compiler can run on 8 or 16 numbers at once.

`np.exp` inside a Numba loop is a call into the C library for every single number. Arithmetic alone
vectorises, so exp is spelt out in arithmetic, some 15 times faster:

    exp(x) = 2^n exp(r)        n = round(x / ln 2)        r = x - n ln 2,  |r| <= ln 2 / 2

2^n is the float whose exponent bits are n + 127, made by shifting an integer; exp(r) is a polynomial of
degree 6. ln 2 is subtracted in two parts, the first with so few bits that n times it is exact.

Error    below 2 units in the last place (tests/test_transcendental.py)
Edges    0 below -87.3 (no normal float32 is left there), infinity above 88.3 (2^128 is no float32), NaN stays NaN
Source   Cody and Waite, Software Manual for the Elementary Functions, 1980, chapter 6; coefficients of the Cephes
         library's expf (Moshier 1992)
"""

import numpy as np

from .._numba import jit_in_order, numba

LOG2_E = np.float32(1.44269504088896341)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
C1, C2, C3 = np.float32(5.0000001201e-1), np.float32(1.6666665459e-1), np.float32(4.1665795894e-2)
C4, C5, C6 = np.float32(8.3334519073e-3), np.float32(1.3981999507e-3), np.float32(1.9875691500e-4)
LOWEST, HIGHEST = np.float32(-87.33654), np.float32(88.37)


def exp(x):
    """e^x of one number, for use inside a kernel: exp32 for float32, the C library for float64."""
    return np.exp(x)


@jit_in_order
def exp32(x):
    clamped = min(max(x, LOWEST), HIGHEST)
    n = np.floor(clamped * LOG2_E + np.float32(0.5))
    r = clamped - n * LN2_HIGH
    r = r - n * LN2_LOW
    p = ((((C6 * r + C5) * r + C4) * r + C3) * r + C2) * r + C1
    y = (p * r * r + r + np.float32(1)) * float_of_bits((np.int32(n) + np.int32(127)) << np.int32(23))
    y = np.float32(0) if x < LOWEST else y
    y = np.float32(np.inf) if x > HIGHEST else y
    return x if x != x else y


if numba is not None:
    from llvmlite import ir
    from numba import types
    from numba.extending import intrinsic, overload

    @intrinsic
    def float_of_bits(typing, bits):
        """The float32 whose 32 bits are those of an integer's lower half."""

        def bitcast(context, builder, signature, args):
            return builder.bitcast(builder.trunc(args[0], ir.IntType(32)), ir.FloatType())

        return types.float32(types.int64), bitcast

    @overload(exp)
    def _exp_by_type(x):
        return (lambda x: exp32(x)) if x == types.float32 else (lambda x: np.exp(x))
