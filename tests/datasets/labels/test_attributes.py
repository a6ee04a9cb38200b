"""Labels from the attribute files of Cartoon Set, followed into the records."""

import json

import numpy as np
import pytest

from datasets.labels.choosing import choose_labeller
from datasets.sources.folder import Folder
from dnnlib.errors import UserError
from tests.datasets.labels.conftest import VARIANTS, labels_of


@pytest.mark.parametrize("form", ["folder", "zip", "gztar"])
def test_attributes_of_cartoon_set(cartoons, tmp_path, form):
    folder, values = cartoons
    source = folder
    if form != "folder":
        import shutil

        source = shutil.make_archive(str(tmp_path / "a"), form, tmp_path, folder.name)
    dataset, labels = labels_of(source, tmp_path / "set", "glasses,eye_angle")
    expected = [f"glasses={n}" for n in range(12)] + [f"eye_angle={n}" for n in range(3)]
    assert dataset.label_names == expected and dataset.label_dim == 15
    assert (labels.sum(axis=1) == 2).all()
    chosen = [values[name] for name in sorted(values)]
    np.testing.assert_array_equal(labels[:, :12].argmax(1), [c["glasses"] for c in chosen])
    np.testing.assert_array_equal(labels[:, 12:].argmax(1), [c["eye_angle"] for c in chosen])


def test_all_attributes_and_their_histogram(cartoons, tmp_path):
    folder, _ = cartoons
    dataset, labels = labels_of(folder, tmp_path / "set", "attributes")
    assert dataset.label_dim == sum(VARIANTS.values())
    manifest = json.loads((tmp_path / "set" / "dataset.json").read_text())
    np.testing.assert_array_equal(manifest["preparation"]["label_sums"], labels.sum(axis=0))


def test_bad_attribute_files_are_named(cartoons, tmp_path):
    folder, values = cartoons
    names = sorted(values)
    (folder / f"{names[3]}.csv").unlink()
    (folder / f"{names[4]}.csv").write_text("not a table")
    (folder / f"{names[5]}.csv").write_text('"hair", 111, 111\n')
    (folder / f"{names[6]}.csv").write_text('"hair", 1, 110\n')
    dataset, _ = labels_of(folder, tmp_path / "set", "hair")
    assert dataset.count == 20
    skipped = json.loads((tmp_path / "set" / "dataset.json").read_text())["source"]["skipped"]
    assert [name for name, _ in skipped] == [f"{name}.png" for name in names[3:7]]
    with pytest.raises(UserError, match='did you mean "hair"'):
        choose_labeller("hairs", Folder(folder))
