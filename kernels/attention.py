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

from math import gcd, prod
from pathlib import Path

import numpy as np

from ._cuda import C_NAMES, blocks, capability, contiguous, empty, f32, i32, launch, real
from ._numba import jit, numba
from ._threads import parallel
from ._versions import check_shapes, choose, float32_only, floats, pack
from .simd.gemm import matrix, multiply, rounded
from .simd.transcendental import exp, log
from .softmax import largest

if numba is not None:
    from .simd.vector import LANES

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
# Keys and values of a head are first copied into matrices of their own, close together and rounded up with zeros to
# what the micro-kernel wants. Then one block of queries after another goes through all of the mathematics while its
# scores are in the cache. Blocks are passed whole, and indexed: a view of each row costs as much as a short row's work.

SCORES = 1 << 15  # numbers in a block of scores, for 16 queries at least; backward holds two such blocks


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


# ---------------------------------------------------------------- CUDA: one block a (sample, head, tile of queries)

WIDTHS = 16, 32, 64, 128  # that versions 2 and 3 are compiled for; other widths are padded with zeros to the next
FILES = {2: __file__, 3: str(Path(__file__).with_name("attention_tensor.cu"))}  # older GPUs do not compile the latter


def attention_cuda(q, k, v, mask, version=None):
    q, k, v = floats("attention", q=q, k=k, v=v)
    sizes, masked = _sizes("attention", q, k, v), _mask_arguments(mask, q, k)
    version, parameters = _version("attention", version, masked, q, k, v)
    n, heads, length, m, d, e = sizes
    o, lse = empty((n, length, heads, e), q), empty((n, heads, length), q)
    if lse.size and version == 1:
        p = _scores_v1(q, k, masked, parameters)
        _launch_rows("attention_softmax_v1", (p, lse, i32(lse.size), i32(m)), lse)
        _weighted_sum_v1(p, v, o, (m, 1), 1)
    elif lse.size:
        args = q, k, v, o, lse, *map(i32, sizes[1:]), f32(d**-0.5), *masked
        tiles = blocks(length, _rows_a_block(version, parameters, a_thread=2))
        launch(FILES[version], f"attention_v{version}", n * heads * tiles, 128, args, **parameters)
    return o, lse


def attention_grad_cuda(do, q, k, v, mask, lse, version=None):
    do, q, k, v, lse = floats("attention_grad", do=do, q=q, k=k, v=v, lse=lse)
    sizes, masked = _sizes("attention_grad", q, k, v), _mask_arguments(mask, q, k)
    n, heads, length, m, d, e = sizes
    check_shapes("attention_grad", (n, length, heads, e), do=do)
    check_shapes("attention_grad", (n, heads, length), lse=lse)
    version, parameters = _version("attention_grad", version, masked, q, k, v, do)
    dq, dk, dv = empty(q.shape, q), empty(k.shape, k), empty(v.shape, v)
    if version == 1:
        p, ds = _scores_v1(q, k, masked, parameters), empty((n, heads, length, m), q)
        _launch_rows("attention_softmax_grad_v1", (do, v, p, ds, lse, *map(i32, (lse.size, *sizes[1:4], e))), lse)
        _weighted_sum_v1(ds, k, dq, (m, 1), d**-0.5)
        _weighted_sum_v1(ds, q, dk, (1, m), d**-0.5)
        _weighted_sum_v1(p, do, dv, (1, m), 1)
        return dq, dk, dv
    delta, given = empty(lse.shape, q), (do, q, k, v, lse)
    for kernel, rows, arrays in (("queries", length, (*given, dq, delta)), ("keys", m, (*given, delta, dk, dv))):
        tiles = n * heads * -(-rows // _rows_a_block(version, parameters, a_thread=1))
        args = *arrays, *map(i32, sizes[1:]), f32(d**-0.5), *masked
        if tiles:
            launch(FILES[version], f"attention_grad_{kernel}_v{version}", tiles, 128, args, **parameters)
    return dq, dk, dv


def _sizes(kernel, q, k, v):
    """N, heads, L, M, D, E."""
    (n, length, heads, d), m, e = q.shape, k.shape[1], v.shape[-1]
    check_shapes(kernel, (n, m, heads, d), k=k)
    check_shapes(kernel, (n, m, heads, e), v=v)
    return n, heads, length, m, d, e


def _mask_arguments(mask, q, k):
    """The mask and its strides along N, heads, L, M, 0 where it is broadcast: it is never copied to the full shape."""
    if mask is None:
        return ()
    full, shape = (q.shape[0], q.shape[2], q.shape[1], k.shape[1]), (1,) * (4 - mask.ndim) + mask.shape
    if mask.dtype != bool:
        raise TypeError(f"attention: mask must be boolean, got {mask.dtype}")
    if len(shape) > 4 or any(size not in (1, wanted) for size, wanted in zip(shape, full)):
        raise ValueError(f"attention: mask must broadcast to (N, heads, L, M) = {full}, got {mask.shape}")
    return contiguous(mask), *(i32(0 if size == 1 else prod(shape[axis + 1 :])) for axis, size in enumerate(shape))


def _version(kernel, version, masked, q, k, v, *do):
    """The version to run, and the parameters of its text."""
    d, e = q.shape[-1], v.shape[-1]
    tiles = float32_only(q)
    if max(d, e) > WIDTHS[-1]:
        tiles = f"is for heads of at most {WIDTHS[-1]} numbers, and these have {max(d, e)}"
    tensor_cores = tiles
    if do and max(d, e) > 64:
        tensor_cores = tiles or f"is for heads of at most 64 numbers backward, and these have {max(d, e)}"
    elif version == 3 and capability() < 80:
        tensor_cores = tiles or "needs tensor cores of sm_80 or later"
    version = choose(kernel, version, {1: None, 2: tiles, 3: tensor_cores}, opt_in=(3,))
    parameters = {"MASKED": 1} if masked else {}
    if version == 1:
        return version, {**parameters, "REAL": C_NAMES[str(q.dtype)]}
    head = next(width for width in WIDTHS if width >= max(d, e))
    return version, {**parameters, "HEAD": head, "PACK": pack(gcd(d, e), q, k, v, *do)}


def _rows_a_block(version, parameters, a_thread):
    """How many queries or keys a block takes: in version 3, its four warps take 16 each."""
    lanes = max(4, parameters["HEAD"] // 16)  # that share a query
    return 64 if version == 3 else 128 // lanes * a_thread


def _scores_v1(q, k, masked, parameters):
    (n, length, heads, d), m = q.shape, k.shape[1]
    s = empty((n, heads, length, m), q)
    if s.size:
        args = q, k, s, *map(i32, (s.size, heads, length, m, d)), real(d**-0.5, q), *masked
        launch(__file__, "attention_scores_v1", blocks(s.size, 128), 128, args, **parameters)
    return s


def _launch_rows(kernel, args, lse):
    """One warp a row of scores, that is, a number of lse."""
    if lse.size:
        launch(__file__, kernel, blocks(lse.size, 4), 128, args, REAL=C_NAMES[str(lse.dtype)])


def _weighted_sum_v1(w, x, y, strides, factor):
    """y (N, R, heads, F) = factor * the sum over c of w[r, c] x[c], with w's strides along r and c."""
    if y.size:
        (rows, heads, width), columns = y.shape[1:], x.shape[1]
        args = w, x, y, *map(i32, (y.size, heads, rows, columns, width, *strides)), real(factor, y)
        launch(__file__, "attention_weighted_sum_v1", blocks(y.size, 128), 128, args, REAL=C_NAMES[str(y.dtype)])
