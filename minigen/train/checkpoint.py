"""Checkpoints: everything a run needs to go on as if it had never stopped, in one file that is whole or absent.

The file is safetensors (a JSON header, then raw arrays; no pickle, so nothing in it can run), and its
metadata holds one more JSON object, `minigen`:

    format_version   of this layout
    ...              what the writer adds: step, version, random states
    crc32            of the above and of all arrays: a flipped bit is a damaged file, not a bad model

How it comes to be whole or absent (Pillai et al., All File Systems Are Not Created Equal, OSDI 2014):

    write step-00000500.tmp;  fsync it;  rename to step-00000500.safetensors;  fsync the folder

A rename replaces the name in one go; the first fsync keeps the name from arriving before the bytes, the
second keeps the name itself through a power cut. Whatever fails before the rename (a full disk, a kill)
leaves the earlier checkpoints as they were.
"""

import json
import os
import zlib

import numpy as np

FORMAT_VERSION = 1


class CheckpointError(Exception):
    """A checkpoint that cannot be used: which file, and why."""


def write_checkpoint(path, arrays, header):
    """Write arrays {name: NumPy array} and header {name: JSON value} to `path`, whole or not at all.

    Raises OSError where the disk refuses; then `path` is as it was before.
    """
    from safetensors.numpy import save

    arrays = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    header = {"format_version": FORMAT_VERSION, **header}
    write_whole(path, save(arrays, metadata={"minigen": json.dumps(header | {"crc32": crc32(arrays, header)})}))


def read_checkpoint(path):
    """-> arrays {name: NumPy array}, header {name: JSON value}.

    Raises CheckpointError, which names the file and the reason, for one that is cut short, altered,
    foreign, unreadable or of a later format.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {}).get("minigen", "null"))
            if not isinstance(header, dict):
                raise CheckpointError(f"{path}: not a checkpoint of minigen: its metadata has no 'minigen' object")
            if header.get("format_version") != FORMAT_VERSION:
                found = header.get("format_version")
                raise CheckpointError(f"{path}: has format version {found}, this minigen reads {FORMAT_VERSION}")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dict)
    except (SafetensorError, OSError, ValueError) as error:  # ValueError: JSON, or text that is not UTF-8
        raise CheckpointError(f"{path}: damaged or unreadable: {error}") from error
    stated = header.pop("crc32", None)
    if stated != (found := crc32(arrays, header)):
        raise CheckpointError(f"{path}: damaged: its content has checksum {found}, its header states {stated}")
    return arrays, header


def crc32(arrays, header):
    """One checksum over the header and over every array's name, type, shape and bytes."""
    total = zlib.crc32(json.dumps(header, sort_keys=True).encode())
    for name in sorted(arrays):
        array = np.asarray(arrays[name], order="C")
        total = zlib.crc32(f"{name} {array.dtype} {array.shape}".encode(), total)
        total = zlib.crc32(array.reshape(-1).view(np.uint8), total)
    return total


# ---------------------------------------------------------------- files that are whole or absent


def write_whole(path, content):
    """Put the bytes `content` under the name `path` in one go (the module's docstring says how). Raises OSError."""
    temporary = path.with_suffix(".tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; could not write", str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder):
    """Make the folder's list of names durable. Windows has no such call and needs none."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
