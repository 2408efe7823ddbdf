"""Philox4x32-10: random numbers as a function of a position, not of a hidden state.

A counter of 128 bits is enciphered under a key of 64 bits; the four 32-bit words that come out are
random to every test that is known. Any part of a stream can be had without the parts before it, so
cores and GPUs share one stream without sharing any state. Ten times, with M0, M1 odd multipliers:

    hi, lo = M0 * c0          c0, c1, c2, c3 = hi' ^ c1 ^ k0,  lo',  hi ^ c3 ^ k1,  lo
    hi', lo' = M1 * c2        k0, k1 = k0 + W0,  k1 + W1       (the key moves between rounds; mod 2^32)

What a draw means (the same in every dialect; nothing else in the library knows it):

    key        (k0, k1) = the low and the high 32 bits of `seed`
    counter    (c0, c1, c2, c3) = the 32-bit words of `counter`, lowest first; its low 64 bits are the
               position, its high 64 bits tell families of streams apart (random.py: 0 for draws)
    n words    word j is output word j % 4 at position + j // 4: ceil(n / 4) positions are used up
    uniform    one word w each, in the OPEN interval (0, 1), so log(u) and log(1 - u) are finite:
                 float64   (w + 0.5) * 2^-32
                 float32   ((w >> 9) + 0.5) * 2^-23: 24 significant bits, hence exact. The float64
                           number rounded to float32 would be 1 for the 128 largest words.
    normal     Box-Muller on the word pairs (w0, w1) and (w2, w3), in float64, then rounded to dtype:
                 r = sqrt(-2 ln u0),   z0 = r cos(2 pi u1),   z1 = r sin(2 pi u1),   u = (w + 0.5) * 2^-32
               |z| <= 6.77, the r of the smallest u

Words and uniforms are equal bit for bit in all dialects. Normals differ by what the libraries' log,
cos and sin differ by: a few ulps of float64, at most one of float32.

Shapes   words (n,) uint32    uniforms and normals (n,) float32 or float64
Source   Salmon, Moraes, Dror and Shaw, Parallel random numbers: as easy as 1, 2, 3, SC'11, section 3.3;
         known answers: Random123, tests/kat_vectors, "philox4x32 10".  Box and Muller 1958, eq. 1
"""

import math

import numpy as np

from ._numba import jit, parallel

M0, M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
W0, W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)  # golden ratio and sqrt(3) - 1, as fractions of 2^32
LOW, WORD = np.uint64(0xFFFFFFFF), np.uint64(32)
UNIFORM_BITS = {np.dtype(np.float32): 23, np.dtype(np.float64): 32}

# ---------------------------------------------------------------- the cipher: arrays in NumPy, scalars in Numba


def philox4x32(position, high, seed):
    """Four words, each in a uint64, so that no product and no sum overflows."""
    c0, c1, c2, c3 = position & LOW, position >> WORD, high & LOW, high >> WORD
    k0, k1 = seed & LOW, seed >> WORD
    for _ in range(10):
        p0, p1 = M0 * c0, M1 * c2
        c0, c1, c2, c3 = (p1 >> WORD) ^ c1 ^ k0, p1 & LOW, (p0 >> WORD) ^ c3 ^ k1, p0 & LOW
        k0, k1 = (k0 + W0) & LOW, (k1 + W1) & LOW
    return c0, c1, c2, c3


def _split(seed, counter, n):
    """-> seed, position, high as uint64, and the number of positions that n words take."""
    if n < 0:
        raise ValueError(f"n, how many numbers to draw, must be at least 0, got {n}")
    if not 0 <= seed < 2**64:
        raise ValueError(f"seed must lie in [0, 2**64), got {seed}")
    position, high, positions = counter % 2**64, counter >> 64, -(-n // 4)
    if not 0 <= counter < 2**128 or position + positions > 2**64:
        raise ValueError(f"a draw of {n} numbers at counter={counter} leaves the stream of 2**64 positions")
    return np.uint64(seed), np.uint64(position), np.uint64(high), positions


def _uniform_bits(dtype):
    if np.dtype(dtype) not in UNIFORM_BITS:
        raise TypeError(f"dtype must be float32 or float64, got {np.dtype(dtype)}")
    return UNIFORM_BITS[np.dtype(dtype)]


# ---------------------------------------------------------------- NumPy: the definition


def philox_bits_numpy(seed, counter, n):
    seed, position, high, positions = _split(seed, counter, n)
    position = position + np.arange(positions, dtype=np.uint64)
    words = philox4x32(position, np.full_like(position, high), seed)
    return np.stack(words, axis=1).astype(np.uint32).ravel()[:n]


def philox_uniform_numpy(seed, counter, n, dtype):
    bits = _uniform_bits(dtype)
    words = philox_bits_numpy(seed, counter, n)
    return (((words >> (32 - bits)) + 0.5) * 2.0**-bits).astype(dtype)


def philox_normal_numpy(seed, counter, n, dtype):
    _uniform_bits(dtype)
    u = philox_uniform_numpy(seed, counter, n + -n % 4, np.float64).reshape(-1, 2)
    r, angle = np.sqrt(-2 * np.log(u[:, 0])), 2 * np.pi * u[:, 1]
    z = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)
    return z.astype(dtype).ravel()[:n]


# ---------------------------------------------------------------- Numba: one task a position


def philox_bits_numba(seed, counter, n):
    seed, position, high, positions = _split(seed, counter, n)
    words = np.empty((positions, 4), np.uint32)
    parallel(positions, bits_positions, seed, position, high, words)
    return words.ravel()[:n]


def philox_uniform_numba(seed, counter, n, dtype):
    bits = _uniform_bits(dtype)
    seed, position, high, positions = _split(seed, counter, n)
    u = np.empty((positions, 4), dtype)
    parallel(positions, uniform_positions, seed, position, high, np.uint64(32 - bits), 2.0**-bits, u)
    return u.ravel()[:n]


def philox_normal_numba(seed, counter, n, dtype):
    _uniform_bits(dtype)
    seed, position, high, positions = _split(seed, counter, n)
    z = np.empty((positions, 4), dtype)
    parallel(positions, normal_positions, seed, position, high, z)
    return z.ravel()[:n]


philox4x32_scalar = jit(philox4x32)


@jit
def bits_positions(first, last, seed, position, high, words):
    for i in range(first, last):
        words[i, 0], words[i, 1], words[i, 2], words[i, 3] = philox4x32_scalar(position + np.uint64(i), high, seed)


@jit
def uniform_positions(first, last, seed, position, high, shift, scale, u):
    for i in range(first, last):
        w0, w1, w2, w3 = philox4x32_scalar(position + np.uint64(i), high, seed)
        u[i, 0] = (np.float64(w0 >> shift) + 0.5) * scale
        u[i, 1] = (np.float64(w1 >> shift) + 0.5) * scale
        u[i, 2] = (np.float64(w2 >> shift) + 0.5) * scale
        u[i, 3] = (np.float64(w3 >> shift) + 0.5) * scale


@jit
def normal_positions(first, last, seed, position, high, z):
    for i in range(first, last):
        w0, w1, w2, w3 = philox4x32_scalar(position + np.uint64(i), high, seed)
        z[i, 0], z[i, 1] = box_muller(w0, w1)
        z[i, 2], z[i, 3] = box_muller(w2, w3)


@jit
def box_muller(w0, w1):
    r = math.sqrt(-2.0 * math.log((np.float64(w0) + 0.5) * 2.0**-32))
    angle = 2.0 * math.pi * ((np.float64(w1) + 0.5) * 2.0**-32)
    return r * math.cos(angle), r * math.sin(angle)


# ---------------------------------------------------------------- CUDA: one thread a position; pairs with philox.cu
