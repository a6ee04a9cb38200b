"""Archives: every entry is used, or named and counted; damage is an error, whatever packs it."""

import bz2
import gzip
import io
import lzma
import stat
import tarfile
import zipfile

import numpy as np
import pytest
from PIL import Image

from datasets.sources.recognition import open_source
from dnnlib.errors import UserError
from tests.datasets.conftest import expect, prepare_data

PACKERS = {"tar": bytes, "gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
PACKERS["lzma"] = lambda content: lzma.compress(content, format=lzma.FORMAT_ALONE)


def image_bytes(number: int) -> bytes:
    pixels = np.random.RandomState(number).randint(0, 256, (8, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def tar_of(
    entries: list[tuple[str, bytes | tarfile.TarInfo]], format=tarfile.USTAR_FORMAT
) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as archive:
        for name, content in entries:
            info = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if isinstance(content, bytes) else None)
    return file.getvalue()


def link(name: str, target: str, kind: bytes) -> tuple[str, tarfile.TarInfo]:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return name, info


@pytest.fixture(scope="module")
def forty() -> bytes:
    return tar_of([(f"img{number:02d}.png", image_bytes(number)) for number in range(40)])


def offsets(content: bytes) -> list[int]:
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return [member.offset for member in archive]


DAMAGES = {
    "bit in a checksum": lambda c, o: (
        c[: o[20] + 150] + bytes([c[o[20] + 150] ^ 7]) + c[o[20] + 151 :]
    ),
    "bit in a name": lambda c, o: c[: o[20]] + bytes([c[o[20]] ^ 1]) + c[o[20] + 1 :],
    "cut in a header": lambda c, o: c[: o[20] + 100],
    "cut between entries": lambda c, o: c[: o[20]],
    "cut in an image": lambda c, o: c[: o[20] + 600],
    "zeros for a header": lambda c, o: c[: o[20]] + bytes(512) + c[o[20] + 512 :],
    "two joined": lambda c, o: c + c,
}


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_tars(forty, tmp_path, damage, packing):
    path = tmp_path / f"a.{packing}"
    path.write_bytes(PACKERS[packing](DAMAGES[damage](forty, offsets(forty))))
    expect(prepare_data(path, "--out", tmp_path / "set"), path, "damaged")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("packing", ["gz", "bz2", "xz", "lzma"])
@pytest.mark.parametrize("damage", ["cut", "bits in the middle", "bits at the start"])
def test_damaged_packing(forty, tmp_path, packing, damage):
    content = bytearray(PACKERS[packing](forty))
    place = len(content) // 2 if damage == "bits in the middle" else 20
    content[place : place + 8] = bytes(value ^ 255 for value in content[place : place + 8])
    if damage == "cut":
        content = bytearray(PACKERS[packing](forty))[: len(content) * 2 // 3]
    path = tmp_path / "a.tar"
    path.write_bytes(bytes(content))
    expect(prepare_data(path, "--out", tmp_path / "set"), path, "damaged")


@pytest.mark.parametrize("packing", PACKERS)
def test_whole_tars_of_all_formats(forty, tmp_path, packing):
    for number, format in enumerate((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        long = "folder/" * 20 + "x" * 120 + ".png"
        name = long if format != tarfile.USTAR_FORMAT else "short.png"
        content = tar_of([("a.png", image_bytes(1)), (name, image_bytes(2))], format)
        path = tmp_path / f"{number}.bin"
        path.write_bytes(PACKERS[packing](content))
        items = list(open_source(str(path), tmp_path).items())
        assert [item.name for item in items] == sorted(["a.png", name])
        assert {item.content.load() for item in items} == {image_bytes(1), image_bytes(2)}


def test_a_packed_file_that_is_no_archive(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(image_bytes(0)))
    expect(prepare_data(tmp_path / "a.gz", "--out", tmp_path / "set"), "a.gz", "holds no tar")


def test_links_in_tars(tmp_path):
    """A hard or symbolic link to an image of the archive is that image; others are counted."""
    entries = [
        ("h/a/0.png", image_bytes(0)),
        ("h/a/1.png", image_bytes(1)),
        link("h/b/0.png", "h/a/0.png", tarfile.LNKTYPE),
        link("h/b/1.png", "../a/1.png", tarfile.SYMTYPE),
        link("h/b/2.png", "0.png", tarfile.SYMTYPE),  # of a link
        link("h/b/3.png", "/etc/passwd", tarfile.SYMTYPE),
        link("h/b/4.png", "4.png", tarfile.SYMTYPE),  # of itself
        link("h/c", "a", tarfile.SYMTYPE),  # of a folder
        link("h/d.png", "", tarfile.FIFOTYPE),
        link("h/e.png", "", tarfile.CHRTYPE),
    ]
    path = tmp_path / "h.tar"
    path.write_bytes(tar_of(entries))
    found = {item.name: item.content for item in open_source(str(path), tmp_path).items()}
    contents = {name: found[name].load() for name in list(found)[:5]}
    images = [image_bytes(n) for n in (0, 1, 0, 1, 0)]
    assert list(contents.values()) == images
    done = prepare_data(path, "--out", tmp_path / "set", "--labels", "folders", "--resolution", 8)
    assert (
        done.returncode == 0 and "prepared: 5 images" in done.stdout and "skipped 5" in done.stdout
    )
    for words in (
        "h/b/3.png: a link to etc/passwd, which is no file of the archive",
        "h/c: a link to h/a",
        "h/d.png: a named pipe",
        "h/e.png: a device",
    ):
        assert words in done.stdout


def zip_of(path, entries):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for entry, content in entries:
            archive.writestr(entry, content)


def test_links_in_zips(tmp_path):
    info = zipfile.ZipInfo("b/link.png")
    info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    lost = zipfile.ZipInfo("b/lost.png")
    lost.create_system, lost.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    zip_of(tmp_path / "a.zip", [("a/0.png", image_bytes(0)), (info, "../a/0.png"), (lost, "gone")])
    items = list(open_source(str(tmp_path / "a.zip"), tmp_path).items())
    assert [item.name for item in items] == ["a/0.png", "b/link.png", "b/lost.png"]
    assert items[1].content.load() == image_bytes(0)
    assert "a link to b/gone" in items[2].content.reason


NAMES = {
    "dots": (["./a.png", "./b.png"], ["a.png", "b.png"]),
    "above": (["../p/a.png", "../p/b.png"], ["../p/a.png", "../p/b.png"]),
    "backslashes": (["p\\cat\\1.png", "p\\dog\\1.png"], ["p/cat/1.png", "p/dog/1.png"]),
    "absolute": (["/p/a.png", "C:\\p\\b.png"], ["C:/p/b.png", "p/a.png"]),
    "spaces and umlauts": (["ä b.png", "日本.png"], ["ä b.png", "日本.png"]),
    "both ways": (["a/b.png", "a\\b.png"], ["a/b.png", "a\\b.png"]),
}


@pytest.mark.parametrize("kind", ["zip", "tar"])
@pytest.mark.parametrize("names", NAMES)
def test_names_of_entries(tmp_path, kind, names):
    stored, expected = NAMES[names]
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        zip_of(path, [(name, image_bytes(number)) for number, name in enumerate(stored)])
    else:
        entries = [(name, image_bytes(number)) for number, name in enumerate(stored)]
        path.write_bytes(tar_of(entries, tarfile.PAX_FORMAT))
    items = list(open_source(str(path), tmp_path).items())
    assert [item.name for item in items] == expected
    assert {item.content.load() for item in items} == {image_bytes(0), image_bytes(1)}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_entry_that_is_there_twice(tmp_path, kind):
    """The last one counts, as when unpacking, and that is said."""
    entries = [("a.png", image_bytes(0)), ("b.png", image_bytes(1)), ("./a.png", image_bytes(2))]
    path = tmp_path / f"a.{kind}"
    if kind == "zip":
        zip_of(path, entries)
    else:
        path.write_bytes(tar_of(entries))
    source = open_source(str(path), tmp_path)
    assert [item.content.load() for item in source.items()] == [image_bytes(2), image_bytes(1)]
    assert source.remarks == ["1 entries are there more than once, such as a.png; the last one of "
                              "each is used"]  # fmt: skip


def test_damaged_zips(tmp_path):
    path = tmp_path / "a.zip"
    zip_of(path, [(f"{number}.png", image_bytes(number)) for number in range(9)])
    whole = path.read_bytes()
    start = whole.index(b"PK\1\2")
    end = whole.index(b"PK\5\6")
    shorter = bytearray(whole)  # a list that ends after 8 of 9 entries
    entry = whole.rindex(b"PK\1\2")
    shorter[end + 12 : end + 16] = (entry - start).to_bytes(4, "little")
    for content in (
        whole[:-30],
        whole[: len(whole) // 2],
        whole[: start + 1] + b"\0" + whole[start + 2 :],
        whole[:entry] + whole[end : end + 12] + bytes(shorter[end + 12 :]),
    ):
        path.write_bytes(content)
        expect(prepare_data(path, "--out", tmp_path / "set"), path, "damaged")


def test_an_entry_that_unpacks_to_more_than_it_says(tmp_path):
    """A zip bomb is one entry that cannot be used."""
    path = tmp_path / "a.zip"
    zip_of(path, [("a.png", image_bytes(0)), ("b.png", image_bytes(1) + bytes(10**7))])
    content = bytearray(path.read_bytes())
    entry = content.rindex(b"PK\1\2")
    content[entry + 24 : entry + 28] = (2000).to_bytes(4, "little")  # its size, unpacked
    path.write_bytes(bytes(content))
    done = prepare_data(path, "--out", tmp_path / "set", "--resolution", 8)
    assert "prepared: 1 images" in done.stdout and "b.png: damaged" in done.stdout


def test_archives_inside_an_archive_are_named(tmp_path):
    zip_of(tmp_path / "in.zip", [("a.png", image_bytes(0))])
    zip_of(tmp_path / "out.zip", [("part1.zip", (tmp_path / "in.zip").read_bytes())])
    expect(
        prepare_data(tmp_path / "out.zip", "--out", tmp_path / "set"), "part1.zip", "unpack them"
    )


def test_what_is_left_aside_is_counted(tmp_path):
    entries = [
        "a.png",
        "__MACOSX/._a.png",
        ".DS_Store",
        "@eaDir/a.png",
        "readme.txt",
    ]
    zip_of(tmp_path / "a.zip", [(name, image_bytes(0)) for name in entries])
    source = open_source(str(tmp_path / "a.zip"), tmp_path)
    assert [item.name for item in source.items()] == ["a.png"]
    assert source.left_aside.describe() == [
        "2 files of the system, such as @eaDir/a.png",
        "1 files that are no images, such as readme.txt",
        "1 hidden files, such as .DS_Store",
    ]


def test_the_index_of_an_archive_is_an_error_of_the_user(tmp_path):
    (tmp_path / "a.tar").write_bytes(b"not an archive at all")
    with pytest.raises(UserError, match="damaged archive"):
        open_source(str(tmp_path / "a.tar"), tmp_path)


@pytest.mark.parametrize(
    ("start", "word"),
    [(b"\x28\xb5\x2f\xfd", "zstd"), (b"7z\xbc\xaf\x27\x1c", "7-Zip"), (b"Rar!\x1a\7", "RAR")],
)
def test_archives_that_are_not_read(tmp_path, start, word):
    (tmp_path / "a.tar.x").write_bytes(start + bytes(100))
    expect(prepare_data(tmp_path / "a.tar.x", "--out", tmp_path / "set"), word, "unpack it")


@pytest.mark.parametrize("inside", ["zip", "npz"])
@pytest.mark.parametrize("packing", PACKERS)
def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path, inside, packing):
    file = io.BytesIO()
    name = {"zip": "in.png", "npz": "in.npy"}[inside]
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(name, image_bytes(2))
    entries = [("0.png", image_bytes(0)), ("1.png", image_bytes(1)), ("z.zip", file.getvalue())]
    path = tmp_path / "a"
    path.write_bytes(PACKERS[packing](tar_of(entries)))
    source = open_source(str(path), tmp_path)
    assert [item.name for item in source.items()] == ["0.png", "1.png"]
    assert source.left_aside.describe() == [
        "1 archives (unpack them, or give each by itself), such as z.zip"
    ]


def test_a_hard_link_to_what_is_replaced_later(tmp_path):
    """It stays what it was, as tar unpacks it."""
    entries = [
        ("a.png", image_bytes(0)),
        link("b.png", "a.png", tarfile.LNKTYPE),
        ("a.png", image_bytes(1)),
    ]
    (tmp_path / "a.tar").write_bytes(tar_of(entries))
    found = [item.content.load() for item in open_source(str(tmp_path / "a.tar"), tmp_path).items()]
    assert found == [image_bytes(1), image_bytes(0)]


@pytest.mark.parametrize(
    ("kind", "words"), [(b"V", "the label of the archive"), (b"D", "a list of a folder")]
)
def test_other_entries_of_tars_are_named(tmp_path, kind, words):
    entries = [("a.png", image_bytes(0)), link("name", "", kind), link("odd", "", b"Z")]
    (tmp_path / "a.tar").write_bytes(tar_of(entries))
    source = open_source(str(tmp_path / "a.tar"), tmp_path)
    reasons = [item.content.reason for item in list(source.items())[1:]]
    assert reasons == [f"{words}, no file", "of type b'Z', no file"]


def test_a_zip_whose_entries_lie_before_its_start(tmp_path):
    path = tmp_path / "a.zip"
    content = bytearray(zip_of(path, [("a.png", image_bytes(0))]) or path.read_bytes())
    content[content.rfind(b"PK\5\6") + 16] += 1  # where the list starts
    path.write_bytes(content)
    expect(prepare_data(path, "--out", tmp_path / "set"), "a.png: cut off (it lies outside")
