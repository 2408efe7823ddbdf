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

from ._numba import jit
from ._threads import parallel
from .simd.gemm import matrix, multiply, rounded
from .simd.transcendental import exp
from .softmax import largest

# ---------------------------------------------------------------- NumPy: the definition, one sample at a time


def attention_numpy(q, k, v, mask):
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
# A head is first copied into matrices of its own, close together and rounded up with zeros to what the micro-kernel
# wants. Then one block of queries after another goes through all of the mathematics while its scores are in the cache.

SCORES = 1 << 16  # numbers in a block of scores; backward holds two such blocks: a quarter of a core's L2 cache


def attention_numba(q, k, v, mask):
    n, length, heads, _ = q.shape
    o, lse = np.empty((*q.shape[:3], v.shape[3]), q.dtype), np.empty((n, heads, length), q.dtype)
    parallel(n * heads, attention_heads, q, k, v, _rows_of(mask, k), o, lse)
    return o, lse


def attention_grad_numba(do, q, k, v, mask, lse):
    gradients = np.empty_like(q), np.empty_like(k), np.empty_like(v)
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
    (_, length, heads, d), keys, e = q.shape, k.shape[1], v.shape[3]
    one, scale, block = q.dtype.type(1), q.dtype.type(1 / np.sqrt(d)), queries_of_a_block(length, keys)
    qh, kt, vh = matrix(length, d, q.dtype), matrix(d, keys, q.dtype), matrix(keys, e, q.dtype)
    s, oh, share = matrix(block, keys, q.dtype), matrix(block, e, q.dtype), np.empty(block, q.dtype)
    for task in range(first, last):
        n, h = task // heads, task % heads
        take_head(q, n, h, scale, qh)
        take_transposed(k, n, h, kt)
        take_head(v, n, h, one, vh)
        for start in range(0, length, block):
            rows = min(block, length - start)
            multiply(qh[start:], kt, s, rows, keys, d, False)
            for i in range(rows):
                scores = s[i, :keys]
                hide(scores, mask, n, h, start + i)
                lse[n, h, start + i], total = exponentials(scores)
                share[i] = 1 / total if total != 0 else 0
            multiply(s, vh, oh, rows, e, keys, False)
            for i in range(rows):
                result, weighted = o[n, start + i, h], oh[i]
                for j in range(e):
                    result[j] = share[i] * weighted[j]


@jit
def attention_grad_heads(first, last, do, q, k, v, mask, lse, dq, dk, dv):
    (_, length, heads, d), keys, e = q.shape, k.shape[1], v.shape[3]
    one, scale, block = q.dtype.type(1), q.dtype.type(1 / np.sqrt(d)), queries_of_a_block(length, keys)
    qh, kh, kt = matrix(length, d, q.dtype), matrix(keys, d, q.dtype), matrix(d, keys, q.dtype)
    doh, vt, s, ds = matrix(length, e, q.dtype), matrix(e, keys, q.dtype), matrix(block, keys, q.dtype), matrix(block, keys, q.dtype)
    dqh, dkh, dvh = matrix(length, d, q.dtype), matrix(keys, d, q.dtype), matrix(keys, e, q.dtype)
    for task in range(first, last):
        n, h = task // heads, task % heads
        take_head(q, n, h, scale, qh)
        take_head(k, n, h, one, kh)
        take_transposed(k, n, h, kt)
        take_transposed(v, n, h, vt)
        take_head(do, n, h, one, doh)
        for start in range(0, length, block):
            rows = min(block, length - start)
            multiply(qh[start:], kt, s, rows, keys, d, False)
            multiply(doh[start:], vt, ds, rows, keys, e, False)  # dP, until the softmax makes it dS
            for i in range(rows):
                hide(s[i, :keys], mask, n, h, start + i)
                softmax_grad(s[i, :keys], ds[i, :keys], lse[n, h, start + i])
            multiply(ds, kh, dqh[start:], rows, d, keys, False)
            multiply(ds.T, qh[start:], dkh, keys, d, rows, start > 0)
            multiply(s.T, doh[start:], dvh, keys, e, rows, start > 0)
        put_head(dqh, scale, n, h, dq)
        put_head(dkh, one, n, h, dk)  # the scale is in qh
        put_head(dvh, one, n, h, dv)


@jit
def queries_of_a_block(length, keys):
    return max(8, min(rounded(length, 8), SCORES // max(keys, 1) // 8 * 8))


@jit
def take_head(x, n, h, factor, target):
    """target = factor x[n, :, h]"""
    for i in range(x.shape[1]):
        row, result = x[n, i, h], target[i]
        for j in range(len(row)):
            result[j] = factor * row[j]


@jit
def put_head(source, factor, n, h, x):
    """x[n, :, h] = factor source"""
    for i in range(x.shape[1]):
        row, result = source[i], x[n, i, h]
        for j in range(len(result)):
            result[j] = factor * row[j]


@jit
def take_transposed(x, n, h, target):
    """target = x[n, :, h]^T"""
    for i in range(x.shape[1]):
        row = x[n, i, h]
        for j in range(len(row)):
            target[j, i] = row[j]


@jit
def hide(scores, mask, n, h, i):
    """-inf where query i of head h of sample n may not look."""
    if mask.size:
        seen = mask[min(n, mask.shape[0] - 1), min(h, mask.shape[1] - 1), min(i, mask.shape[2] - 1)]
        for j in range(len(scores)):
            scores[j] = scores[j] if seen[j] else -np.inf


@jit
def exponentials(s):
    """In place: exp(S - max S). -> lse and the sum."""
    top, total = largest(s), s.dtype.type(0)
    if top == -np.inf:  # no key to attend to: exp(-inf - 0) = 0 for every one of them
        top = total
    for j in range(len(s)):
        s[j] = exp(s[j] - top)
        total += s[j]
    return top + np.log(total), total


@jit
def softmax_grad(s, dp, lse):
    """In place: s becomes P, and dp becomes dS. One loop an aim, so that each vectorises."""
    mean = s.dtype.type(0)  # of dP under P
    shift = mean if lse == -np.inf else lse
    for j in range(len(s)):
        s[j] = exp(s[j] - shift)
    for j in range(len(s)):
        mean += s[j] * dp[j]
    for j in range(len(s)):
        dp[j] = s[j] * (dp[j] - mean)


# ---------------------------------------------------------------- CUDA: one block a (sample, head, tile of queries)
# The pair attention.cu is to come.
