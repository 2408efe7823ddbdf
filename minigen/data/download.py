"""Fetch the files of a data set: resumed where they broke off, checked before they are used.

    download("mnist")        # four files into ~/.cache/minigen/data/mnist

A file grows as "name.<mirror>.part" and takes its name only once its digest is right, so a file under
its own name is whole. A part belongs to one mirror, because each packs the same content differently:
half of one and half of another is neither. Resuming is HTTP's range request (RFC 9110, section 14):

    we hold n bytes and ask    Range: bytes=n-
    206, from n                append
    200                        the server ignores ranges: start again
    416                        nothing lies beyond n: the part is whole or wrong, and its digest will tell

Mirrors are tried in turn; a cut connection is resumed on the same mirror first.
"""

import errno
import hashlib
import os
import re
import shutil
from contextlib import contextmanager

from .checksums import OK, verify
from .idx import PIECE
from .registry import find_data_set
from .sets import folders, locate

TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 3  # on one mirror, the resumed ones included


class DownloadError(OSError):
    """No mirror gave the file, or the disk is full. The message says what each mirror sent."""


class _Broken(Exception):
    """This mirror failed this time: no answer, an error status or a connection cut short."""


def download(name, data_dir=None, mirrors=None, progress=True):
    """Fetch what is missing or damaged of a data set into root/name -> the paths of all its files.

    root is `data_dir`, else $MINIGEN_DATA, else ~/.cache/minigen/data. `mirrors` (addresses of folders)
    replaces the registry's. Files already there with the right digest are left alone.
    Raises DownloadError, whose message holds the reason of every mirror; ValueError for an unknown name.
    """
    entry = find_data_set(name)
    mirrors = entry.mirrors if mirrors is None else tuple(mirrors)
    return [_have_or_fetch(entry, file, data_dir, mirrors, progress) for file in entry.files]


def _have_or_fetch(entry, file, data_dir, mirrors, progress):
    present = locate(entry, file, data_dir)
    if verify(present, file).status == OK:
        return present
    folder = folders(entry, data_dir)[0]
    folder.mkdir(parents=True, exist_ok=True)
    reasons = []
    for mirror in mirrors:
        url = f"{mirror.rstrip('/')}/{file.name}"
        try:
            return _fetch(url, file, folder, progress)
        except _Broken as reason:
            reasons.append(f"{url}: {reason}")
    raise DownloadError(f"{entry.name}: could not fetch {file.name}\n  " + "\n  ".join(reasons or ["it has no mirror"]))


def _fetch(url, file, folder, progress):
    """Bring one file from one mirror, check it and give it its name -> its path. Raises _Broken with the reason."""
    part = folder / f"{file.name}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.part"
    reason = _Broken("not tried")
    for _ in range(ATTEMPTS):
        resumed = part.exists() and part.stat().st_size > 0
        try:
            _receive(url, part, file.name, progress)
        except _Broken as broken:
            reason = broken
            if not part.exists() or part.stat().st_size == 0:
                break  # not a byte came: the mirror is down, or does not have the file
            continue
        verdict = verify(part, file)
        if verdict.status == OK:
            os.replace(part, folder / file.name)
            return folder / file.name
        reason = _Broken(f"the {verdict.size} bytes that came are not the file: {verdict.detail}")
        part.unlink()
        if not resumed:
            break  # wrong from the first byte: asking again gives the same
    raise reason


# ---------------------------------------------------------------- one request


def _receive(url, part, label, progress):
    """Append to `part` what the mirror has beyond it. Raises _Broken for the network, DownloadError for a full disk."""
    have = part.stat().st_size if part.exists() else 0
    response = _ask(url, have)
    if response is None:
        return
    with response:
        offset, total = _extent(response)
        if offset not in (0, have):
            raise _Broken(f"asked for the bytes from {have}, was sent those from {offset}")
        try:
            _write(response, part, offset, total, label, progress)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            free = shutil.disk_usage(part.parent).free
            raise DownloadError(
                f"{part.parent}: no space left on the disk for {label} ({total or 'unknown'} bytes, {free} free); "
                "the part that came is kept and will be resumed"
            ) from error
    size = part.stat().st_size
    if total is not None and size != total:
        raise _Broken(f"the connection was cut after {size} of {total} bytes")


def _ask(url, have):
    """The response to a request for the bytes from `have` on; None where there are none (416)."""
    from urllib.error import HTTPError  # here, as tqdm below, so that `import minigen` stays quick
    from urllib.request import Request, urlopen

    headers = {"User-Agent": "minigen"} | ({"Range": f"bytes={have}-"} if have else {})
    with _broken_by_the_network():
        try:
            return urlopen(Request(url, headers=headers), timeout=TIMEOUT)
        except HTTPError as error:
            error.close()
            if error.code == 416 and have:
                return None
            raise


def _extent(response):
    """(the first byte sent, the bytes of the whole file or None where the server does not say)"""
    if response.status == 206:
        stated = re.match(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
        if not stated:
            raise _Broken(f"HTTP 206 with Content-Range {response.headers.get('Content-Range')!r}")
        return int(stated[1]), int(stated[2])
    return 0, response.length


def _write(response, part, offset, total, label, progress):
    from tqdm import tqdm

    hidden = None if progress else True  # None: shown on a terminal only
    bar = tqdm(total=total, initial=offset, desc=label, unit="B", unit_scale=True, disable=hidden)
    with bar, open(part, "ab" if offset else "wb") as out:
        while piece := _read(response):
            out.write(piece)
            bar.update(len(piece))


def _read(response):
    with _broken_by_the_network():
        return response.read1(PIECE)  # what has come so far: a later cut then loses none of it


@contextmanager
def _broken_by_the_network():
    from http.client import HTTPException

    try:
        yield
    except (OSError, HTTPException) as error:  # URLError, timeouts, refused and reset connections are OSErrors
        raise _Broken(f"{type(error).__name__}: {error}") from error
