"""Scaled dot-product attention: every query takes a weighted mean of the values, weighted by how its keys match.

    S = scale Q K^T        P = softmax of each row of S        O = P V        scale = 1 / sqrt(D)

for one sample and one head, with Q (L, D), K (M, D), V (M, E). Where the mask is false, S = -inf and
so P = 0. A query that may attend to nothing gets O = 0, and no gradient comes from it.

Backward, with dO given and <a, b> the sum over a row of a * b:

    dV = P^T dO      dP = dO V^T      dS = P * (dP - <dP, P>)      dQ = scale dS K      dK = scale dS^T Q

P is L x M for every head of every sample. It is never kept: forward saves lse = ln sum_j exp(S_j), one
number a query, and backward makes P = exp(S - lse) again. A thread holds a few rows of P (and dP) at a time.

Shapes   q, dq (N, L, heads, D)   k, dk (N, M, heads, D)   v, dv (N, M, heads, E)   o, do (N, L, heads, E)
         mask boolean, broadcasting to (N, heads, L, M), or None        lse (N, heads, L)
Source   Vaswani et al., Attention Is All You Need, 2017, eq. 1; Dao et al., FlashAttention, 2022, section 3.1
         (recomputation from lse); deck 002, Network Architectures; deck 004,
         transformer block for cross-attention
"""

import numpy as np

from ._memory import aligned
from ._numba import jit, numba
from ._threads import parallel
from .attention_cuda import attention_cuda, attention_grad_cuda  # noqa: F401  (dispatch finds all dialects here)
from .simd.gemm import matrix, multiply, rounded
from .simd.transcendental import exp, log
from .softmax import largest

if numba is not None:
    from .simd.vector import LANES

# ---------------------------------------------------------------- NumPy: the definition, one sample at a time


def attention_numpy(q, k, v, mask):
    """o and lse; all scores of a sample are there at once."""
    o = np.empty((*q.shape[:3], v.shape[3]), q.dtype)
    lse = np.empty((q.shape[0], q.shape[2], q.shape[1]), q.dtype)
    for n in range(len(q)):
        s = _scores(n, q, k, mask)
        top = s.max(-1, keepdims=True, initial=-np.inf)
        top = np.where(np.isneginf(top), 0, top)  # a query without keys: every exp(S) is 0 then
        e = np.exp(s - top)
        total = e.sum(-1, keepdims=True)
        p = e / np.where(total == 0, 1, total)
        o[n] = np.einsum("hlm,mhe->lhe", p, v[n])
        with np.errstate(divide="ignore"):  # ln 0 = -inf is what marks such a query for backward
            lse[n] = (top + np.log(total))[..., 0]
    return o, lse


def attention_grad_numpy(do, q, k, v, mask, lse):
    """dq, dk and dv; P and dS of a sample are there at once."""
    dq, dk, dv = np.empty_like(q), np.empty_like(k), np.empty_like(v)
    scale = q.shape[-1] ** -0.5
    for n in range(len(q)):
        p = np.exp(_scores(n, q, k, mask) - np.where(np.isneginf(lse[n]), 0, lse[n])[..., None])
        dp = np.einsum("lhe,mhe->hlm", do[n], v[n])
        ds = p * (dp - (dp * p).sum(-1, keepdims=True))
        dq[n] = scale * np.einsum("hlm,mhd->lhd", ds, k[n])
        dk[n] = scale * np.einsum("hlm,lhd->mhd", ds, q[n])
        dv[n] = np.einsum("hlm,lhe->mhe", p, do[n])
    return dq, dk, dv


def _scores(n, q, k, mask):
    s = q.shape[-1] ** -0.5 * np.einsum("lhd,mhd->hlm", q[n], k[n])
    return s if mask is None else np.where(_full(mask, q, k)[n], s, -np.inf).astype(s.dtype)


def _full(mask, q, k):
    """The mask as a view of shape (N, heads, L, M): nothing is copied."""
    return np.broadcast_to(mask, (q.shape[0], q.shape[2], q.shape[1], k.shape[1]))


# ---------------------------------------------------------------- Numba: one task a head of a sample
#
# Keys and values of a head are first copied into matrices of their own, close together and rounded up with zeros to
# what the micro-kernel wants. Then one block of queries after another goes through all of the mathematics while its
# scores are in the cache. Blocks are passed whole, and indexed: a view of each row costs as much as a short row's work.

SCORES = 1 << 15  # numbers in a block of scores, for 16 queries at least; backward holds two such blocks


def attention_numba(q, k, v, mask):
    """o and lse; a mask that all samples or all heads share is not copied for each."""
    n, length, heads, _ = q.shape
    o, lse = aligned((*q.shape[:3], v.shape[3]), q.dtype), aligned((n, heads, length), q.dtype)
    parallel(n * heads, attention_heads, q, k, v, _rows_of(mask, k), o, lse)
    return o, lse


def attention_grad_numba(do, q, k, v, mask, lse):
    """dq, dk and dv; nothing but these and lse outlives a block of queries."""
    gradients = aligned(q.shape, q.dtype), aligned(k.shape, k.dtype), aligned(v.shape, v.dtype)
    parallel(q.shape[0] * q.shape[2], attention_grad_heads, do, q, k, v, _rows_of(mask, k), lse, *gradients)
    return gradients


def _rows_of(mask, k):
    """The mask in four axes, with rows of all M keys; the other axes may be 1. Empty where there is no mask."""
    if mask is None:
        return np.empty((0, 0, 0, 0), bool)
    mask = mask.reshape((1,) * (4 - mask.ndim) + mask.shape)
    return np.ascontiguousarray(np.broadcast_to(mask, (*mask.shape[:3], k.shape[1])))


@jit
def attention_heads(first, last, q, k, v, mask, o, lse):
    """o and lse of the heads first..last, counted through all samples."""
    (_, length, heads, d), keys, e = q.shape, k.shape[1], v.shape[3]
    one, scale, block = q.dtype.type(1), q.dtype.type(1 / np.sqrt(d)), queries_of_a_block(length, keys)
    kt, vh, share = matrix(d, keys, q.dtype), matrix(keys, e, q.dtype), np.empty(block, q.dtype)
    qb, s, ob = matrix(block, d, q.dtype), matrix(block, keys, q.dtype), matrix(block, e, q.dtype)
    for task in range(first, last):
        n, h = task // heads, task % heads
        take_transposed(k, n, h, kt)
        take(v, n, 0, keys, h, one, vh)
        for start in range(0, length, block):
            rows = min(block, length - start)
            take(q, n, start, rows, h, scale, qb)
            multiply(qb, kt, s, rows, keys, d, False)
            hide(s, rows, keys, mask, n, h, start)
            exponentials(s, rows, keys, lse[n, h, start:], share)
            multiply(s, vh, ob, rows, e, keys, False)
            for i in range(rows):
                for j in range(e):
                    o[n, start + i, h, j] = share[i] * ob[i, j]


@jit
def attention_grad_heads(first, last, do, q, k, v, mask, lse, dq, dk, dv):
    """dq, dk and dv of the same; what a block of queries sends to all keys is added up in dkh and dvh."""
    (_, length, heads, d), keys, e = q.shape, k.shape[1], v.shape[3]
    one, scale, block = q.dtype.type(1), q.dtype.type(1 / np.sqrt(d)), queries_of_a_block(length, keys)
    qb, dob, dqb = matrix(block, d, q.dtype), matrix(block, e, q.dtype), matrix(block, d, q.dtype)
    kh, kt, vt = matrix(keys, d, q.dtype), matrix(d, keys, q.dtype), matrix(e, keys, q.dtype)
    dkh, dvh = matrix(keys, d, q.dtype), matrix(keys, e, q.dtype)
    s, ds = matrix(block, keys, q.dtype), matrix(block, keys, q.dtype)
    for task in range(first, last):
        n, h = task // heads, task % heads
        take(k, n, 0, keys, h, one, kh)
        take_transposed(k, n, h, kt)
        take_transposed(v, n, h, vt)
        for start in range(0, length, block):
            rows = min(block, length - start)
            take(q, n, start, rows, h, scale, qb)
            take(do, n, start, rows, h, one, dob)
            multiply(qb, kt, s, rows, keys, d, False)
            hide(s, rows, keys, mask, n, h, start)
            multiply(dob, vt, ds, rows, keys, e, False)  # dP, which the next line makes dS
            probabilities_and_grad(s, ds, rows, keys, lse[n, h, start:])
            multiply(ds, kh, dqb, rows, d, keys, False)
            put(dqb, scale, n, start, rows, h, dq)
            multiply(ds.T, qb, dkh, keys, d, rows, start > 0)  # the scale is in qb
            multiply(s.T, dob, dvh, keys, e, rows, start > 0)
        put(dkh, one, n, 0, keys, h, dk)
        put(dvh, one, n, 0, keys, h, dv)


@jit
def queries_of_a_block(length, keys):
    """A multiple of 8, so that the micro-kernel's tiles are full."""
    return min(rounded(max(length, 1), 8), max(16, SCORES // max(keys, 1) // 8 * 8))


@jit
def take(x, n, start, rows, h, factor, target):
    """target = factor x[n, start : start + rows, h]"""
    for i in range(rows):
        for j in range(x.shape[3]):
            target[i, j] = factor * x[n, start + i, h, j]


@jit
def put(source, factor, n, start, rows, h, x):
    """x[n, start : start + rows, h] = factor source"""
    for i in range(rows):
        for j in range(x.shape[3]):
            x[n, start + i, h, j] = factor * source[i, j]


@jit
def take_transposed(x, n, h, target):
    """target = x[n, :, h]^T"""
    for i in range(x.shape[1]):
        for j in range(x.shape[3]):
            target[j, i] = x[n, i, h, j]


@jit
def hide(s, rows, keys, mask, n, h, start):
    """-inf where a query may not look, and for the keys that were added to fill the last vector."""
    for i in range(rows):
        for j in range(keys, rounded(keys, LANES)):
            s[i, j] = -np.inf
        if mask.size:
            a, b, c = min(n, mask.shape[0] - 1), min(h, mask.shape[1] - 1), min(start + i, mask.shape[2] - 1)
            for j in range(keys):
                s[i, j] = s[i, j] if mask[a, b, c, j] else -np.inf


@jit
def exponentials(s, rows, keys, lse, share):
    """s = exp(S - max S), in place; P = share s."""
    width = rounded(keys, LANES)
    for i in range(rows):
        top, total = largest(s, i, width), s.dtype.type(0)
        if top == -np.inf:  # no key to attend to: exp(-inf - 0) = 0 for every one of them
            top = total
        for j in range(width):
            s[i, j] = exp(s[i, j] - top)
            total += s[i, j]
        lse[i], share[i] = top, total
    for i in range(rows):
        total = share[i]
        lse[i] += log(total)
        share[i] = 1 / total if total != 0 else 0


@jit
def probabilities_and_grad(s, dp, rows, keys, lse):
    """In place: s becomes P, and dp becomes dS. One loop an aim, so that each vectorises."""
    width = rounded(keys, LANES)
    for i in range(rows):
        mean = s.dtype.type(0)  # of dP under P
        shift = mean if lse[i] == -np.inf else lse[i]
        for j in range(width):
            s[i, j] = exp(s[i, j] - shift)
        for j in range(width):
            mean += s[i, j] * dp[i, j]
        for j in range(width):
            dp[i, j] = s[i, j] * (dp[i, j] - mean)


# ---------------------------------------------------------------- CUDA: attention_cuda.py
