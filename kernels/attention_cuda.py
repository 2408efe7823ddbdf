"""Launchers of attention.cu and attention_tensor.cu: which version runs, and on how many blocks. Maths: attention.py.

version   1 all scores, softmax, weighted sums, one after the other   2 one kernel, an online softmax
          3 the same on tensor cores (sm_80), for heads of at most 128 numbers, backward 64
None      2 in float32 for heads of at most 128 numbers, else 1; never 3, which rounds to 11 bits
"""

from math import gcd, prod
from pathlib import Path

from ._cuda import C_NAMES, blocks, capability, contiguous, empty, f32, i32, launch, real
from ._versions import check_shapes, choose, float32_only, floats, pack

PLAIN, TENSOR = (str(Path(__file__).with_name(name)) for name in ("attention.cu", "attention_tensor.cu"))
FILES = {2: PLAIN, 3: TENSOR}  # older GPUs do not compile the latter
WIDTHS = 16, 32, 64, 128  # that versions 2 and 3 are compiled for; other widths are padded with zeros to the next


def attention_cuda(q, k, v, mask, version=None):
    """o and lse. In versions 2 and 3 a block takes a tile of the queries of one head."""
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
    """dq, dk and dv. Versions 2 and 3: a kernel whose blocks own queries, for dq, and one whose blocks own keys."""
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
    """S (N, heads, L, M)."""
    (n, length, heads, d), m = q.shape, k.shape[1]
    s = empty((n, heads, length, m), q)
    if s.size:
        args = q, k, s, *map(i32, (s.size, heads, length, m, d)), real(d**-0.5, q), *masked
        launch(PLAIN, "attention_scores_v1", blocks(s.size, 128), 128, args, **parameters)
    return s


def _launch_rows(kernel, args, lse):
    """One warp a row of scores, that is, a number of lse."""
    if lse.size:
        launch(PLAIN, kernel, blocks(lse.size, 4), 128, args, REAL=C_NAMES[str(lse.dtype)])


def _weighted_sum_v1(w, x, y, strides, factor):
    """y (N, R, heads, F) = factor * the sum over c of w[r, c] x[c], with w's strides along r and c."""
    if y.size:
        (rows, heads, width), columns = y.shape[1:], x.shape[1]
        args = w, x, y, *map(i32, (y.size, heads, rows, columns, width, *strides)), real(factor, y)
        launch(PLAIN, "attention_weighted_sum_v1", blocks(y.size, 128), 128, args, REAL=C_NAMES[str(y.dtype)])
