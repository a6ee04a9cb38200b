"""prepare_data.py verify, as a user calls it."""

from datasets.preparation import Order, Preparation
from datasets.preparing import prepare
from tests.datasets.conftest import expect, prepare_data
from tests.datasets.test_dataset import TINY


def test_verify(prepared):
    found = prepare_data("verify", prepared)
    assert found.returncode == 0 and "all right: 3 files and 24 records" in found.stdout
    path = sorted(prepared.glob("*.tfrecords*"))[1]
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(bytes(content))
    expect(prepare_data("verify", prepared), path.name, "sha256")
    (prepared / "dataset.json").unlink()
    expect(prepare_data("verify", prepared), path.name, "record 7", "checksum")


def test_verify_decodes_png(pictures, tmp_path):
    """A record with right checksums whose picture is wrong."""
    from datasets.records import frame, image_message

    choices = Preparation(resolution=16, encoding="png")
    prepare(str(pictures), tmp_path / "set", choices, Order(shards=1), workers=1)
    assert prepare_data("verify", tmp_path / "set").returncode == 0
    path = next((tmp_path / "set").glob("*.tfrecords*"))
    path.write_bytes(path.read_bytes() + frame(image_message(b"\x89PNG nonsense", (3, 16, 16))))
    (tmp_path / "set" / "dataset.json").unlink()
    expect(prepare_data("verify", tmp_path / "set"), path.name, "record 24")


def test_unknown_words():
    expect(prepare_data("inspect"), "directory")
    expect(prepare_data("verify", "/none"), "no such data directory")
    expect(prepare_data("inspect", TINY, "--sheeet", "x"), "--sheet")
