"""Unpacking: what is accepted, and hostile archives that must leave nothing behind."""

import bz2
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import tracemalloc
import zipfile

import pytest

from dnnlib.archives import extract
from dnnlib.errors import UserError

FILES = {"cs/a.png": b"first", "cs/deep/b c.csv": bytes(200_000), "cs/\u00e9.txt": b"", "d": b"x"}
TOTAL = sum(map(len, FILES.values()))


def tar_of(entries, mode="w", **options) -> bytes:
    """entries: TarInfo or (name, content)."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, **options) as archive:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                archive.addfile(entry)
                continue
            info = tarfile.TarInfo(entry[0])
            info.size = len(entry[1])
            archive.addfile(info, io.BytesIO(entry[1]))
    return file.getvalue()


def zip_of(entries, compression=zipfile.ZIP_DEFLATED) -> bytes:
    """entries: (name or ZipInfo, content)."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, content)
    return file.getvalue()


def special(name, kind, target="") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def unpacked(directory) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


def write(tmp_path, content):
    path = tmp_path / "archive"  # the kind is told by the content
    path.write_bytes(content)
    return path


def failure_of(tmp_path, content, max_bytes=10**6) -> str:
    """Return the message, after checking that nothing stays behind or appears elsewhere."""
    archive = write(tmp_path, content)
    before = [path for path in sorted(tmp_path.rglob("*")) if path.name != "inner"]
    with pytest.raises(UserError) as caught:
        extract(archive, tmp_path / "inner" / "out", max_bytes=max_bytes)
    after = [path for path in sorted(tmp_path.rglob("*")) if path.name != "inner"]
    assert after == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


GOOD = {
    "zip": lambda: zip_of([("cs/", b""), *FILES.items()]),
    "stored zip": lambda: zip_of(FILES.items(), zipfile.ZIP_STORED),
    "tar": lambda: tar_of([special("cs", tarfile.DIRTYPE), *FILES.items()]),
    "pax tar": lambda: tar_of(FILES.items(), format=tarfile.PAX_FORMAT),
    "gnu tar": lambda: tar_of(FILES.items(), format=tarfile.GNU_FORMAT),
    "tar.gz": lambda: tar_of(FILES.items(), "w:gz"),
    "tar.bz2": lambda: tar_of(FILES.items(), "w:bz2"),
    "tar.xz": lambda: tar_of(FILES.items(), "w:xz"),
}


@pytest.mark.parametrize("kind", GOOD)
def test_archives_of_every_kind(tmp_path, kind):
    archive = write(tmp_path, GOOD[kind]())
    target = tmp_path / "new" / "out"
    assert extract(archive, target, max_bytes=TOTAL) == target
    assert unpacked(target) == FILES
    assert os.listdir(target.parent) == ["out"]


@pytest.mark.parametrize("kind", GOOD)
def test_one_byte_too_many(tmp_path, kind):
    assert "more than the" in failure_of(tmp_path, GOOD[kind](), max_bytes=TOTAL - 1)


@pytest.mark.parametrize("kind", GOOD)
def test_cut_short(tmp_path, kind):
    content = GOOD[kind]()
    lengths = [5, 100, len(content) // 2]
    if kind not in ("tar", "pax tar", "gnu tar"):  # these end in many zeros
        lengths += [len(content) - 12, len(content) - 1]
    for length in lengths:
        assert "damaged" in failure_of(tmp_path, content[:length])


def test_tar_cut_between_two_members(tmp_path):
    """tarfile itself takes this for the end."""
    content = tar_of([("a", bytes(512)), ("b", bytes(512))])
    assert "cut short" in failure_of(tmp_path, content[:1024])
    broken = content[:1024] + b"broken header".ljust(512) + content[1536:]
    assert "cut short" in failure_of(tmp_path, broken)


def test_long_and_odd_names(tmp_path):
    files = {"a" * 200 + "/" + "b" * 200: b"1", "./c": b"2", "..d/e..": b"3"}
    files |= {"h//i": b"5"}
    expected = {"c" if k == "./c" else "h/i" if k == "h//i" else k: v for k, v in files.items()}
    extract(write(tmp_path, tar_of(files.items())), tmp_path / "out", max_bytes=100)
    assert unpacked(tmp_path / "out") == expected


def test_directory_must_be_new_or_empty(tmp_path):
    archive, target = write(tmp_path, GOOD["zip"]()), tmp_path / "out"
    target.mkdir()
    extract(archive, target, max_bytes=TOTAL)
    with pytest.raises(UserError, match="not an empty directory"):
        extract(archive, target, max_bytes=TOTAL)
    with pytest.raises(UserError, match="no such file"):
        extract(tmp_path / "absent", target, max_bytes=TOTAL)
    assert unpacked(target) == FILES


UNSAFE_NAMES = [
    "/tmp/absolute",
    "../sibling",
    "a/../../sibling",
    "a/..",
    "..",
    "..\\windows",
    "C:/windows",
    "new\nline",
    "escape\x1b[31m",
    "x" * 256,
    "/".join(["y"] * 600),
]


@pytest.mark.parametrize("name", UNSAFE_NAMES)
@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_unsafe_names(tmp_path, name, make):
    content = make([("good", b"1"), (name, b"evil")])
    assert "unsafe name" in failure_of(tmp_path, content)


@pytest.mark.parametrize(
    "entry",
    [
        special("link", tarfile.SYMTYPE, "/etc"),
        special("link", tarfile.SYMTYPE, "good"),
        special("link", tarfile.LNKTYPE, "good"),
        special("device", tarfile.CHRTYPE),
        special("device", tarfile.BLKTYPE),
        special("pipe", tarfile.FIFOTYPE),
    ],
    ids=lambda entry: f"{entry.name} {entry.type.decode()} {entry.linkname}",
)
def test_links_and_devices_in_tar(tmp_path, entry):
    content = tar_of([("good", b"1"), entry, (f"{entry.name}/passwd", b"evil")])
    assert "link or device" in failure_of(tmp_path, content)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFSOCK])
def test_links_and_devices_in_zip(tmp_path, kind):
    info = zipfile.ZipInfo("link")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    assert "link or device" in failure_of(tmp_path, zip_of([(info, b"/etc/passwd")]))


def test_permissions_are_not_taken_over(tmp_path):
    entry = tarfile.TarInfo("program")
    entry.mode = 0o6777
    extract(write(tmp_path, tar_of([entry])), tmp_path / "out", max_bytes=0)
    assert stat.S_IMODE((tmp_path / "out" / "program").stat().st_mode) & 0o7111 == 0


@pytest.mark.parametrize(
    "entries",
    [[("a", b"1"), ("a", b"2")], [("a", b"1"), ("a/b", b"2")], [("a/b", b"1"), ("a", b"")]],
)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_names_that_collide(tmp_path, entries):
    assert "twice" in failure_of(tmp_path, tar_of(entries))
    assert "twice" in failure_of(tmp_path, zip_of(entries))


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_tar_bomb_is_stopped_early(tmp_path, compress):
    """100 MB of zeros in a few kB: no more than max_bytes (and one chunk) reach the disk."""
    content = compress(tar_of([("zeros", bytes(10**8))]))
    assert len(content) < 10**6
    assert "more than the 1000 bytes" in failure_of(tmp_path, content, max_bytes=1000)


def test_zip_bomb_with_honest_sizes(tmp_path):
    content = zip_of([(f"{i}", bytes(10**6)) for i in range(20)])
    assert "more than the" in failure_of(tmp_path, content, max_bytes=10**6)


def test_zip_bomb_that_lies_about_its_size(tmp_path):
    content = bytearray(zip_of([("zeros", bytes(10**6))]))
    assert content.count(struct.pack("<I", 10**6)) == 2
    content = content.replace(struct.pack("<I", 10**6), struct.pack("<I", 10))
    failure_of(tmp_path, bytes(content), max_bytes=1000)


def test_tar_header_that_claims_much_memory(tmp_path):
    """A "long name" of 200 MB, which tarfile would read into memory."""
    header = special("././@LongLink", tarfile.GNUTYPE_LONGNAME)
    header.size = 200_000_000
    content = gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(200_000_000), 1)
    tracemalloc.start()
    message = failure_of(tmp_path, content)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "absurd header" in message and peak < 5_000_000


def test_encrypted_zip(tmp_path):
    content = bytearray(zip_of([("a", b"secret")]))
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(signature) + offset] |= 1
    assert "encrypted" in failure_of(tmp_path, bytes(content))


def test_damaged_content(tmp_path):
    content = bytearray(zip_of([("a", os.urandom(5000))], zipfile.ZIP_STORED))
    content[1000] ^= 255
    assert "damaged" in failure_of(tmp_path, bytes(content))
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        content = bytearray(compress(tar_of([("a", os.urandom(5000))])))
        content[len(content) // 2] ^= 255
        assert "damaged" in failure_of(tmp_path, bytes(content))


@pytest.mark.parametrize("content", [b"", b"text", os.urandom(20_000), b"PK\x03\x04x"])
def test_no_archive(tmp_path, content):
    assert "not a zip or tar archive" in failure_of(tmp_path, content)


@pytest.mark.parametrize("content", [zip_of([]), tar_of([]), bytes(5000)])
def test_empty_archive(tmp_path, content):
    assert "empty archive" in failure_of(tmp_path, content)


def test_padding_without_end(tmp_path):
    content = gzip.compress(tar_of([("a", b"1")]) + bytes(20 * 2**20))
    assert "absurd padding" in failure_of(tmp_path, content)


def test_tar_that_holds_a_zip_is_a_tar(tmp_path):
    """zipfile.is_zipfile finds the zip at its end."""
    inner = zip_of([("inner", b"1")])
    extract(write(tmp_path, tar_of([("a.zip", inner)])), tmp_path / "out", max_bytes=10**4)
    assert unpacked(tmp_path / "out") == {"a.zip": inner}
