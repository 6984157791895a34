"""Downloads, against a server on this machine: whole, broken off, resumed, wrong, and none at all."""

import hashlib
import http.server
import threading
from dataclasses import replace

import pytest

from data.fakes import batches, write_archive, write_idx
from distmatch.data import cifar10, load, mnist
from distmatch.data.download import fetch
from distmatch.errors import BadInput

BODY = bytes(range(256)) * 400


class Server:
    """Serves `files`; breaks a transfer off after `most` bytes; knows ranges or not; counts requests."""

    def __init__(self):
        self.files, self.most, self.ranges, self.asked = {"/file.gz": BODY}, 10**9, True, []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.asked.append(self.headers.get("Range"))
                outer.answer(self)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True)
        self.thread.start()

    def answer(self, handler):
        body, start = self.files.get(handler.path), 0
        if body is None:
            return handler.send_error(404)
        if self.ranges and (wanted := handler.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            if start >= len(body):
                return handler.send_error(416)
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        handler.wfile.write(body[start : start + self.most])
        return None

    def close(self):
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture
def server():
    server = Server()
    yield server
    server.close()


def md5(body):
    return hashlib.md5(body).hexdigest()


def test_whole(server, tmp_path):
    path = fetch([server.url + "file.gz"], tmp_path / "new" / "file.gz", md5(BODY))
    assert path.read_bytes() == BODY
    assert [p.name for p in path.parent.iterdir()] == ["file.gz"]
    fetch([server.url + "file.gz"], path, md5(BODY))
    assert len(server.asked) == 1  # what is there is not fetched again


def test_broken_off_and_resumed_in_one_call(server, tmp_path):
    server.most = 30_000
    path = fetch([server.url + "file.gz"], tmp_path / "file.gz", md5(BODY))
    assert path.read_bytes() == BODY
    assert server.asked == [None, "bytes=30000-", "bytes=60000-", "bytes=90000-"]


def test_resumed_by_the_next_call(server, tmp_path):
    (tmp_path / "file.gz.part").write_bytes(BODY[:70_000])
    fetch([server.url + "file.gz"], tmp_path / "file.gz", md5(BODY))
    assert server.asked == ["bytes=70000-"]
    assert (tmp_path / "file.gz").read_bytes() == BODY


def test_server_without_ranges_begins_anew(server, tmp_path):
    server.ranges = False
    (tmp_path / "file.gz.part").write_bytes(BODY[:70_000])
    fetch([server.url + "file.gz"], tmp_path / "file.gz", md5(BODY))
    assert (tmp_path / "file.gz").read_bytes() == BODY


@pytest.mark.parametrize("part", [BODY, BODY + b"more", b"\0" * 50_000, b""])
def test_left_over_part_of_any_kind(part, server, tmp_path):
    (tmp_path / "file.gz.part").write_bytes(part)
    fetch([server.url + "file.gz"], tmp_path / "file.gz", md5(BODY))
    assert (tmp_path / "file.gz").read_bytes() == BODY
    assert not (tmp_path / "file.gz.part").exists()


def test_truncated_for_good_keeps_the_part(server, tmp_path, sentence):
    server.ranges, server.most = False, 1000
    with pytest.raises(BadInput) as caught:
        fetch([server.url + "file.gz"], tmp_path / "file.gz", md5(BODY))
    sentence(caught, "file.gz", "stopped after 1000 of 102400 bytes", tmp_path)
    assert [p.name for p in tmp_path.glob("file*")] == ["file.gz.part"]


def test_wrong_checksum_leaves_nothing(server, tmp_path, sentence):
    with pytest.raises(BadInput) as caught:
        fetch([server.url + "file.gz"], tmp_path / "file.gz", "0" * 32)
    sentence(caught, "file.gz", "checksum", "0" * 32, tmp_path)
    assert not list(tmp_path.glob("file*"))
    assert len(server.asked) == 1


def test_second_mirror(server, tmp_path):
    urls = [server.url + "gone.gz", server.url + "file.gz"]
    assert fetch(urls, tmp_path / "file.gz", md5(BODY)).read_bytes() == BODY


def test_no_internet_names_the_file_and_the_place(cache, monkeypatch, sentence):
    def refuse(*_, **__):
        raise OSError("Network is unreachable")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    for name, file in (("mnist", "train-images-idx3-ubyte.gz"), ("cifar10", "cifar-10-binary.tar.gz")):
        with pytest.raises(BadInput) as caught:
            load(name)
        sentence(caught, file, cache / name, "unreachable", "--data-dir")


def test_cache_that_is_a_file(server, tmp_path, sentence):
    (tmp_path / "x").write_text("")
    with pytest.raises(BadInput) as caught:
        fetch([server.url + "file.gz"], tmp_path / "x" / "file.gz", md5(BODY))
    sentence(caught, "cannot write", "DISTMATCH_DATA")


def test_two_at_once_fetch_once(server, tmp_path):
    call = (([server.url + "file.gz"], tmp_path / "file.gz", md5(BODY)),)
    threads = [threading.Thread(target=fetch, args=call[0]) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert (tmp_path / "file.gz").read_bytes() == BODY
    assert len(server.asked) == 1


def test_mnist_is_downloaded_where_it_belongs(server, cache, tmp_path, monkeypatch):
    paths = write_idx(tmp_path / "made")
    server.files = {f"/{p.name}": p.read_bytes() for p in paths}
    packed = tuple(md5(p.read_bytes()) for p in paths)
    monkeypatch.setattr(mnist, "MNIST", replace(mnist.MNIST, mirrors=(server.url,), packed=packed))
    assert len(load("color-mnist").test) == 10
    assert sorted(p.name for p in (cache / "mnist").iterdir()) == sorted(p.name for p in paths)
    server.files = {}
    assert len(load("mnist").test) == 10


def test_cifar10_is_downloaded(server, cache, tmp_path, monkeypatch):
    write_archive(tmp_path / "a.tar.gz", batches())
    body = (tmp_path / "a.tar.gz").read_bytes()
    server.files = {"/a.tar.gz": body}
    monkeypatch.setattr(cifar10, "URL", server.url + "a.tar.gz")
    monkeypatch.setattr(cifar10, "MD5", md5(body))
    assert load("cifar10").bits == "original bits"
    assert len(load("cifar10").test) == 4
    assert len(server.asked) == 1
