"""IDX: the file format of MNIST, a header that says what follows and then the numbers, nothing else.

    byte 0, 1     0 0
    byte 2        type     08 uint8   09 int8   0B int16   0C int32   0D float32   0E float64
    byte 3        number of dimensions d
    4 d bytes     the d sizes, unsigned 32-bit, most significant byte first
    the rest      the entries, last index fastest, most significant byte first

Whether a file is packed with gzip is told by its first two bytes, not by its name: mirrors rename.
A reader that trusts the header can be told to allocate terabytes, so here the sizes are only a claim:
data are read in pieces and never more than the file really holds, plus one byte to see a surplus.

Source   LeCun, Cortes and Burges, The MNIST database, "The IDX file format"
"""

import gzip
import sys
import zlib
from math import prod
from pathlib import Path

import numpy as np

DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"
MAX_DIMENSIONS = 32  # what every NumPy since 1.0 can hold
PIECE = 1 << 20
DAMAGED_GZIP = (gzip.BadGzipFile, EOFError, zlib.error)  # wrong checksum, cut short, not deflate data

# What lands in a data folder by mistake, by its first bytes.
FOREIGN = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8": "a JPEG image",
    b"PK": "a ZIP or NPZ archive",
    b"\x93NUMPY": "a NumPy file",
    b"<": "an HTML or XML page (an error page saved by a download?)",
    b"version https://git-lfs": "a Git LFS pointer (the file itself was not fetched)",
}


class IdxError(ValueError):
    """The file is not what IDX says it should be. The message names the file and the bytes."""


# ---------------------------------------------------------------- reading


def read_idx(path):
    """Read an IDX file, plain or gzip, into a fresh array of native byte order.

    path -> array of the shape and type that the header states.
    Raises IdxError for a foreign, truncated, damaged or lying file, OSError where it cannot be opened.
    """
    path = Path(path)
    try:
        with open_unpacked(path) as stream:
            dtype, shape = _read_header(path, stream)
            expected = prod(shape) * dtype.itemsize
            data = _read_at_most(stream, expected + 1)
    except DAMAGED_GZIP as error:
        raise IdxError(f"{path}: damaged gzip data ({error})") from error

    if len(data) != expected:
        found = f"{len(data)}" if len(data) < expected else "more"
        raise IdxError(
            f"{path}: the header claims shape {shape} of {dtype.name}: expected {expected} bytes of data, found {found}"
        )
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def open_unpacked(path):
    """Open for reading bytes, through gzip if the file starts with gzip's magic bytes."""
    with open(path, "rb") as stream:
        magic = stream.read(len(GZIP_MAGIC))
    return gzip.open(path, "rb") if magic == GZIP_MAGIC else open(path, "rb")


def _read_header(path, stream):
    head = _read_at_most(stream, 4)
    if len(head) < 4:
        raise IdxError(f"{path}: expected a header of at least 8 bytes, found {len(head)} bytes")
    if head[:2] != b"\0\0" or head[2] not in DTYPES:
        kind = _foreign(bytes(head) + bytes(_read_at_most(stream, 32)))
        types = ", ".join(f"{code:02x}" for code in DTYPES)
        raise IdxError(
            f"{path}: not an IDX file: expected magic bytes 00 00 and a type among {types}, found {head.hex(' ')}{kind}"
        )
    dimensions = head[3]
    if not 1 <= dimensions <= MAX_DIMENSIONS:
        raise IdxError(f"{path}: expected 1 to {MAX_DIMENSIONS} dimensions, the header claims {dimensions}")

    sizes = _read_at_most(stream, 4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise IdxError(f"{path}: expected {4 * dimensions} bytes of sizes after the magic bytes, found {len(sizes)}")
    shape = tuple(int(n) for n in np.frombuffer(sizes, ">u4"))
    dtype = np.dtype(DTYPES[head[2]])
    # NumPy refuses such shapes even where another size is 0 and nothing would be stored.
    if prod(n for n in shape if n) * dtype.itemsize > sys.maxsize:
        raise IdxError(f"{path}: the header claims the absurd shape {shape}")
    return dtype, shape


def _read_at_most(stream, limit):
    """Up to `limit` bytes, in pieces: `stream.read(limit)` may allocate the limit before it reads a byte."""
    data = bytearray()
    while len(data) < limit and (piece := stream.read(min(PIECE, limit - len(data)))):
        data += piece
    return data


def _foreign(start):
    return next((f": this is {kind}" for magic, kind in FOREIGN.items() if start.startswith(magic)), "")


# ---------------------------------------------------------------- writing


def write_idx(path, array):
    """Write an array as an IDX file, with gzip if the name ends in ".gz".

    The same array gives the same bytes: the gzip header carries neither a time nor a name.
    Raises ValueError for a type, a number of dimensions or a size that IDX cannot express.
    """
    array, path = np.asarray(array), Path(path)
    code = next((c for c, t in DTYPES.items() if np.dtype(t).newbyteorder("=") == array.dtype.newbyteorder("=")), None)
    if code is None:
        raise ValueError(f"array must be uint8, int8, int16, int32, float32 or float64 to fit IDX, got {array.dtype}")
    if not 1 <= array.ndim <= MAX_DIMENSIONS or max(array.shape) >= 2**32:
        raise ValueError(f"array must have 1 to {MAX_DIMENSIONS} axes of length below 2**32, got shape {array.shape}")

    header = bytes([0, 0, code, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    content = header + array.astype(DTYPES[code]).tobytes()
    if path.suffix != ".gz":
        path.write_bytes(content)
        return
    with open(path, "wb") as file, gzip.GzipFile("", "wb", compresslevel=9, fileobj=file, mtime=0) as packed:
        packed.write(content)
