"""Downloads from a server that cuts, lies, redirects, and talks like Google Drive."""

import fcntl
import hashlib
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import namedtuple

import numpy as np
import pytest

from dnnlib import downloads
from dnnlib.downloads import Artefact, fetch
from dnnlib.errors import UserError
from tests.dnnlib import loopback

CONTENT = np.random.default_rng(0).bytes(700_001)
OTHER = np.random.default_rng(1).bytes(700_001)
SIZE = len(CONTENT)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(autouse=True)
def pauses(monkeypatch):
    """Do not really wait between attempts, but keep the list of pauses."""
    waited = []
    monkeypatch.setattr(downloads.time, "sleep", waited.append)
    return waited


@pytest.fixture
def server():
    with loopback.start_server() as running:
        yield running


def artefact(server, *paths, size=SIZE, sha256=SHA256, md5=None, note=""):
    urls = tuple(server.url(path) for path in paths)
    return Artefact("toy weights", "toy.bin", urls, size, sha256, md5, note)


def unpublished(server, *paths):
    return artefact(server, *paths, size=None, sha256=None)


def failure_of(wanted, directory, **options) -> str:
    with pytest.raises(UserError) as caught:
        fetch(wanted, directory, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


def names_in(directory) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_plain_download(server, tmp_path, capsys):
    server.routes["/a"] = loopback.file(CONTENT)
    path = fetch(artefact(server, "/a", md5=MD5), tmp_path / "new" / "cache")
    assert path == tmp_path / "new" / "cache" / "toy.bin"
    assert path.read_bytes() == CONTENT
    assert names_in(path.parent) == ["toy.bin"]
    assert "fetching toy.bin: 1/1 MiB" in capsys.readouterr().err


@pytest.mark.parametrize("size", [0, 1, 65_536, 2**20, 2**20 + 1])
def test_sizes(server, tmp_path, size, capsys):
    content = bytes(size)
    server.routes["/a"] = loopback.file(content)
    wanted = artefact(server, "/a", size=size, sha256=hashlib.sha256(content).hexdigest())
    assert fetch(wanted, tmp_path).read_bytes() == content
    mebibytes = -(-size // 2**20)
    assert size == 0 or f" {mebibytes}/{mebibytes} MiB" in capsys.readouterr().err


def test_second_call_verifies_without_network(server, tmp_path):
    (tmp_path / "toy.bin").write_bytes(CONTENT)
    assert fetch(artefact(server, "/a"), tmp_path).read_bytes() == CONTENT
    assert server.requests == []


def test_cut_connections_continue_where_they_stopped(server, tmp_path, pauses):
    server.routes["/a"] = loopback.file(CONTENT, cuts=[200_000, 90_000, 0, 0, 150_000])
    assert fetch(artefact(server, "/a"), tmp_path).read_bytes() == CONTENT
    starts = [int(span[6:-1]) for _, span in server.requests if span]
    assert starts == sorted(starts) and starts[0] > 100_000 and len(starts) == 5
    assert server.body_bytes < len(CONTENT) + 5 * 65_536
    assert pauses == [1.0, 1.0, 2.0, 4.0, 1.0]


def test_server_that_ignores_range(server, tmp_path):
    server.routes["/a"] = loopback.file(CONTENT, ranges=False, cuts=[500_000, 100_000])
    assert fetch(artefact(server, "/a"), tmp_path).read_bytes() == CONTENT
    assert [span is not None for _, span in server.requests] == [False, True, True]


def test_server_that_always_cuts_at_the_same_place(server, tmp_path):
    server.routes["/a"] = loopback.file(CONTENT, ranges=False, cuts=[300_000] * 99)
    assert "cut after" in failure_of(artefact(server, "/a"), tmp_path)
    assert len(server.requests) == 4


def test_a_later_call_continues(server, tmp_path):
    server.routes["/a"] = loopback.file(CONTENT, cuts=[300_000] + [0] * 99)
    failure_of(artefact(server, "/a"), tmp_path)
    assert (tmp_path / "toy.bin.part").stat().st_size > 200_000
    server.requests.clear()
    server.routes["/b"] = loopback.file(CONTENT)
    assert fetch(artefact(server, "/b"), tmp_path).read_bytes() == CONTENT
    assert server.requests[0][1] is not None
    assert names_in(tmp_path) == ["toy.bin"]


def test_killed_program_continues(server, tmp_path, monkeypatch):
    """SIGKILL in the middle of a slow transfer."""

    def slow(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.end_headers()
        handler.wfile.write(CONTENT[:400_000])
        handler.connection.settimeout(20)
        handler.connection.recv(1)  # until the client is gone

    server.routes["/a"] = slow
    wanted = artefact(server, "/a")
    program = f"from dnnlib.downloads import *; fetch({wanted!r}, {str(tmp_path)!r})"
    with subprocess.Popen([sys.executable, "-c", program]) as process:
        part, deadline = tmp_path / "toy.bin.part", time.monotonic() + 20
        while not part.exists() or part.stat().st_size < 300_000:
            assert time.monotonic() < deadline
        process.send_signal(signal.SIGKILL)
    assert names_in(tmp_path) == ["toy.bin.part", "toy.bin.part.json"]
    server.routes["/a"] = loopback.file(CONTENT)
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT
    assert int(server.requests[-1][1][6:-1]) >= 300_000


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_wrong_bytes_then_a_good_mirror(server, tmp_path, kind):
    server.routes["/wrong"] = loopback.file(OTHER)
    server.routes["/good"] = loopback.file(CONTENT)
    sums = {"sha256": None, "md5": None} | {kind: {"sha256": SHA256, "md5": MD5}[kind]}
    wanted = artefact(server, "/wrong", "/good", **sums)
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/wrong", "/good"]


def test_wrong_bytes_everywhere_leave_nothing(server, tmp_path):
    server.routes["/wrong"] = loopback.file(OTHER)
    message = failure_of(artefact(server, "/wrong"), tmp_path)
    assert "delivers a wrong file: sha256" in message and SHA256 in message
    assert names_in(tmp_path) == []


def test_wrong_length_is_noticed_before_the_transfer(server, tmp_path):
    server.routes["/long"] = loopback.file(CONTENT + b"more")
    server.routes["/short"] = loopback.file(CONTENT[:-1])
    message = failure_of(artefact(server, "/long", "/short"), tmp_path)
    assert "offers 700005 bytes instead of 700001" in message
    assert "offers 700000 bytes instead of 700001" in message


def unmeasured(content):
    return lambda handler: loopback.answer(handler, 200, content, length=False)


def test_body_without_length(server, tmp_path):
    server.routes["/a"] = unmeasured(CONTENT)
    assert fetch(artefact(server, "/a"), tmp_path).read_bytes() == CONTENT


def test_endless_body(server, tmp_path):
    server.routes["/a"] = unmeasured(CONTENT + bytes(10**6))
    assert "sends more than 700001 bytes" in failure_of(artefact(server, "/a"), tmp_path)


def test_cut_body_without_length(server, tmp_path):
    server.routes["/a"] = unmeasured(CONTENT[:-9])
    assert "cut after 699992 of 700001" in failure_of(artefact(server, "/a"), tmp_path)


def test_cut_that_could_not_be_noticed(server, tmp_path):
    server.routes["/a"] = unmeasured(CONTENT)
    assert "announces no size" in failure_of(unpublished(server, "/a"), tmp_path)


def test_chunked_body(server, tmp_path):
    def chunked(handler):
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for start in range(0, len(CONTENT), 100_000):
            piece = CONTENT[start : start + 100_000]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        if handler.path == "/whole":
            handler.wfile.write(b"0\r\n\r\n")
        handler.close_connection = True

    server.routes["/whole"] = server.routes["/cut"] = chunked
    assert fetch(unpublished(server, "/whole"), tmp_path / "a").read_bytes() == CONTENT
    assert "connection was cut" in failure_of(unpublished(server, "/cut"), tmp_path / "b")


def test_content_encoding_does_not_unpack_the_file(server, tmp_path):
    server.routes["/a"] = loopback.file(CONTENT, Content_Encoding="gzip")
    assert fetch(artefact(server, "/a"), tmp_path).read_bytes() == CONTENT


def test_redirects(server, tmp_path):
    server.routes["/a"] = loopback.redirect("/b")
    server.routes["/b"] = loopback.redirect(server.url("/c"))
    server.routes["/c"] = loopback.file(CONTENT, cuts=[400_000])
    assert fetch(artefact(server, "/a"), tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/a", "/b", "/c"] * 2


@pytest.mark.parametrize("address", ["/a", "file:///etc/passwd", "http://"])
def test_redirects_to_nowhere(server, tmp_path, address):
    server.routes["/a"] = loopback.redirect(address)
    server.routes["/good"] = loopback.file(CONTENT)
    assert fetch(artefact(server, "/a", "/good"), tmp_path).read_bytes() == CONTENT


def test_missing_then_mirror(server, tmp_path):
    server.routes["/b"] = loopback.file(CONTENT)
    assert fetch(artefact(server, "/gone", "/b"), tmp_path).read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/gone", "/b"]


def test_busy_server(server, tmp_path, pauses):
    answers = [503, 429, 500]

    def busy(handler):
        if answers:
            loopback.answer(handler, answers.pop(0))
        else:
            loopback.file(CONTENT)(handler)

    server.routes["/a"] = busy
    assert fetch(artefact(server, "/a"), tmp_path).read_bytes() == CONTENT
    assert pauses == [1.0, 2.0, 4.0]


def test_mirror_continues_what_another_began(server, tmp_path):
    server.routes["/a"] = loopback.file(CONTENT, cuts=[400_000] + [0] * 99)
    server.routes["/b"] = loopback.file(CONTENT)
    assert fetch(artefact(server, "/a", "/b"), tmp_path).read_bytes() == CONTENT
    assert server.requests[-1][1] is not None


def test_pieces_of_different_versions_are_fetched_again(server, tmp_path):
    (tmp_path / "toy.bin.part").write_bytes(OTHER[:300_000])
    server.routes["/a"] = loopback.file(CONTENT)
    assert fetch(artefact(server, "/a"), tmp_path).read_bytes() == CONTENT
    assert [span is None for _, span in server.requests] == [False, True]


def test_unending_mixture_ends(server, tmp_path):
    """Wrong bytes and a cut each time: two rounds, not more."""
    server.routes["/a"] = loopback.file(OTHER, cuts=[400_000, None, 400_000, None])
    assert "delivers a wrong file" in failure_of(artefact(server, "/a"), tmp_path)
    assert len(server.requests) == 4


@pytest.mark.parametrize("size", [700_001, 800_000])
def test_bad_complete_or_too_long_part(server, tmp_path, size):
    (tmp_path / "toy.bin.part").write_bytes(bytes(size))
    server.routes["/a"] = loopback.file(CONTENT)
    assert fetch(artefact(server, "/a"), tmp_path).read_bytes() == CONTENT


def test_good_complete_part_needs_no_request(server, tmp_path):
    (tmp_path / "toy.bin.part").write_bytes(CONTENT)
    assert fetch(artefact(server, "/a"), tmp_path).read_bytes() == CONTENT
    assert server.requests == []


def test_server_that_continues_at_a_wrong_place(server, tmp_path):
    good = loopback.file(CONTENT)

    def wrong(handler):
        if handler.headers["Range"]:
            span = f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}"
            loopback.answer(handler, 206, CONTENT[5:], Content_Range=span)
        else:
            good(handler)

    (tmp_path / "toy.bin.part").write_bytes(CONTENT[:1000])
    server.routes["/a"] = wrong
    assert fetch(artefact(server, "/a"), tmp_path).read_bytes() == CONTENT


VALIDATORS = [{"ETag": '"v1"'}, {"Last_Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}]


@pytest.mark.parametrize("headers", VALIDATORS)
def test_without_checksum_the_server_must_confirm_the_version(server, tmp_path, headers):
    server.routes["/a"] = loopback.file(CONTENT, cuts=[400_000] + [0] * 99, **headers)
    failure_of(unpublished(server, "/a"), tmp_path)
    server.requests.clear()
    server.routes["/a"] = loopback.file(CONTENT, **headers)
    assert fetch(unpublished(server, "/a"), tmp_path).read_bytes() == CONTENT
    assert server.requests[0][1] is not None


@pytest.mark.parametrize("headers", [*VALIDATORS, {"ETag": 'W/"v1"'}, {}])
def test_without_checksum_versions_are_never_mixed(server, tmp_path, headers):
    server.routes["/a"] = loopback.file(OTHER, cuts=[400_000] + [0] * 99, **headers)
    failure_of(unpublished(server, "/a"), tmp_path)
    newer = {"ETag": '"v2"'} if headers else {}
    server.routes["/a"] = loopback.file(CONTENT, **newer)
    assert fetch(unpublished(server, "/a"), tmp_path).read_bytes() == CONTENT


def test_complete_part_of_unknown_size(server, tmp_path):
    """Killed between the last byte and the renaming: the server says that nothing is left."""
    server.routes["/a"] = loopback.file(CONTENT, ETag='"v1"', cuts=[400_000] + [0] * 99)
    failure_of(unpublished(server, "/a"), tmp_path)
    (tmp_path / "toy.bin.part").write_bytes(CONTENT)
    server.routes["/a"] = loopback.file(CONTENT, ETag='"v1"')
    served = server.body_bytes
    assert fetch(unpublished(server, "/a"), tmp_path).read_bytes() == CONTENT
    assert server.body_bytes == served


def test_checksum_is_recorded_at_first_use(server, tmp_path):
    server.routes["/a"] = loopback.file(CONTENT)
    path = fetch(unpublished(server, "/a"), tmp_path)
    record = tmp_path / "toy.bin.sha256"
    assert record.read_text() == f"{SHA256}  toy.bin\n"
    subprocess.run(["sha256sum", "--check", "--quiet", record], cwd=tmp_path, check=True)
    assert fetch(unpublished(server, "/a"), tmp_path) == path
    path.write_bytes(OTHER)
    message = failure_of(unpublished(server, "/a"), tmp_path)
    assert "recorded in" in message and "remove it and fetch it again" in message


def test_recorded_checksum_guards_later_downloads(server, tmp_path):
    server.routes["/a"] = loopback.file(CONTENT)
    fetch(unpublished(server, "/a"), tmp_path).unlink()
    server.routes["/a"] = loopback.file(OTHER)
    assert f"recorded in {tmp_path}" in failure_of(unpublished(server, "/a"), tmp_path)
    assert names_in(tmp_path) == ["toy.bin.sha256"]


def test_published_checksums_need_no_record(server, tmp_path):
    server.routes["/a"] = loopback.file(CONTENT)
    fetch(artefact(server, "/a", sha256=None, md5=MD5.upper()), tmp_path)
    assert names_in(tmp_path) == ["toy.bin"]


def test_broken_record(server, tmp_path):
    (tmp_path / "toy.bin").write_bytes(CONTENT)
    (tmp_path / "toy.bin.sha256").write_text("garbage")
    assert "not a sha256 record" in failure_of(unpublished(server, "/a"), tmp_path)


def test_wrong_file_in_place(server, tmp_path):
    (tmp_path / "toy.bin").write_bytes(OTHER)
    message = failure_of(artefact(server, "/a"), tmp_path)
    assert "not the expected toy.bin" in message and "remove it" in message
    assert (tmp_path / "toy.bin").read_bytes() == OTHER


def test_from_file(server, tmp_path):
    given = tmp_path / "by hand.bin"
    given.write_bytes(CONTENT)
    assert fetch(artefact(server, "/a"), tmp_path / "cache", from_file=given) == given
    given.write_bytes(CONTENT[:-1])
    message = failure_of(artefact(server, "/a"), tmp_path / "cache", from_file=given)
    assert "700000 bytes instead of 700001" in message
    message = failure_of(artefact(server, "/a"), tmp_path, from_file=tmp_path / "absent")
    assert "no such file" in message
    assert server.requests == []


def test_from_file_is_recorded_too(server, tmp_path):
    given = tmp_path / "given.bin"
    given.write_bytes(CONTENT)
    fetch(unpublished(server), tmp_path / "cache", from_file=given)
    given.write_bytes(OTHER)
    assert "recorded in" in failure_of(unpublished(server), tmp_path / "cache", from_file=given)


def test_offline_tells_what_to_fetch_and_where_to_put_it(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    url = f"http://127.0.0.1:{port}/toy.bin"
    wanted = Artefact("toy weights", "toy.bin", (url,), 700_001, SHA256, None, "Licence: none.")
    message = failure_of(wanted, tmp_path / "cache")
    for part in (
        "toy weights could not be downloaded",
        f"no connection to 127.0.0.1:{port}",
        f"Fetch toy.bin (700001 bytes, sha256 {SHA256}) by hand from {url}",
        f"put it at {tmp_path / 'cache' / 'toy.bin'}",
        "--from-file",
        "Licence: none.",
    ):
        assert part in message


def test_artefact_behind_a_login(tmp_path):
    wanted = Artefact("cityscapes", "left.zip", (), None, None, None, "Log in at example.org.")
    message = failure_of(wanted, tmp_path / "cache")
    assert "left.zip" in message and "--from-file" in message and "Log in" in message
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("name", ["", "..", "a/b", "/etc/passwd"])
def test_file_name_must_be_plain(name):
    with pytest.raises(ValueError, match="plain file name"):
        Artefact("x", name, ())


def test_disk_space_is_checked_first(server, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**6, 500_000, 500_000))
    server.routes["/a"] = loopback.file(CONTENT)
    message = failure_of(artefact(server, "/a"), tmp_path)
    assert "700001 more bytes are needed and 500000 are free" in message
    assert server.requests == []
    message = failure_of(unpublished(server, "/a"), tmp_path)  # the size comes from the server
    assert "700001 more bytes are needed" in message
    assert names_in(tmp_path) == []
    (tmp_path / "toy.bin.part").write_bytes(CONTENT[:300_000])
    assert fetch(artefact(server, "/a"), tmp_path).read_bytes() == CONTENT


def test_two_programs_do_not_write_one_file(server, tmp_path):
    with open(tmp_path / "toy.bin.part", "ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another program" in failure_of(artefact(server, "/a"), tmp_path)
    server.routes["/a"] = loopback.file(CONTENT)
    assert fetch(artefact(server, "/a"), tmp_path).read_bytes() == CONTENT


FORM = """<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<p class="uc-warning-caption">Google Drive can't scan this file for viruses.</p>
<form action="/login"><input type="hidden" name="x" value="1"></form>
<form id="download-form" action="{action}" method="get"><input type="submit" value="Download">
<input type="hidden" name="id" value="ID&amp;1"><input type="hidden" name="confirm" value="t">
<input type="hidden" name="uuid" value="12-34"></form></body></html>"""
LINK = """<html><a href="/help">Help</a><a id="uc-download-link"
href="/uc?export=download&amp;confirm=Ab_c&amp;id=ID">Download anyway</a></html>"""


def drive(confirmed, warning):
    def route(handler):
        (confirmed if "confirm=" in handler.path else warning)(handler)

    return route


@pytest.mark.parametrize("text", [FORM.format(action="/uc"), LINK], ids=["form", "link"])
def test_google_drive_confirmation(server, tmp_path, text):
    """Also over a cut: the page comes again, and the range goes to the confirmed address."""
    content = loopback.file(CONTENT, cuts=[400_000])
    server.routes["/uc"] = drive(content, loopback.page(text))
    assert fetch(artefact(server, "/uc"), tmp_path).read_bytes() == CONTENT
    paths = [path for path, _ in server.requests]
    assert len(paths) == 4 and paths[1] == paths[3]
    assert paths[1] in ("/uc?id=ID%261&confirm=t&uuid=12-34",
                        "/uc?export=download&confirm=Ab_c&id=ID")  # fmt: skip
    assert server.requests[3][1] is not None


def test_google_drive_confirmation_with_a_cookie(server, tmp_path):
    def confirmed(handler):
        good = "download_warning=yes" in (handler.headers["Cookie"] or "")
        (loopback.file(CONTENT) if good else loopback.page("no cookie"))(handler)

    warning = loopback.page(LINK, Set_Cookie="download_warning=yes; Path=/")
    server.routes["/uc"] = drive(confirmed, warning)
    assert fetch(artefact(server, "/uc"), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [200, 403, 429])
def test_google_drive_quota(server, tmp_path, status):
    text = """<title>Google Drive - Quota exceeded</title><p class="uc-error-subcaption">Too many
        users have viewed or downloaded this file recently.</p>"""
    server.routes["/uc"] = loopback.page(text, status)
    message = failure_of(artefact(server, "/uc"), tmp_path)
    assert "quota for this file is used up" in message and "--from-file" in message
    assert names_in(tmp_path) == [] and len(server.requests) == 1


def test_confirmation_that_repeats_for_ever(server, tmp_path):
    server.routes["/uc"] = loopback.page(LINK)
    assert "one web page after another" in failure_of(artefact(server, "/uc"), tmp_path)


def test_other_web_pages_are_not_taken_for_the_file(server, tmp_path):
    server.routes["/a"] = loopback.page("<html>Please log in to the hotel network</html>")
    server.routes["/b"] = loopback.page(FORM.format(action="http://localhost:1/x"))
    message = failure_of(artefact(server, "/a", "/b"), tmp_path)
    assert "a web page instead of the file" in message and "leads elsewhere" in message
    assert names_in(tmp_path) == []


def test_a_web_page_may_be_what_is_wanted(server, tmp_path):
    server.routes["/a"] = loopback.page("<html>Hello</html>")
    wanted = Artefact("page", "page.html", (server.url("/a"),))
    assert fetch(wanted, tmp_path).read_text() == "<html>Hello</html>"


def test_proxy_of_the_environment_is_used(server, tmp_path, monkeypatch):
    """The request for a host that does not exist arrives at the proxy."""
    monkeypatch.setenv("http_proxy", server.address)
    server.routes["http://nowhere.invalid/toy"] = loopback.file(CONTENT)
    wanted = Artefact("toy", "toy.bin", ("http://nowhere.invalid/toy",), None, SHA256)
    assert fetch(wanted, tmp_path).read_bytes() == CONTENT


def test_import_opens_no_connection():
    program = (
        "import socket\ndef refuse(*_): raise SystemExit('connects')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\nimport dnnlib.downloads"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
