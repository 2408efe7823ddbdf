"""Scaled dot-product attention: every query takes a weighted mean of the values, weighted by how its keys match.

    S = scale Q K^T        P = softmax of each row of S        O = P V        scale = 1 / sqrt(D)

for one sample and one head, with Q (L, D), K (M, D), V (M, E). Where the mask is false, S = -inf and
so P = 0. A query that may attend to nothing gets O = 0, and no gradient comes from it.

Backward, with dO given and <a, b> the sum over a row of a * b:

    dV = P^T dO      dP = dO V^T      dS = P * (dP - <dP, P>)      dQ = scale dS K      dK = scale dS^T Q

P is L x M for every head of every sample. It is never kept: forward saves lse = ln sum_j exp(S_j), one
number a query, and backward makes P = exp(S - lse) again. A thread holds P (and dP) of one sample at a time.

Shapes   q, dq (N, L, heads, D)   k, dk (N, M, heads, D)   v, dv (N, M, heads, E)   o, do (N, L, heads, E)
         mask boolean, broadcasting to (N, heads, L, M), or None        lse (N, heads, L)
Source   Vaswani et al., Attention Is All You Need, 2017, eq. 1; Dao et al., FlashAttention, 2022, section 3.1
         (recomputation from lse); deck 002, Network Architectures; deck 004,
         transformer block for cross-attention
"""

import numpy as np

from ._numba import jit
from ._threads import parallel
from .matmul import single_threaded_blas
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


# ---------------------------------------------------------------- CPU: one task a sample


def attention_numba(q, k, v, mask):
    """The products are BLAS's, which lets go of Python's lock as the compiled softmax between them does."""
    single_threaded_blas()
    o = np.empty((*q.shape[:3], v.shape[3]), q.dtype)
    lse = np.empty((q.shape[0], q.shape[2], q.shape[1]), q.dtype)
    parallel(len(q), share_of_samples, q, k, v, None if mask is None else _full(mask, q, k), o, lse)
    return o, lse


def attention_grad_numba(do, q, k, v, mask, lse):
    single_threaded_blas()
    gradients = np.empty_like(q), np.empty_like(k), np.empty_like(v)
    mask = None if mask is None else _full(mask, q, k)
    parallel(len(q), share_of_samples_grad, do, q, k, v, mask, lse, *gradients)
    return gradients


def share_of_samples(first, last, q, k, v, mask, o, lse):
    s = np.empty((q.shape[2], q.shape[1], k.shape[1]), q.dtype)
    scale = q.dtype.type(q.shape[-1] ** -0.5)
    for n in range(first, last):
        qn, kn, vn, on = (by_head(a[n]) for a in (q, k, v, o))
        masked_products(qn, kn, None if mask is None else mask[n], s)
        softmax_of_scores(all_rows(s), scale, lse[n].ravel())
        np.matmul(s, vn, out=on)


def share_of_samples_grad(first, last, do, q, k, v, mask, lse, dq, dk, dv):
    s = np.empty((q.shape[2], q.shape[1], k.shape[1]), q.dtype)
    dp = np.empty_like(s)
    scale = q.dtype.type(q.shape[-1] ** -0.5)
    for n in range(first, last):
        don, qn, kn, vn, dqn, dkn, dvn = (by_head(a[n]) for a in (do, q, k, v, dq, dk, dv))
        masked_products(qn, kn, None if mask is None else mask[n], s)
        np.matmul(don, vn.swapaxes(1, 2), out=dp)
        softmax_of_scores_grad(all_rows(s), all_rows(dp), scale, lse[n].ravel())
        p, ds = s, dp
        np.matmul(p.swapaxes(1, 2), don, out=dvn)
        np.matmul(ds, kn, out=dqn)
        np.matmul(ds.swapaxes(1, 2), qn, out=dkn)


def by_head(a):
    """(L, heads, D) -> (heads, L, D), a view: a product for every head in one call."""
    return a.transpose(1, 0, 2)


def all_rows(s):
    """(heads, L, M) -> (heads L, M), a view."""
    return s.reshape(s.shape[0] * s.shape[1], s.shape[2])


def masked_products(q, k, mask, s):
    """s = Q K^T of every head, -inf where the mask is false. The scale is applied on the way through the softmax."""
    np.matmul(q, k.swapaxes(1, 2), out=s)
    if mask is not None:
        np.copyto(s, -np.inf, where=~mask)


@jit
def softmax_of_scores(s, scale, lse):
    """In place: s (products) becomes P; lse is filled in."""
    for i in range(s.shape[0]):
        top = largest(s[i])
        if top == -np.inf:  # no key to attend to: exp(-inf - 0) = 0 for every one of them
            top = s.dtype.type(0)
        total = 0.0
        for j in range(s.shape[1]):
            s[i, j] = exp(scale * (s[i, j] - top))
            total += s[i, j]
        lse[i] = scale * top + np.log(total)
        inverse = s.dtype.type(1 / total if total != 0 else 0)
        for j in range(s.shape[1]):
            s[i, j] *= inverse


@jit
def softmax_of_scores_grad(s, dp, scale, lse):
    """In place: s (products) becomes P, and dp becomes scale dS. One loop an aim, so that each vectorises."""
    for i in range(s.shape[0]):
        shift = s.dtype.type(0) if lse[i] == -np.inf else lse[i]
        for j in range(s.shape[1]):
            s[i, j] = exp(scale * s[i, j] - shift)
        total = 0.0  # of dP under P, in float64: it is about to cancel against dP
        for j in range(s.shape[1]):
            total += s[i, j] * dp[i, j]
        mean = s.dtype.type(total)
        for j in range(s.shape[1]):
            dp[i, j] = scale * s[i, j] * (dp[i, j] - mean)


# ---------------------------------------------------------------- CUDA: one block a (sample, head, tile of queries)
# The pair attention.cu is to come.
