"""Data sets by name, from a server of our own."""

import dataclasses
import hashlib
import http.server
import re
import shutil
import threading
from functools import partial

import pytest

import datasets
from datasets.catalogue import CATALOGUE
from tests.datasets.conftest import expect, prepare_data
from tests.datasets.test_dataset import TINY


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(tmp_path):
    """A web server of the folder tmp_path/web; gives its address."""
    (tmp_path / "web").mkdir()
    handler = partial(QuietHandler, directory=str(tmp_path / "web"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def publish(name, path, url, monkeypatch, **changes):
    """Let the catalogue entry `name` point at a file on our server."""
    content = path.read_bytes()
    artefact = dataclasses.replace(
        CATALOGUE[name].artefact,
        urls=(f"{url}/missing.tgz", f"{url}/{path.name}"),
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        md5=None,
    )
    artefact = dataclasses.replace(artefact, **changes)
    monkeypatch.setitem(CATALOGUE, name, dataclasses.replace(CATALOGUE[name], artefact=artefact))


def cartoonset(pictures, tmp_path):
    folder = tmp_path / "in" / "cartoonset10k"
    folder.mkdir(parents=True)
    for number, path in enumerate(sorted(pictures.rglob("*.webp"))[:8]):
        shutil.copy(path, folder / f"cs{number}.png")
        (folder / f"cs{number}.csv").write_text(f'"glasses", {number % 2}, 12\n"hair", 3, 111\n')
    return shutil.make_archive(str(tmp_path / "web" / "cartoonset10k"), "gztar", tmp_path / "in")


def test_cartoon_set_by_name_with_labels(server, pictures, tmp_path, monkeypatch):
    path = tmp_path / "web" / "cartoonset10k.tar.gz"
    cartoonset(pictures, tmp_path)
    publish("cartoonset10k", path, server, monkeypatch)
    out = tmp_path / "data" / "cartoons"
    found = prepare_data("cartoonset10k", "--out", out, "--resolution", 16, "--labels", "glasses")
    assert found.returncode == 0, found.stderr
    assert "glasses=1" in found.stdout
    dataset = datasets.open_dataset(out)
    assert dataset.name == "cartoonset10k" and dataset.count == 8 and dataset.label_dim == 12
    assert (tmp_path / "data" / "downloads" / "cartoonset10k" / "cartoonset10k.tgz").exists()
    path.unlink()  # nothing is fetched twice
    again = prepare_data("cartoonset10k", "--out", out, "--resolution", 16, "--labels", "glasses")
    assert again.returncode == 0 and "already there" in again.stdout


def test_the_authors_record_files_by_name(server, tmp_path, monkeypatch):
    """clevr.zip holds clevr-rNN.tfrecordsIofN; the ratio of the crop is known by name."""
    (tmp_path / "in").mkdir()
    for path in TINY.glob("tiny-r04*"):
        shutil.copy(path, tmp_path / "in" / path.name.replace("tiny", "clevr"))
    archive = shutil.make_archive(str(tmp_path / "web" / "clevr"), "zip", tmp_path / "in")
    publish("clevr-official", tmp_path / "web" / "clevr.zip", server, monkeypatch)
    out = tmp_path / "set"
    found = prepare_data("clevr-official", "--out", out, "--resolution", 16)
    assert found.returncode == 0, (archive, found.stderr)
    dataset = datasets.open_dataset(out)
    assert dataset.count == 10 and dataset.ratio == 0.75


def test_the_crop_of_the_authors_is_the_default(server, pictures, tmp_path, monkeypatch):
    cartoonset(pictures, tmp_path)
    publish("clevr", tmp_path / "web" / "cartoonset10k.tar.gz", server, monkeypatch)
    prepare_data("clevr", "--out", tmp_path / "a", "--resolution", 16)
    assert datasets.open_dataset(tmp_path / "a").ratio == 0.75
    prepare_data("clevr", "--out", tmp_path / "b", "--resolution", 16, "--crop", "square")
    assert datasets.open_dataset(tmp_path / "b").ratio == 1.0


def test_files_fetched_by_hand(server, pictures, tmp_path, monkeypatch):
    cartoonset(pictures, tmp_path)
    path = tmp_path / "web" / "cartoonset10k.tar.gz"
    publish("cartoonset10k", path, server, monkeypatch, urls=())
    out = tmp_path / "set"
    expect(prepare_data("cartoonset10k", "--out", out), "cartoonset10k.tgz", "--from-file")
    expect(prepare_data("cartoonset10k", "--out", out, "--from-file", tmp_path / "no"), "no such")
    found = prepare_data("cartoonset10k", "--out", out, "--from-file", path, "--resolution", 8)
    assert found.returncode == 0
    (tmp_path / "other").write_bytes(path.read_bytes()[:-1])
    expect(
        prepare_data("cartoonset10k", "--out", tmp_path / "x", "--from-file", tmp_path / "other"),
        "not the expected",
    )


def test_a_misspelt_name_gets_a_hint(tmp_path):
    expect(prepare_data("cartonset10k", "--out", tmp_path / "x"), 'did you mean "cartoonset10k"?')


def test_the_catalogue_is_well_formed():
    for name, entry in CATALOGUE.items():
        artefact = entry.artefact
        assert re.fullmatch(r"[a-z0-9-]+", name) and entry.description
        assert artefact.sha256 is None or re.fullmatch(r"[0-9a-f]{64}", artefact.sha256)
        assert artefact.md5 is None or re.fullmatch(r"[0-9a-f]{32}", artefact.md5)
        assert artefact.sha256 or artefact.md5 or not artefact.urls
        assert entry.ratio is None or 0 < entry.ratio < 1
