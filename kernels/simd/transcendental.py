"""exp, log, tanh, erf and their kin in a form that the compiler can run on 8 or 16 numbers at once.

`np.exp` inside a Numba loop is a call into the C library for every single number. Arithmetic alone
vectorises, so each function is spelt out in arithmetic, for float32; float64 is left to the C library.
Branches would stop the vectoriser too: where a function has two cases, both are computed and one is chosen.

The ideas, three in all (sin and cos are in trigonometric.py):

    exp       e^x = 2^n e^r         n = round(x / ln 2),  r = x - n ln 2,  |r| <= ln 2 / 2,  e^r a polynomial.
              2^n is the float whose exponent bits are n + 127. ln 2 is subtracted in two parts, the first with so
              few bits that n times it is exact.
              expm1(x) = 2^n (e^r - 1) + (2^n - 1)
              logistic(x) = 1 / (1 + e^-x) = y - y^2 d,  y = 1 / (1 + e^-x rounded),  d what rounding took
              tanh(x) = x + x^3 T(x^2) near 0, 1 - 2 / (e^2x + 1) elsewhere
    log       ln x = n ln 2 + ln(1 + f)     x = 2^n (1 + f),  1 + f between sqrt(1/2) and sqrt(2)
              ln(1 + f) = 2 artanh(s) = 2 (s + s^3/3 + s^5/5 + ...),  s = f / (2 + f)
              log1p(x) = ln u + (x - (u - 1)) / u,  u = 1 + x rounded: the second term is what rounding took
    erfc      erfc(t) = e^(-t^2) R(v) / (t + 3),  v = (t - 3) / (t + 3): t from 0 to infinity is v from -1 to 1, where
              what is left is smooth enough for a polynomial R.  erfc(-t) = 2 - erfc(t)
              erf(x) = x P(x^2) near 0, 1 - erfc(|x|) with the sign of x elsewhere

Largest error over all 2^32 arguments, in units in the last place (ulp; tests/test_transcendental.py):

    exp 1.1    expm1 1.5    log 0.9    log1p 1.5    tanh 1.4    logistic 1.7    erf 1.8    erfc 6 + t^2

Edges    NaN stays NaN, infinities give the limits, logs of negative numbers NaN. exp is 0 below -87.3, where no
         normal float32 is left (arithmetic on what lies below costs a hundred times as much), and infinity above
         88.3 (2^128 is no float32); so logistic is 0 below -88.3, and erfc above 9.19
Source   Cody and Waite, Software Manual for the Elementary Functions, 1980, chapter 6; exp's coefficients: Cephes
         library, expf.c (Moshier 1992). Muller, Elementary Functions, 2016, section 11.4; log's coefficients: FreeBSD
         msun, e_logf.c and e_log.c (Sun Microsystems 1993). Kahan's log1p: Goldberg 1991, theorem 4. Schonfelder,
         Chebyshev expansions for the error and related functions, 1978; coefficients of P, R and T: our own, for
         the smallest largest relative error (3e-9, 1.4e-9, 4e-8) by Lawson's reweighted least squares
"""

import math

import numpy as np

from .._numba import jit, jit_in_order, numba


def by_width(narrow, wide):
    """A function for use inside a kernel: `narrow` for a number of 32 bits, `wide` for one of 64."""

    def function(x):
        return wide(x)

    if numba is not None:

        @overload(function)
        def of_type(x):
            return (lambda x: narrow(x)) if x.bitwidth == 32 else (lambda x: wide(x))

    return function


if numba is not None:
    from numba import types
    from numba.extending import intrinsic, overload

    def same_bits(argument, result):
        """A function that reads the bits of one type as another of the same size."""

        @intrinsic
        def read(typing, x):
            def bitcast(context, builder, signature, arguments):
                return builder.bitcast(arguments[0], context.get_value_type(result))

            return result(argument), bitcast

        return read

    bits_of_float, bits_of_double = same_bits(types.float32, types.int32), same_bits(types.float64, types.int64)
    float_of_bits, double_of_bits = same_bits(types.int32, types.float32), same_bits(types.int64, types.float64)
    bits_of, number_of = by_width(bits_of_float, bits_of_double), by_width(float_of_bits, double_of_bits)


ZERO, HALF, ONE, TWO = np.float32(0), np.float32(0.5), np.float32(1), np.float32(2)
NAN, INFINITY = np.float32(np.nan), np.float32(np.inf)

# ---------------------------------------------------------------- exp and what is made of it

LOG2_E = np.float32(1.44269504088896341)
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
C1, C2, C3 = np.float32(5.0000001201e-1), np.float32(1.6666665459e-1), np.float32(4.1665795894e-2)
C4, C5, C6 = np.float32(8.3334519073e-3), np.float32(1.3981999507e-3), np.float32(1.9875691500e-4)
LOWEST, HIGHEST = np.float32(-87.33654), np.float32(88.37)
T1, T2 = np.float32(-3.333295750e-1), np.float32(1.332094194e-1)
T3, T4, TANH_NEAR = np.float32(-5.268414586e-2), np.float32(1.645876272e-2), np.float32(0.55)
TANH_IS_ONE, LOGISTIC_IS_ONE = np.float32(9.02), np.float32(17.4)  # from here on, 1 is the nearest float32
ROUNDER = np.float32(1.5 * 2**23)  # floats of this size are whole: adding it rounds, and the low bits hold n
ONE_BITS = 127 << 23


@jit_in_order
def power_and_rest(x):
    """2^n and e^r - 1, for x from LOWEST to HIGHEST. NaN comes out as NaN in the second."""
    shifted = x * LOG2_E + ROUNDER
    n = shifted - ROUNDER
    r = x - n * LN2_HIGH
    r = r - n * LN2_LOW
    p = ((((C6 * r + C5) * r + C4) * r + C3) * r + C2) * r + C1
    return float_of_bits((bits_of_float(shifted) << 23) + ONE_BITS), p * r * r + r


@jit_in_order
def exp32(x):
    """e^x; what power_and_rest makes of numbers beyond its bounds is replaced."""
    power, rest = power_and_rest(x)
    y = (rest + ONE) * power
    y = ZERO if x < LOWEST else y
    return INFINITY if x > HIGHEST else y


@jit_in_order
def expm1_32(x):
    """e^x - 1, whose digits e^x would have lost for small x."""
    power, rest = power_and_rest(max(x, LOWEST))
    y = power * rest + (power - ONE)
    y = INFINITY if x > HIGHEST else y
    return x if x == 0 else y  # -0 stays -0


@jit_in_order
def tanh32(x):
    """Both formulas, of which |x| chooses; the far one stops where its result is 1."""
    a = abs(x)
    z = a * a
    near = a * (z * (((T4 * z + T3) * z + T2) * z + T1)) + a
    power, rest = power_and_rest(TWO * min(a, TANH_IS_ONE))
    far = ONE - TWO / (power * rest + (power + ONE))
    return math.copysign(near if a < TANH_NEAR else far, x)


@jit_in_order
def logistic32(x):
    """1 / (1 + e^-x), corrected by what rounding took from the sum."""
    power, rest = power_and_rest(max(-x, -LOGISTIC_IS_ONE))
    most = power + ONE
    whole = power * rest + most
    taken = (power * rest - (whole - most)) + (power - (most - ONE))
    y = ONE / whole
    y = y - y * (y * taken)
    return ZERO if x < -HIGHEST else y


# ---------------------------------------------------------------- log

LN2_HIGH_LOG, LN2_LOW_LOG = np.float32(6.9313812256e-01), np.float32(9.0580006145e-06)
L1, L2 = np.float32(0.66666662693), np.float32(0.40000972152)
L3, L4 = np.float32(0.28498786688), np.float32(0.24279078841)
SMALLEST_NORMAL, TWO_23, LN_OF_TWO_23 = np.float32(2.0**-126), np.float32(2.0**23), np.float32(23 * np.log(2))
ROOT_HALF_BITS = 0x3F3504F3  # of sqrt(1/2)


@jit_in_order
def log_normal32(x):
    """ln x of a positive normal number."""
    bits = bits_of_float(x)
    n = np.int32(bits - ROOT_HALF_BITS) >> 23
    f = float_of_bits(bits - (n << 23)) - ONE
    n = np.float32(np.int32(n))
    s = f / (TWO + f)
    z = s * s
    tail = (((L4 * z + L3) * z + L2) * z + L1) * z
    square = HALF * f * f
    return s * (square + tail) + n * LN2_LOW_LOG - square + f + n * LN2_HIGH_LOG


@jit_in_order
def log32(x):
    """ln x; numbers too small to be normal are multiplied by 2^23 first."""
    small = x < SMALLEST_NORMAL
    y = log_normal32(x * TWO_23 if small else x) - (LN_OF_TWO_23 if small else ZERO)
    y = y if x < INFINITY else x  # NaN as well
    return y if x > 0 else -INFINITY if x == 0 else NAN


@jit_in_order
def log1p32(x):
    """ln(1 + x), whose digits 1 + x would have lost for small x."""
    u = ONE + x
    y = log_normal32(u) + (x - (u - ONE)) / u
    y = x if u == ONE or x == INFINITY else y
    return y if x > -ONE else -INFINITY if x == -ONE else NAN


LN2_HIGH_64, LN2_LOW_64 = 6.93147180369123816490e-01, 1.90821492927058770002e-10
M1, M2, M3, M4 = 6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01
M5, M6, M7 = 1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01
ROOT_HALF_BITS_64 = 0x3FE6A09E667F3BCD


@jit_in_order
def log_normal64(x):
    """The same in float64, for the normal draws of philox.py; within 1 ulp."""
    bits = bits_of_double(x)
    n = (bits - ROOT_HALF_BITS_64) >> 52
    f = double_of_bits(bits - (n << 52)) - 1.0
    s = f / (2.0 + f)
    z = s * s
    tail = ((((((M7 * z + M6) * z + M5) * z + M4) * z + M3) * z + M2) * z + M1) * z
    square = 0.5 * f * f
    return n * LN2_HIGH_64 - ((square - (s * (square + tail) + n * LN2_LOW_64)) - f)


# ---------------------------------------------------------------- erf

P0, P1, P2 = np.float32(0.128379164), np.float32(-3.761260139e-1), np.float32(1.128311281e-1)
P3, P4, P5 = np.float32(-2.682080674e-2), np.float32(5.085130463e-3), np.float32(-6.535236174e-4)
R0, R1, R2 = np.float32(3 * 3.580023024e-1), np.float32(3 * -2.944648255e-1), np.float32(3 * 1.967427801e-1)
R3, R4, R5 = np.float32(3 * -1.034887686e-1), np.float32(3 * 3.984277471e-2), np.float32(3 * -8.945951213e-3)
R6, R7, R8 = np.float32(3 * -4.072121526e-4), np.float32(3 * 1.025965292e-3), np.float32(3 * -1.643940449e-4)
R9, CENTRE = np.float32(3 * -1.101693332e-4), np.float32(3)
ERF_NEAR, ERFC_LAST = np.float32(0.8), np.float32(9.19)  # beyond the second, erfc is no normal float32


@jit_in_order
def upper_tail(t):
    """erfc(t) for t >= 0."""
    t = min(t, ERFC_LAST)
    inverse = ONE / (t + CENTRE)
    v = (t - CENTRE) * inverse
    r = ((((R9 * v + R8) * v + R7) * v + R6) * v + R5) * v + R4
    r = (((r * v + R3) * v + R2) * v + R1) * v + R0
    power, rest = power_and_rest(-t * t)
    return (rest + ONE) * power * (r * inverse)


@jit_in_order
def erfc32(x):
    """1 - erf(x), whose digits erf would have lost for large x."""
    tail = upper_tail(abs(x))
    tail = ZERO if x > ERFC_LAST else tail
    return TWO - tail if x < 0 else tail


@jit_in_order
def erf32(x):
    """Both formulas, of which |x| chooses."""
    z = x * x
    near = x * (((((P5 * z + P4) * z + P3) * z + P2) * z + P1) * z + P0) + x
    far = math.copysign(ONE - upper_tail(abs(x)), x)
    return far if abs(x) > ERF_NEAR else near


# ---------------------------------------------------------------- for use inside a kernel


@jit
def logistic64(x):
    """By the C library's exp."""
    return 1 / (1 + np.exp(-x))


exp = by_width(exp32, np.exp)
expm1 = by_width(expm1_32, np.expm1)
log = by_width(log32, np.log)
log1p = by_width(log1p32, np.log1p)
tanh = by_width(tanh32, np.tanh)
logistic = by_width(logistic32, logistic64)
erf = by_width(erf32, math.erf)
erfc = by_width(erfc32, math.erfc)
