"""Downloads against a local server that can be slow, forgetful, lying or broken on purpose."""

import gzip
import hashlib
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from minigen.data import DownloadError, download, registry
from minigen.data.registry import MD5_PACKED, SHA256_UNPACKED, DataFile, DataSet

CONTENT = hashlib.shake_256(b"minigen").digest(300_000)  # does not compress: gzip's length is the content's
PACKED = gzip.compress(CONTENT, mtime=0)
REPACKED = gzip.compress(CONTENT, compresslevel=1, mtime=1)
PAGE = b"<html>please log in</html>"
NAME = "digits.gz"  # the one file of the test's data set


class Handler(BaseHTTPRequestHandler):
    """Serves server.body at /mirror/digits.gz in the way server.ways[mirror], or else in the way it is named for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        mirror = self.path.split("/")[1]
        asked = self.headers.get("Range")
        self.server.requests.append((mirror, asked))
        way = getattr(self, self.server.ways.get(mirror, mirror))
        way(int(re.match(r"bytes=(\d+)-$", asked)[1]) if asked else 0)

    def reply(self, status, body, headers=(), send=None):
        self.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **dict(headers)}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body if send is None else body[:send])
        self.close_connection = True

    def good(self, start, send=None):
        body = self.server.body
        if start >= len(body):
            self.reply(416, b"", {"Content-Range": f"bytes */{len(body)}"})
        elif start:
            self.reply(206, body[start:], {"Content-Range": f"bytes {start}-{len(body) - 1}/{len(body)}"}, send)
        else:
            self.reply(200, body, send=send)

    def cut(self, start):
        """Hangs up after 150,000 bytes."""
        self.good(start, send=150_000)

    def trickle(self, start):
        """Hangs up after 1,000 bytes."""
        self.good(start, send=1_000)

    def no_ranges(self, start):
        self.reply(200, self.server.body)

    def wrong_range(self, start):
        """Sends bytes from 7 on, whatever was asked."""
        body = self.server.body
        self.reply(206, body[7:], {"Content-Range": f"bytes 7-{len(body) - 1}/{len(body)}"})

    def missing(self, start):
        self.reply(404, b"<html>no such file</html>")

    def web_page(self, start):
        self.reply(200, PAGE)

    def other_file(self, start):
        self.reply(200, gzip.compress(b"something else"))

    def damaged(self, start):
        self.reply(200, PACKED[:-9])  # all that Content-Length promises, but gzip is cut

    def silent(self, start):
        """Takes the request and never answers."""
        self.server.released.wait(10)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.body, server.ways, server.requests, server.released = PACKED, {}, [], threading.Event()
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.released.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def get(server, tmp_path, monkeypatch):
    """get(mirror, ...) downloads the one-file data set "digits" from these mirrors -> its path."""
    monkeypatch.delenv("MINIGEN_DATA", raising=False)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    serve_as(monkeypatch, DataFile(NAME, SHA256_UNPACKED, hashlib.sha256(CONTENT).hexdigest()))

    def fetch(*names):
        mirrors = [f"http://127.0.0.1:{server.server_port}/{name}/" for name in names]
        (path,) = download("digits", tmp_path, mirrors, progress=False)
        return path

    return fetch


def serve_as(monkeypatch, file):
    monkeypatch.setitem(registry.DATA_SETS, "digits", DataSet("digits", "", "", ("0",), (file,)))


def parts(folder):
    return list(folder.rglob("*.part"))


# ---------------------------------------------------------------- the plain case


def test_a_file_arrives_whole_under_its_name_and_is_not_fetched_twice(get, server, tmp_path):
    path = get("good")
    assert path == tmp_path / "digits" / NAME and path.read_bytes() == PACKED
    assert parts(tmp_path) == []
    assert get("good") == path
    assert server.requests == [("good", None)]


def test_a_mirror_that_packs_differently_is_accepted(get, server):
    server.body = REPACKED
    assert get("good").read_bytes() == REPACKED != PACKED


def test_an_md5_of_the_packed_file_is_held_to_the_packed_bytes(get, server, monkeypatch):
    serve_as(monkeypatch, DataFile(NAME, MD5_PACKED, hashlib.md5(PACKED).hexdigest()))
    server.body = REPACKED
    with pytest.raises(DownloadError, match="md5 of the packed file"):
        get("good")
    server.body = PACKED
    assert get("good").read_bytes() == PACKED


def test_a_damaged_file_already_there_is_replaced(get, tmp_path):
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / NAME).write_bytes(PACKED[:-9])
    assert get("good").read_bytes() == PACKED


def test_the_embedded_set_needs_no_network():
    paths = download("mnist-mini", progress=False)
    assert [path.parent.name for path in paths] == ["mnist_mini"] * 4


def test_an_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'fashion-mnist'"):
        download("fashon-mnist")


# ---------------------------------------------------------------- resuming


@pytest.fixture
def part(get, server, tmp_path):
    """The part that mirror "a" leaves when it hangs up three times after 1,000 bytes; from then on "a" is good."""
    server.ways["a"] = "trickle"
    with pytest.raises(DownloadError, match=f"cut after 3000 of {len(PACKED)} bytes"):
        get("a")
    (left,) = parts(tmp_path)
    server.ways["a"] = "good"
    server.requests.clear()
    return left


def test_a_cut_connection_is_resumed_where_it_broke_off(get, server):
    server.ways["a"] = "cut"
    assert get("a").read_bytes() == PACKED
    assert server.requests == [("a", None), ("a", "bytes=150000-"), ("a", "bytes=300000-")]


def test_a_part_of_an_earlier_run_is_continued(get, server, part):
    assert part.read_bytes() == PACKED[:3_000]
    assert get("a").read_bytes() == PACKED
    assert server.requests == [("a", "bytes=3000-")] and not part.exists()


def test_a_server_that_ignores_ranges_sends_all_again(get, server, part):
    server.ways["a"] = "no_ranges"
    assert get("a").read_bytes() == PACKED
    assert server.requests == [("a", "bytes=3000-")]


def test_a_part_that_was_whole_already_is_taken(get, server, part):
    part.write_bytes(PACKED)  # killed between the last byte and the new name: the server answers 416
    assert get("a").read_bytes() == PACKED
    assert server.requests == [("a", f"bytes={len(PACKED)}-")]


@pytest.mark.parametrize("left", [PACKED + b"surplus", b"not the beginning of this file" * 100])
def test_a_wrong_part_is_thrown_away_and_fetched_anew(get, server, part, left):
    part.write_bytes(left)
    assert get("a").read_bytes() == PACKED
    assert server.requests == [("a", f"bytes={len(left)}-"), ("a", None)]


def test_bytes_from_another_place_than_asked_are_not_appended(get, server, part):
    server.ways["a"] = "wrong_range"
    with pytest.raises(DownloadError, match="asked for the bytes from 3000, was sent those from 7"):
        get("a")
    assert part.read_bytes() == PACKED[:3_000]


def test_a_part_is_not_continued_from_another_mirror(get, server, part):
    server.body = REPACKED
    assert get("good").read_bytes() == REPACKED
    assert server.requests == [("good", None)]


# ---------------------------------------------------------------- bad mirrors


BAD = {
    "missing": "HTTP Error 404",
    "web_page": f"{len(PAGE)} bytes that came are not the file",
    "other_file": hashlib.sha256(b"something else").hexdigest(),
    "damaged": "damaged gzip",
    "trickle": "cut after",
}


@pytest.mark.parametrize("bad", BAD)
def test_after_a_bad_mirror_comes_the_next(get, bad):
    assert get(bad, "good").read_bytes() == PACKED


def test_when_all_mirrors_are_bad_each_reason_is_told_and_no_wrong_file_stays(get, server, tmp_path):
    with pytest.raises(DownloadError) as caught:
        get(*BAD)
    for mirror, reason in BAD.items():
        assert re.search(f"/{mirror}/{NAME}: .*{reason}", str(caught.value))
    assert hashlib.sha256(CONTENT).hexdigest() in str(caught.value), "the digest that was expected"
    assert not (tmp_path / "digits" / NAME).exists()
    assert [path.read_bytes() for path in parts(tmp_path)] == [PACKED[:3_000]]  # trickle's, to be resumed
    assert [mirror for mirror, _ in server.requests].count("other_file") == 1, "a wrong file is not asked for twice"


def test_a_silent_mirror_is_given_up_after_the_timeout(get, monkeypatch):
    monkeypatch.setattr(sys.modules["minigen.data.download"], "TIMEOUT", 0.2)
    start = time.monotonic()
    assert get("silent", "good").read_bytes() == PACKED
    assert time.monotonic() - start < 5


def test_a_mirror_that_is_not_there_is_passed_over(get, server, tmp_path):
    here = f"http://127.0.0.1:{server.server_port}/good/"
    (path,) = download("digits", tmp_path, ["http://127.0.0.1:1/", here], progress=False)
    assert path.read_bytes() == PACKED


# ---------------------------------------------------------------- the disk


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full, a disk that is always full")
def test_a_full_disk_is_said_to_be_full_and_no_other_mirror_is_asked(get, server, part):
    part.unlink()
    part.symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=f"no space left on the disk for {NAME}.*{len(PACKED)} bytes"):
        get("a", "good")
    assert server.requests == [("a", None)]


def test_a_folder_that_cannot_be_made_is_an_error_of_its_own(get, server, tmp_path):
    (tmp_path / "digits").write_text("a file where the folder should be")
    with pytest.raises(FileExistsError):
        get("good")
    assert server.requests == []
