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

from ._cuda import blocks, i32, launch
from ._cuda_elements import THREADS
from ._numba import jit, numba
from ._threads import parallel
from ._versions import choose
from .simd.transcendental import log_normal64
from .simd.trigonometric import sin_cos64

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
    """How many bits of a word make a uniform number. Raises TypeError unless dtype is float32 or float64."""
    if np.dtype(dtype) not in UNIFORM_BITS:
        raise TypeError(f"dtype must be float32 or float64, got {np.dtype(dtype)}")
    return UNIFORM_BITS[np.dtype(dtype)]


# ---------------------------------------------------------------- NumPy: the definition


def philox_bits_numpy(seed, counter, n):
    """n words, uint32."""
    seed, position, high, positions = _split(seed, counter, n)
    position = position + np.arange(positions, dtype=np.uint64)
    words = philox4x32(position, np.full_like(position, high), seed)
    return np.stack(words, axis=1).astype(np.uint32).ravel()[:n]


def philox_uniform_numpy(seed, counter, n, dtype):
    """n uniform numbers."""
    bits = _uniform_bits(dtype)
    words = philox_bits_numpy(seed, counter, n)
    return (((words >> (32 - bits)) + 0.5) * 2.0**-bits).astype(dtype)


def philox_normal_numpy(seed, counter, n, dtype):
    """n standard normal numbers."""
    _uniform_bits(dtype)
    u = philox_uniform_numpy(seed, counter, n + -n % 4, np.float64).reshape(-1, 2)
    r, angle = np.sqrt(-2 * np.log(u[:, 0])), 2 * np.pi * u[:, 1]
    z = np.stack([r * np.cos(angle), r * np.sin(angle)], axis=1)
    return z.astype(dtype).ravel()[:n]


# ---------------------------------------------------------------- Numba: a block of positions at a time


def _over_positions(worker, seed, counter, n, dtype, *more):
    """n numbers from worker(first, last, seed, position, high, *more, new), with a row of new for every position."""
    seed, position, high, positions = _split(seed, counter, n)
    new = np.empty((positions, 4), dtype)
    parallel(positions, worker, seed, position, high, *more, new, grain=BLOCK)
    return new.ravel()[:n]


def philox_bits_numba(seed, counter, n):
    """n words: each thread enciphers a stretch of the positions."""
    return _over_positions(bits_positions, seed, counter, n, np.uint32)


def philox_uniform_numba(seed, counter, n, dtype):
    """n uniform numbers; a block's words become numbers while they are in the cache."""
    bits = _uniform_bits(dtype)
    return _over_positions(uniform_positions, seed, counter, n, dtype, np.uint32(32 - bits), 2.0**-bits)


def philox_normal_numba(seed, counter, n, dtype):
    """n standard normal numbers, likewise."""
    _uniform_bits(dtype)
    return _over_positions(normal_positions, seed, counter, n, dtype)


# Written into each loop that calls it: a loop with a call in it does not vectorise.
philox4x32_inline = philox4x32 if numba is None else numba.njit(philox4x32, forceinline=True)

BLOCK = 512  # positions whose words are held word by word, which vectorises, before they are laid side by side


@jit
def encipher(seed, position, high, words):
    """words[j, i] = word j at position + i."""
    for i in range(words.shape[1]):
        w0, w1, w2, w3 = philox4x32_inline(position + np.uint64(i), high, seed)
        words[0, i], words[1, i], words[2, i], words[3, i] = w0, w1, w2, w3


@jit
def bits_positions(first, last, seed, position, high, bits):
    words = np.empty((4, BLOCK), np.uint32)
    for start in range(first, last, BLOCK):
        block = bits[start : min(start + BLOCK, last)]
        encipher(seed, position + np.uint64(start), high, words[:, : len(block)])
        for i in range(len(block)):
            for j in range(4):
                block[i, j] = words[j, i]


@jit
def uniform_positions(first, last, seed, position, high, shift, scale, u):
    words = np.empty((4, BLOCK), np.uint32)
    for start in range(first, last, BLOCK):
        block = u[start : min(start + BLOCK, last)]
        encipher(seed, position + np.uint64(start), high, words[:, : len(block)])
        for i in range(len(block)):
            for j in range(4):
                block[i, j] = (np.float64(words[j, i] >> shift) + 0.5) * scale


@jit
def normal_positions(first, last, seed, position, high, z):
    """z[i] = the normal numbers of position + i for i from first to last, a block at a time."""
    words, normals = np.empty((4, BLOCK), np.uint32), np.empty((4, BLOCK))
    for start in range(first, last, BLOCK):
        block = z[start : min(start + BLOCK, last)]
        encipher(seed, position + np.uint64(start), high, words[:, : len(block)])
        for j in (0, 2):
            box_muller(words[j, : len(block)], words[j + 1, : len(block)], normals[j], normals[j + 1])
        for i in range(len(block)):
            for j in range(4):
                block[i, j] = normals[j, i]


@jit
def box_muller(w0, w1, z0, z1):
    """z0, z1 from two vectors of words."""
    for i in range(len(w0)):
        r = math.sqrt(-2.0 * log_normal64((np.float64(w0[i]) + 0.5) * 2.0**-32))
        sine, cosine = sin_cos64(2.0 * math.pi * ((np.float64(w1[i]) + 0.5) * 2.0**-32))
        z0[i], z1[i] = r * cosine, r * sine


# ---------------------------------------------------------------- CUDA: one thread a position


def philox_bits_cuda(seed, counter, n, version=None):
    """n words. version 1 stores one by one; 2: a position's four at once."""
    return _on_gpu("philox_bits", seed, counter, n, np.uint32, (), version)


def philox_uniform_cuda(seed, counter, n, dtype, version=None):
    """n uniform numbers. version 2 is for float32."""
    bits = _uniform_bits(dtype)
    return _on_gpu("philox_uniform", seed, counter, n, dtype, (i32(32 - bits), np.float64(2.0**-bits)), version)


def philox_normal_cuda(seed, counter, n, dtype, version=None):
    """n standard normal numbers. version 2 is for float32."""
    _uniform_bits(dtype)
    return _on_gpu("philox_normal", seed, counter, n, dtype, (), version)


def _on_gpu(kernel, seed, counter, n, dtype, more, version):
    """n numbers of kernel_v1 or _v2 on the GPU. Version 2 stores four at once, and so not float64."""
    import cupy

    seed, position, high, positions = _split(seed, counter, n)
    dtype = np.dtype(dtype)
    version = choose(kernel, version, {1: None, 2: "stores 16 bytes, not 32" if dtype == np.float64 else None})
    i32(4 * positions)
    new = cupy.empty((4 * positions,), dtype)
    if positions:
        args = (seed, position, high, new, *more, i32(positions))
        real = "double" if dtype == np.float64 else "float"
        launch(__file__, f"{kernel}_v{version}", blocks(positions, THREADS), THREADS, args, REAL=real)
    return new[:n]
