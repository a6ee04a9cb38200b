"""Labels from tables, followed into the records."""

import json

import numpy as np
import pytest

from datasets.labels.choosing import choose_labeller
from datasets.preparation import Order
from datasets.preparing import prepare
from datasets.sources.folder import Folder
from dnnlib.errors import UserError
from tests.datasets.labels.conftest import SMALL, labels_of

TABLES = {
    "header.csv": (
        "filename,colour,age\n" + "".join(f"in/p{n}.png,{'rb'[n % 2]},{n}.5\n" for n in range(6)),
        ["colour=b", "colour=r", "age"],
        [[n % 2, 1 - n % 2, n + 0.5] for n in range(6)],
    ),
    "plain.csv": (
        "".join(f"p{n}.jpg, {10 + n // 3}\n" for n in range(6)),
        ["column1=10", "column1=11"],
        [[1 - n // 3, n // 3] for n in range(6)],
    ),
    "ucl.csv": (  # index, eye_color, face_shape, file_name, with tabs
        "\teye_color\tface_shape\tfile_name\n"
        + "".join(f"{n}\t{n % 3}\t4\tp{n}.png\n" for n in range(6)),
        ["eye_color=0", "eye_color=1", "eye_color=2", "face_shape=4"],
        [[n % 3 == 0, n % 3 == 1, n % 3 == 2, 1] for n in range(6)],
    ),
    "ada.json": (
        json.dumps({"labels": [[f"in/p{n}.png", n % 2] for n in range(6)]}),
        ["class=0", "class=1"],
        [[1 - n % 2, n % 2] for n in range(6)],
    ),
    "vectors.json": (
        json.dumps({"labels": [[f"p{n}.png", [n, 0.25]] for n in range(6)]}),
        ["value0", "value1"],
        [[n, 0.25] for n in range(6)],
    ),
    "names.json": (
        json.dumps({f"p{n}": "cat" if n else "dog" for n in range(6)}),
        ["class=cat", "class=dog"],
        [[n > 0, n == 0] for n in range(6)],
    ),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("inside", [True, False])
def test_tables(flat, tmp_path, name, inside):
    text, names, expected = TABLES[name]
    path = (flat if inside else tmp_path) / name
    path.write_text(text)
    dataset, labels = labels_of(flat, tmp_path / "set", name if inside else str(path))
    assert dataset.label_names == names
    np.testing.assert_array_equal(labels, np.array(expected, np.float32))


def test_chosen_columns_of_a_table(flat, tmp_path):
    (flat / "t.csv").write_text(TABLES["ucl.csv"][0])
    dataset, _ = labels_of(flat, tmp_path / "set", "t.csv:face_shape")
    assert dataset.label_names == ["face_shape=4"]
    with pytest.raises(UserError, match='no column "face_shap"; did you mean "face_shape"'):
        choose_labeller("t.csv:face_shap", Folder(flat))


def test_pictures_that_the_table_lacks_are_skipped(flat, tmp_path):
    (flat / "t.csv").write_text("file,kind\np1.png,a\np4.png,b\n")
    dataset, labels = labels_of(flat, tmp_path / "set", "t.csv")
    assert dataset.count == 2 and labels.tolist() == [[1, 0], [0, 1]]


BAD = {
    "none.csv": (None, "no such table"),
    "empty.csv": ("", "no table of labels"),
    "one.csv": ("a\nb\n", "fewer than two columns"),
    "ragged.csv": ("file,kind\np1.png,a\np2.png\n", "row 2 has 1 columns"),
    "null.json": ('{"labels": null}', "null"),
    "broken.json": ('{"labels": [', "no table of labels"),
    "odd.json": ('{"labels": [["p1.png", true, 4]]}', "no table of labels"),
    "mixed.csv": ("file,kind\np1.png,0.5\np2.png,word\n", "mixes numbers with words"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_tables(flat, name):
    text, words = BAD[name]
    if text is not None:
        (flat / name).write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        choose_labeller(name, Folder(flat))
    assert name in str(caught.value)


def test_official_label_file(flat, tmp_path):
    (flat / "t.json").write_text(TABLES["vectors.json"][0])
    order = Order(labels="t.json", shards=4, label_file=True, name="x")
    prepare(str(flat), tmp_path / "set", SMALL, order, workers=1)
    written = np.load(tmp_path / "set" / "x-rxx.labels")
    assert written.dtype == np.float32
    np.testing.assert_array_equal(written, TABLES["vectors.json"][2])


def test_a_changed_table_is_another_data_set(flat, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("file,kind\n" + "".join(f"p{n}.png,{n % 2}\n" for n in range(6)))
    labels_of(flat, tmp_path / "set", str(path))
    path.write_text("file,kind\n" + "".join(f"p{n}.png,{n % 2 == 0:d}\n" for n in range(6)))
    with pytest.raises(UserError, match="another data set"):
        labels_of(flat, tmp_path / "set", str(path))
