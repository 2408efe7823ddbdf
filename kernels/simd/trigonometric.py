"""Sine and cosine in a form that the compiler can run on 8 or 16 numbers at once (see transcendental.py).

    a = n pi/2 + r        n = round(2 a / pi)        |r| <= pi / 4

    n mod 4      0         1         2         3
    sin a      sin r     cos r    -sin r    -cos r
    cos a      cos r    -sin r    -cos r     sin r

sin r and cos r are polynomials. The remainder is the difficulty: next to a multiple of pi the subtraction
cancels most digits of a. It is taken in float64 whatever the result is to be, and pi/2 in two parts, the
first of 33 bits, so that n times it is exact while n < 2^20.

Bound    |a| <= FURTHEST = 2^20. Beyond it the result is NaN and not a number with too few right digits: who may get
         there asks `largest |a| <= FURTHEST` once a row, outside the loop that is to vectorise, and has the C library
         for the other case (features.py)
Error    sin_cos32: below 1.3 ulp for every float32 in the bound; sin_cos64: at most 2 ulp for the angles of a draw.
         The sine of -0 is +0
Source   Cody and Waite, Software Manual for the Elementary Functions, 1980, chapter 8; coefficients of Cephes, sinf.c
         (Moshier 1992), and FreeBSD msun, k_sin.c, k_cos.c, e_rem_pio2.c (Sun Microsystems 1993)
"""

import numpy as np

from .._numba import jit_in_order, numba

FURTHEST = 2.0**20
TWO_OVER_PI = 6.36619772367581382433e-01
HALF_PI_HIGH, HALF_PI_LOW = 1.57079632673412561417e00, 6.07710050650619224932e-11

S1, S2, S3 = np.float32(-1.6666654611e-1), np.float32(8.3321608736e-3), np.float32(-1.9515295891e-4)
C1, C2, C3 = np.float32(4.166664568298827e-2), np.float32(-1.388731625493765e-3), np.float32(2.443315711809948e-5)

S1_64, S2_64, S3_64 = -1.66666666666666324348e-01, 8.33333333332248946124e-03, -1.98412698298579493134e-04
S4_64, S5_64, S6_64 = 2.75573137070700676789e-06, -2.50507602534068634195e-08, 1.58969099521155010221e-10
C1_64, C2_64, C3_64 = 4.16666666666666019037e-02, -1.38888888888741095749e-03, 2.48015872894767294178e-05
C4_64, C5_64, C6_64 = -2.75573143513906633035e-07, 2.08757232129817482790e-09, -1.13596475577881948265e-11


def sin_cos(a, dtype):
    """The sine and the cosine of a float64 angle, rounded to dtype; for use inside a kernel."""
    return np.sin(a).astype(dtype), np.cos(a).astype(dtype)


@jit_in_order
def quarter_turns(a):
    """n and r."""
    n = np.floor(a * TWO_OVER_PI + 0.5)
    r = (a - n * HALF_PI_HIGH) - n * HALF_PI_LOW
    return np.int32(n), r


@jit_in_order
def turned(n, sine, cosine):
    """sin and cos of r turned by n quarters, from those of r."""
    s, c = (cosine, -sine) if n & 1 else (sine, cosine)
    return (-s, -c) if n & 2 else (s, c)


@jit_in_order
def sin_cos32(a):
    """sin a and cos a, rounded to float32."""
    a = np.float64(a)
    n, exact = quarter_turns(a if abs(a) <= FURTHEST else 0.0)
    r = np.float32(exact)
    z = r * r
    sine = np.float32(((S3 * z + S2) * z + S1) * z * r + exact)  # in float64: r is most of the result
    cosine = np.float32(1) - z * (np.float32(0.5) - z * ((C3 * z + C2) * z + C1))
    s, c = turned(n, sine, cosine)
    return (s, c) if abs(a) <= FURTHEST else (np.float32(np.nan), np.float32(np.nan))


@jit_in_order
def sin_cos64(a):
    """For the normal draws of philox.py, whose angles lie between 0 and 2 pi."""
    n, r = quarter_turns(a)
    z = r * r
    sine = (((((S6_64 * z + S5_64) * z + S4_64) * z + S3_64) * z + S2_64) * z + S1_64) * z * r + r
    tail = ((((((C6_64 * z + C5_64) * z + C4_64) * z + C3_64) * z + C2_64) * z + C1_64) * z) * z
    rounded = 1.0 - 0.5 * z  # what its rounding took is put back with the tail
    cosine = rounded + (((1.0 - rounded) - 0.5 * z) + tail)
    return turned(n, sine, cosine)


if numba is not None:
    from numba import types
    from numba.extending import overload

    @overload(sin_cos)
    def _sin_cos_by_type(a, dtype):
        if dtype.dtype == types.float32:
            return lambda a, dtype: sin_cos32(a)
        return lambda a, dtype: (np.sin(a), np.cos(a))
