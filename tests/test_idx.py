"""IDX files: what is written is read back; what is damaged, foreign or lying is refused by name and bytes."""

import gzip
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from minigen.data.idx import DTYPES, IdxError, read_idx, write_idx

native = st.sampled_from([np.dtype(t).newbyteorder("=") for t in DTYPES.values()])
arrays = hnp.arrays(native, hnp.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=5))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("idx")


def sample():
    return np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def idx_bytes(code=0x08, shape=(2, 3), data=b"\1\2\3\4\5\6"):
    return bytes([0, 0, code, len(shape)]) + b"".join(n.to_bytes(4, "big") for n in shape) + data


def refusal(path, content):
    path.write_bytes(content)
    with pytest.raises(IdxError) as caught:
        read_idx(path)
    assert str(path) in str(caught.value), "the message must name the file"
    return str(caught.value)


# ---------------------------------------------------------------- the format


def test_bytes_are_laid_out_as_the_format_says(folder):
    write_idx(folder / "a", np.array([[1, -2]], np.int16))
    assert (folder / "a").read_bytes() == bytes.fromhex("0000 0b 02 00000001 00000002 0001 fffe")


@settings(deadline=None)
@given(arrays, st.sampled_from(["a", "a.gz"]))
def test_every_type_and_shape_comes_back_as_it_was(folder, array, name):
    write_idx(folder / name, array)
    back = read_idx(folder / name)
    assert back.dtype == array.dtype and back.dtype.isnative and back.flags.writeable
    np.testing.assert_array_equal(back, array)


def test_big_endian_strided_and_read_only_arrays_are_written_by_value(folder):
    array = np.arange(12, dtype=">i4").reshape(3, 4)[::-1, ::2]
    array.flags.writeable = False
    write_idx(folder / "a", array)
    np.testing.assert_array_equal(read_idx(folder / "a"), [[8, 10], [4, 6], [0, 2]])


def test_packing_is_told_by_content_not_by_name(folder):
    write_idx(folder / "a.gz", sample())
    packed = (folder / "a.gz").read_bytes()
    (folder / "packed-without-gz").write_bytes(packed)
    (folder / "plain.gz").write_bytes(gzip.decompress(packed))
    np.testing.assert_array_equal(read_idx(folder / "packed-without-gz"), sample())
    np.testing.assert_array_equal(read_idx(folder / "plain.gz"), sample())


def test_gzip_bytes_hold_neither_time_nor_name(folder):
    write_idx(folder / "one.gz", sample())
    write_idx(folder / "two.gz", sample())
    content = (folder / "one.gz").read_bytes()
    assert content == (folder / "two.gz").read_bytes()
    assert content[3] == 0 and content[4:8] == bytes(4)  # no flags (so no name), time 0


@pytest.mark.parametrize("array", [np.zeros(3, np.int64), np.zeros(3, bool), np.array(1, np.uint8), ["a"]])
def test_what_idx_cannot_hold_is_not_written(folder, array):
    with pytest.raises(ValueError, match="got"):
        write_idx(folder / "never", array)
    assert not (folder / "never").exists()


# ---------------------------------------------------------------- bad files


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_truncated_data_are_counted(folder, pack):
    message = refusal(folder / "a", pack(idx_bytes(data=b"\1\2\3\4")))
    assert "(2, 3)" in message and "expected 6 bytes" in message and "found 4" in message


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_trailing_bytes_are_refused(folder, pack):
    assert "expected 6 bytes of data, found more" in refusal(folder / "a", pack(idx_bytes(data=bytes(7))))


@pytest.mark.parametrize("length", range(12))
def test_a_header_cut_anywhere_is_refused(folder, length):
    assert "found" in refusal(folder / "a", idx_bytes()[:length])


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "PNG"),
        (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", "HTML"),
        (gzip.compress(b"<html>packed by the server</html>"), "HTML"),
        (b"PK\3\4" + bytes(30), "ZIP"),
        (b"version https://git-lfs.github.com/spec/v1\n", "LFS"),
    ],
)
def test_foreign_files_are_named_for_what_they_are(folder, content, kind):
    message = refusal(folder / "a", content)
    assert kind in message and "not an IDX file" in message


def test_the_magic_bytes_seen_are_shown(folder):
    assert "found 00 00 0a 03" in refusal(folder / "a", bytes([0, 0, 0x0A, 3]) + bytes(20))
    assert "found 01 00 08 01" in refusal(folder / "a", bytes([1, 0, 8, 1]) + bytes(20))


@pytest.mark.parametrize("dimensions", [0, 33, 255])
def test_too_few_or_too_many_dimensions_are_refused(folder, dimensions):
    message = refusal(folder / "a", bytes([0, 0, 8, dimensions]) + bytes(4 * dimensions))
    assert f"claims {dimensions}" in message


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("shape", [(2**32 - 1, 300), (2**32 - 1,) * 4, (0, 2**32 - 1, 2**32 - 1)])
def test_absurd_sizes_are_refused_without_allocating_them(folder, pack, shape):
    path = folder / "a"
    path.write_bytes(pack(idx_bytes(shape=shape, data=b"")))
    tracemalloc.start()
    with pytest.raises(IdxError):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 << 20


@pytest.mark.parametrize("damage", ["cut", "checksum", "deflate", "tail"])
def test_damaged_gzip_is_reported_as_such(folder, damage):
    packed = bytearray(gzip.compress(idx_bytes(shape=(500,), data=bytes(range(250)) * 2)))
    if damage == "cut":
        packed = packed[:-20]
    elif damage == "checksum":
        packed[-6] ^= 1
    elif damage == "deflate":
        packed[10] |= 0b110  # block type 3 does not exist
    else:
        packed += b"rubbish"
    assert "damaged gzip" in refusal(folder / "a", bytes(packed))


def test_an_empty_file_is_refused(folder):
    assert "found 0 bytes" in refusal(folder / "a", b"")
    assert "found 0 bytes" in refusal(folder / "a", gzip.compress(b""))


def test_a_missing_file_is_an_os_error(folder):
    with pytest.raises(FileNotFoundError):
        read_idx(folder / "nowhere")


@settings(deadline=None, max_examples=300)
@given(st.data(), arrays, st.booleans())
def test_a_mutated_file_is_refused_or_read_as_exactly_what_its_bytes_say(folder, data, array, packed):
    """Either IdxError, or an array that, written again, is the very content that was read."""
    path, again = folder / "mutated", folder / "again"
    write_idx(folder / "good.gz", array)
    content = bytearray((folder / "good.gz").read_bytes())
    if not packed:
        content = bytearray(gzip.decompress(content))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(content)))
        change = data.draw(st.sampled_from(["set", "insert", "cut"]))
        if change == "cut":
            del content[place:]
        elif change == "insert":
            content[place:place] = data.draw(st.binary(min_size=1, max_size=8))
        elif place < len(content):
            content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    try:
        back = read_idx(path)
    except IdxError as error:
        assert str(path) in str(error)
        return
    write_idx(again, back)
    unpacked = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else bytes(content)
    if not np.isnan(back.astype(float)).any():  # a NaN's payload may change on its way through a register
        assert again.read_bytes() == unpacked
