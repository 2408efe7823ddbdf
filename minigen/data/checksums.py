"""Is a data file whole? Its digest is compared with the one the registry states. There are two kinds:

    sha256 of the unpacked bytes   holds for every packing of the same content, and for no packing
    md5 of the packed file         holds for one exact file only; an unpacked copy cannot be checked by it

Why two: registry.py.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from .idx import DAMAGED_GZIP, PIECE, open_unpacked
from .registry import MD5_PACKED

OK, MISMATCH, NO_DIGEST, MISSING = "ok", "mismatch", "no digest", "missing"


@dataclass(frozen=True)
class Verdict:
    """What is known of one file: `status` is one of OK, MISMATCH, NO_DIGEST, MISSING; size in bytes on disk."""

    file: str
    path: Path | None
    size: int | None
    status: str
    detail: str = ""


def verify(path, entry):
    """Compare the file at `path` (None: there is none) with the registry's DataFile `entry` -> Verdict."""
    if path is None:
        return Verdict(entry.name, None, None, MISSING)
    size = path.stat().st_size
    if entry.kind == MD5_PACKED and path.name == entry.name.removesuffix(".gz"):
        return Verdict(entry.name, path, size, NO_DIGEST, "the published digest is that of the packed file")
    try:
        found = _md5_packed(path) if entry.kind == MD5_PACKED else _sha256_unpacked(path)
    except DAMAGED_GZIP as error:
        return Verdict(entry.name, path, size, MISMATCH, f"damaged gzip data ({error})")
    if found != entry.digest:
        return Verdict(entry.name, path, size, MISMATCH, f"{entry.kind} is {found}, expected {entry.digest}")
    return Verdict(entry.name, path, size, OK)


def _md5_packed(path):
    with open(path, "rb") as stream:
        return _digest(stream, hashlib.md5(usedforsecurity=False))


def _sha256_unpacked(path):
    with open_unpacked(path) as stream:
        return _digest(stream, hashlib.sha256())


def _digest(stream, digest):
    while piece := stream.read(PIECE):
        digest.update(piece)
    return digest.hexdigest()
