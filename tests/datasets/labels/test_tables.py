"""Labels from tables, followed into the records."""

import contextlib
import json
import time
import tracemalloc
import unicodedata
import zipfile

import numpy as np
import pytest

from datasets.labels.choosing import choose_labeller
from datasets.preparation import Order
from datasets.preparing import prepare
from datasets.sources.archive import ZipArchive
from datasets.sources.folder import Folder
from datasets.sources.item import Item
from dnnlib.errors import UserError
from dnnlib.image_files import ImageError
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
    "open.csv": ('file,kind\np1.png,"a\np2.png,b\n', "quotation mark is opened and never closed"),
    "twice.json": ('{"p1.png": 1, "p2.png": 1, "p1.png": 2}', '"p1.png" is there with 1 and 2'),
    "twice.jsonl": (
        '{"file": "p1.png", "a": 1, "a": 2}\n{"file": "p2.png", "a": 1}\n',
        '"a" is there with 1 and 2',
    ),
    "large.csv": ("file,kind\np1.png,0.5\np2.png,1.5e300\n", "too large"),
    "lists.json": ('[{"file": "p1.png", "a": [1]}, {"file": "p2.png", "a": []}]', "a holds lists"),
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


def read(folder, text, labels=None, name="t.csv"):
    """Return (names of label values, {image: label}) of a table for the images of a folder."""
    (folder / name).write_text(text, encoding="utf-8")
    source = Folder(folder)
    labeller = choose_labeller(labels or name, source)
    found = {}
    for item in source.items():
        with contextlib.suppress(ImageError):
            found[item.name] = labeller.label(item).tolist()
    return labeller, found


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


HEADERS = {
    "ISIC, Kaggle": "image_name,label",
    "NIH": "Image Index,Finding Labels",
    "ISIC ids": "isic_id,diagnosis",
    "paths": "img_path;class",
    "German": "Datei,Klasse",
    "two words": "Picture File\tKind",
    "numbers for names": "image,0",
}


@pytest.mark.parametrize("header", HEADERS)
@pytest.mark.parametrize("ending", [".png", ""])
def test_headers_are_recognised_by_what_they_are(tmp_path, header, ending):
    touch(tmp_path, *(f"x_{n}.png" for n in range(6)))
    line = HEADERS[header]
    delimiter = next(mark for mark in ",;\t" if mark in line)
    rows = "".join(f"x_{n}{ending}{delimiter}{'ab'[n % 2]}\n" for n in range(6))
    table, found = read(tmp_path, f"{line}\n{rows}")
    column = line.split(delimiter)[1]
    assert table.names == [f"{column}=a", f"{column}=b"]
    assert found == {f"x_{n}.png": [1 - n % 2, n % 2] for n in range(6)}


def test_a_first_line_of_an_image_that_is_not_there_is_no_header(tmp_path):
    touch(tmp_path, *(f"x_{n}.png" for n in range(1, 6)))
    for ending in (".png", ""):
        rows = "".join(f"x_{n}{ending},{n % 2}\n" for n in range(6))
        table, found = read(tmp_path, rows)
        assert table.names == ["column1=0", "column1=1"] and len(found) == 5
        assert "x_0" in table.remarks[0]


def test_the_column_of_names_may_be_any(tmp_path):
    """The one with most names of images; numbers of rows are not taken for names."""
    touch(tmp_path, *(f"{n}.png" for n in range(6)))
    rows = "".join(f"{n},{'ab'[n % 2]},{5 - n}.png\n" for n in range(6))
    table, found = read(tmp_path, f"row,kind,where\n{rows}", "t.csv:kind")
    assert found == {f"{5 - n}.png": [1 - n % 2, n % 2] for n in range(6)}


def test_blank_cells_are_not_labelled(tmp_path):
    touch(tmp_path, *(f"{n}.png" for n in range(5)))
    text = "file,kind,age\n0.png,a,1.5\n1.png,,2.5\n2.png,b,\n3.png,  ,nan\n4.png,a,0.5\n"
    table, found = read(tmp_path, text)
    assert table.names == ["kind=a", "kind=b", "age"]
    assert found == {"0.png": [1, 0, 1.5], "4.png": [1, 0, 0.5]}
    with pytest.raises(ImageError, match="has no kind for it"):
        table.label(Item("1.png", None))
    table, found = read(
        tmp_path, '{"0.png": "a", "1.png": "", "2.png": null, "3.png": "b"}', name="t.json"
    )
    assert found == {"0.png": [1, 0], "3.png": [0, 1]} and table.names == ["class=a", "class=b"]


AMBIGUOUS = {
    "no ending, two images": (["x.png", "x.jpg"], "x,1\ny,2\n", "x.jpg and x.png"),
    "no folder, two images": (["a/0.png", "b/0.png"], "0.png,1\n", "a/0.png and b/0.png"),
    "two rows of an image": (["x.png"], "x.png,1\nx.png,2\n", '"x.png" with column1 "1"'),
    "longer paths": (["x.png"], "in/x.png,1\nout/x.png,2\n", '"in/x.png" with column1 "1"'),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_ambiguity_is_an_error_with_two_examples(tmp_path, name):
    images, text, words = AMBIGUOUS[name]
    touch(tmp_path, *images)
    with pytest.raises(UserError, match=f"^t.csv: .*{words}"):
        read(tmp_path, text)


def test_what_is_not_ambiguous(tmp_path):
    touch(tmp_path / "p", "x.png", "x.jpg", "a/0.png", "b/0.png", "0.png")
    rows = ["x.png,0", "x.jpg,1", "a/0.png,2", "b/0,3", "0.png,4", "x.png,0", "other.png,5"]
    table, found = read(tmp_path / "p", "\n".join(rows))
    numbers = {name: label.index(1) for name, label in found.items()}
    assert numbers == {"x.png": 0, "x.jpg": 1, "a/0.png": 2, "b/0.png": 3, "0.png": 4}


PATHS = {
    "Windows": "C:\\data\\p\\in\\{}.png",
    "the source's folder": "p/in/{}.png",
    "absolute": "/home/me/in/{}.png",
    "dots": "./in/{}.png",
    "another ending": "in/{}.jpg",
    "no folder": "{}.png",
}


@pytest.mark.parametrize("form", PATHS)
def test_paths_in_tables(tmp_path, form):
    touch(tmp_path / "p", *(f"in/{name}.png" for name in ("a", "b.c", "ü")))
    rows = [f"{PATHS[form].format(name)},{n}" for n, name in enumerate(("a", "b.c", "ü"))]
    _, found = read(tmp_path / "p", "\n".join(rows))
    assert found == {"in/a.png": [1, 0, 0], "in/b.c.png": [0, 1, 0], "in/ü.png": [0, 0, 1]}


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_composed_and_decomposed_names(tmp_path, forms):
    """macOS writes the one, everybody else the other."""
    names = [unicodedata.normalize(forms[0], name) for name in ("Zoë.png", "Größe.png")]
    touch(tmp_path, *names)
    rows = [f"{unicodedata.normalize(forms[1], name)},{n}" for n, name in enumerate(names)]
    _, found = read(tmp_path, "\n".join(rows))
    assert found == {names[0]: [1, 0], names[1]: [0, 1]}


def test_columns_that_are_no_classes_are_left_aside(tmp_path):
    """A column of ids makes no classes, and takes no time that grows with their square."""
    touch(tmp_path, *(f"{n}.png" for n in range(30)))
    rows = "".join(f"{n}.png,id{n},{'ab'[n % 2]},\n" for n in range(20_000))
    started = time.monotonic()
    table, found = read(tmp_path, f"file,patient,kind,blank\n{rows}")
    assert table.names == ["kind=a", "kind=b"] and len(found) == 30
    assert [("patient" in r, "blank" in r) for r in table.remarks[:2]] == [(1, 0), (0, 1)]
    assert time.monotonic() - started < 5
    with pytest.raises(UserError, match="column patient has more than 10,000 different values"):
        read(tmp_path, f"file,patient,kind,blank\n{rows}", "t.csv:patient")
    with pytest.raises(UserError, match='no column "patent"; did you mean "patient"'):
        read(tmp_path, f"file,patient,kind,blank\n{rows}", "t.csv:patent")


def test_which_of_several_columns_are_used_is_said(tmp_path):
    touch(tmp_path, "0.png", "1.png")
    text = "file,a,b\n0.png,x,1\n1.png,y,2\n"
    table, _ = read(tmp_path, text)
    assert table.names == ["a=x", "a=y", "b=1", "b=2"]
    assert table.remarks == [
        "t.csv: labels are all of a, b; choose some with --labels FILE:COLUMN,COLUMN"
    ]
    assert not read(tmp_path, text, "t.csv:b")[0].remarks


def test_memory_of_labels_is_in_proportion_to_the_images(tmp_path):
    """5,000 classes: the vector of an image is made when it is asked for."""
    touch(tmp_path, *(f"{n}.png" for n in range(10)))
    rows = "".join(f"{n}.png,c{n % 5000}\n" for n in range(10_000))
    tracemalloc.start()
    table, found = read(tmp_path, f"file,kind\n{rows}")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(table.names) == 5000 and peak < 20e6  # 10,000 x 5,000 floats would be 200 MB
    assert found["7.png"][table.names.index("kind=c7")] == 1 and sum(found["7.png"]) == 1


FORMS = {
    "lines.jsonl": '{"file_name": "0.png", "kind": "a"}\n{"file_name": "1.png", "kind": "b"}\n',
    "objects.json": '[{"id": 7, "kind": "a", "path": "0.png"}, {"kind": "b", "path": "1.png"}]',
    "pairs.json": '[["0.png", "a"], ["1.png", "b"]]',
    "spaces.txt": "0.png a\n1.png b\n",
    "celeba.txt": "2\nkind\n0.png  a\n1.png  b\n",
    "quoted.csv": '"file","kind"\n"0.png","a"\n"1.png","b"\n',
    "semicolons.csv": "file;kind\r\n0.png;a\r\n1.png;b\r\n",
    "excel.csv": "sep=;\nfile;kind\n0.png;a\n1.png;b\n",
    "short header.csv": "file,kind\n0.png,a,\n1.png,b,\n",
    "long header.csv": "file,kind,\n0.png,a\n1.png,b\n",
    "lists.json": '[{"f": "0.png", "kind": "a", "box": [1]}, {"f": "1.png", "kind": "b"}]',
    "trailing.csv": "file,kind,\n0.png,a,\n1.png,b,\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_tables_of_many_forms(tmp_path, form):
    touch(tmp_path, "0.png", "1.png")
    columns = form + (":kind" if form == "objects.json" else "")
    _, found = read(tmp_path, FORMS[form], columns, form)
    assert found == {"0.png": [1, 0], "1.png": [0, 1]}


def test_a_table_of_another_data_set_is_an_error(tmp_path):
    touch(tmp_path, "0.png", "1.png")
    with pytest.raises(UserError, match='none of its 2 rows, such as "a" names .* such as 0.png'):
        read(tmp_path, '{"a": 1, "b": 2}', name="t.json")


def test_utf_16_as_excel_writes_it(tmp_path):
    touch(tmp_path, "0.png", "1.png")
    (tmp_path / "t.csv").write_bytes("file\tkind\n0.png\ta\n1.png\tb\n".encode("utf-16"))
    table = choose_labeller("t.csv", Folder(tmp_path))
    assert table.names == ["kind=a", "kind=b"]


@pytest.mark.parametrize("name", ["image", "file", "id"])
def test_an_image_that_is_called_as_a_column_is(tmp_path, name):
    """The first line is a header where its other cells are not like those below."""
    touch(tmp_path, f"{name}.png", "other.png", "third.png")
    table, found = read(tmp_path, f"{name},label\n{name},a\nother,b\nthird,a\n")
    assert table.names == ["label=a", "label=b"] and found[f"{name}.png"] == [1, 0]
    table, found = read(tmp_path, f"{name},a\nother,b\nthird,a\n")
    assert found == {f"{name}.png": [1, 0], "other.png": [0, 1], "third.png": [1, 0]}


def test_words_that_only_python_takes_for_numbers(tmp_path):
    touch(tmp_path, "0.png", "1.png", "2.png")
    table, found = read(tmp_path, "0.png,1_0\n1.png,10\n2.png,\u0661\u0660\n")
    assert table.names == ["column1=10", "column1=1_0", "column1=\u0661\u0660"]
    assert found["0.png"] == [0, 1, 0] and found["1.png"] == [1, 0, 0]


def test_a_class_in_json_is_the_same_as_number_and_as_text(tmp_path):
    touch(tmp_path, *(f"{n}.png" for n in range(4)))
    text = '{"0.png": 1, "1.png": "1", "2.png": "x", "3.png": true}'
    table, found = read(tmp_path, text, name="t.json")
    assert table.names == ["class=1", "class=True", "class=x"]
    assert list(found.values()) == [[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_missing_numbers_of_vectors_in_json_are_not_labelled(tmp_path):
    touch(tmp_path, "0.png", "1.png", "2.png")
    text = '{"0.png": [0.5, 1], "1.png": [0.5, null], "2.png": [NaN, 1]}'
    assert read(tmp_path, text, name="t.json")[1] == {"0.png": [0.5, 1]}


def test_a_table_that_an_archive_cannot_give(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("p.png", b"")
        archive.writestr("t.csv", "p.png,1\n", zipfile.ZIP_BZIP2)
    with pytest.raises(UserError, match="t.csv in .*a.zip: packed with method 12"):
        choose_labeller("t.csv", ZipArchive(tmp_path / "a.zip"))
