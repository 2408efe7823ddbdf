"""A checkpoint is whole or absent: round trips, every kind of damage, and disks that fail."""

import json
import os
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from safetensors.numpy import save_file

from minigen.train import CheckpointError
from minigen.train.checkpoint import read_checkpoint, write_checkpoint, write_whole

ARRAYS = {"model/w": np.arange(6, dtype=np.float32).reshape(2, 3), "optimizer/steps": np.array([7], np.int64)}
HEADER = {"step": 7, "generator": {"seed": 2**64 - 1, "counter": 5}}

dtypes = st.sampled_from([np.float32, np.float64, np.int64, np.uint8])
shapes = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
arrays = dtypes.flatmap(lambda dtype: npst.arrays(dtype, shapes))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "step-00000007.safetensors"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "step-00000007.safetensors"
    write_checkpoint(path, ARRAYS, HEADER)
    return path.read_bytes()


@given(content=st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), arrays, max_size=4))
def test_what_is_written_is_read_bit_for_bit(tmp_path_factory, content):
    content.pop("__metadata__", None)
    path = tmp_path_factory.mktemp("c") / "c.safetensors"
    write_checkpoint(path, content, HEADER)
    found, header = read_checkpoint(path)
    assert header["step"] == 7
    assert header["generator"] == HEADER["generator"]
    assert found.keys() == content.keys()
    for name, array in content.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()


def test_a_transposed_array_keeps_its_meaning(path):
    write_checkpoint(path, {"w": ARRAYS["model/w"].T}, {})
    np.testing.assert_array_equal(read_checkpoint(path)[0]["w"], ARRAYS["model/w"].T)


def test_any_flipped_bit_is_noticed(path, written):
    for position in range(len(written)):
        damaged = bytearray(written)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="step-00000007"):
            read_checkpoint(path)


@given(length=st.integers(0, 10_000))
def test_any_file_cut_short_is_noticed(tmp_path_factory, written, length):
    path = tmp_path_factory.mktemp("c") / "c.safetensors"
    path.write_bytes(written[: length % len(written)])
    with pytest.raises(CheckpointError, match="damaged or unreadable"):
        read_checkpoint(path)


def test_foreign_files_are_refused(path):
    save_file(ARRAYS, path)
    with pytest.raises(CheckpointError, match="not a checkpoint of minigen"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(ARRAYS))
    with pytest.raises(CheckpointError, match="damaged or unreadable"):
        read_checkpoint(path)
    with pytest.raises(CheckpointError, match="no-such-file"):
        read_checkpoint(path.with_name("no-such-file"))


def test_a_later_format_is_named(path):
    save_file(ARRAYS, path, metadata={"minigen": json.dumps({"format_version": 2})})
    with pytest.raises(CheckpointError, match="has format version 2, this minigen reads 1"):
        read_checkpoint(path)


def test_a_full_disk_leaves_the_old_file_and_no_other(path, written):
    resource = pytest.importorskip("resource")
    path.write_bytes(written)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))  # a write beyond 10,000 bytes fails, as on a full disk
    try:
        with pytest.raises(OSError, match="File too large; could not write: .*step-00000007"):
            write_checkpoint(path, {"w": np.zeros(100_000)}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == written
    assert list(path.parent.iterdir()) == [path]


def test_the_name_changes_only_after_the_bytes_are_durable(path, monkeypatch):
    path.write_bytes(b"old")
    calls = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda fd: (calls.append("fsync"), fsync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (calls.append("replace"), replace(a, b)))
    write_whole(path, b"new")
    assert calls == ["fsync", "replace", "fsync"]
    assert path.read_bytes() == b"new"
