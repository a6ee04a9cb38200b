"""Files that PyTorch wrote, hostile and damaged ones."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dnnlib.errors import UserError
from dnnlib.torch_files import read_tensors
from metrics.networks import load_network

FILES = Path(__file__).resolve().parents[1] / "files"  # by PyTorch 2.13.0, see README.md


@pytest.mark.parametrize(
    "file, prefix", [("new.pth", ""), ("old.pth", ""), ("script.pt", "script.")]
)
def test_files_of_pytorch(file, prefix):
    """Strides, offsets, scalars, empty tensors, all number types, nested modules."""
    start = prefix or "state."
    with np.load(FILES / "expected.npz") as arrays:
        expected = {
            (name.removeprefix(prefix)): arrays[name] for name in arrays if name.startswith(start)
        }
    found = read_tensors(FILES / file)
    assert sorted(found) == sorted(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)


class Hostile:
    """What a malicious file would do when unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return eval, (f"open({str(self.marker)!r}, 'w')",)


@pytest.mark.parametrize("form", ["zip", "plain"])
def test_nothing_in_a_file_is_executed(form, tmp_path):
    path, marker = tmp_path / "hostile.pth", tmp_path / "executed"
    content = pickle.dumps({"weight": Hostile(marker)}, protocol=2)
    if form == "zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", content)
    else:
        path.write_bytes(
            pickle.dumps(0x1950A86A20F9469CFC6C, 2) + 2 * pickle.dumps(1001, 2) + content
        )
    with pytest.raises(UserError, match="eval, which weights do not need; nothing .* executed"):
        read_tensors(path)
    assert not marker.exists()


@pytest.mark.parametrize("file", ["new.pth", "old.pth", "script.pt"])
def test_damaged_files_are_told_in_one_line(file, tmp_path):
    whole = (FILES / file).read_bytes()
    path = tmp_path / file
    for length in (0, 1, 20, len(whole) // 2, len(whole) - 4):
        path.write_bytes(whole[:length])
        # Where the file ends within a name, it is the cut name that is refused.
        with pytest.raises(UserError, match="fetch it again|weights do not need"):
            read_tensors(path)


def test_a_tensor_that_reaches_beyond_its_storage_is_refused(tmp_path):
    with zipfile.ZipFile(FILES / "new.pth") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    (pickled,) = [name for name in members if name.endswith("/data.pkl")]
    # The size (2, 3, 4) of the first tensor becomes (2, 3, 9).
    assert b"K\x02K\x03K\x04\x87" in members[pickled]
    changed = members[pickled].replace(b"K\x02K\x03K\x04\x87", b"K\x02K\x03K\x09\x87", 1)
    with zipfile.ZipFile(tmp_path / "far.pth", "w") as archive:
        for name, content in {**members, pickled: changed}.items():
            archive.writestr(name, content)
    with pytest.raises(UserError, match="damaged"):
        read_tensors(tmp_path / "far.pth")


def test_a_checksum_in_the_name_is_compared(tmp_path):
    path = tmp_path / "pt_inception-2015-12-05-6726825d.pth"
    path.write_bytes((FILES / "new.pth").read_bytes())
    with pytest.raises(UserError, match="damaged, its checksum is"):
        load_network("inception", from_file=path)
    path = tmp_path / "mine.pth"
    path.write_bytes((FILES / "new.pth").read_bytes())
    with pytest.raises(UserError, match="not the weights of inception"):
        load_network("inception", from_file=path)
