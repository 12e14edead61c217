"""Class names in the forms that people keep them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vit_explorer.errors import ModelError
from vit_explorer.models.checkpoints.labels import read_labels

NAMES = ("ant", "bee, wild", "cow")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("a.csv", 'index,name\n0,ant\n1,"bee, wild"\n2,cow\n'),
        ("a.csv", '2,cow\n0,ant\n\n1,"bee, wild"\n'),
        ("a.csv", 'label,class\n0,ant\n1,"bee, wild"\n2,cow\n'),
        ("a.csv", 'wnid,name,id\nn1,ant,0\nn2,"bee, wild",1\nn3,cow,2\n'),
        ("a.csv", 'species,number\ncow,2\n"bee, wild",1\nant,0\n'),
        ("a.csv", 'name\nant\n"bee, wild"\ncow\n'),
        ("a.json", '{"cow": 2, "ant": 0, "bee, wild": 1}'),
        ("a.json", '{"2": "cow", "0": "ant", "1": "bee, wild"}'),
        ("a.txt", "\n ant\nbee, wild\n\ncow\n\n"),
    ],
)
def test_forms(tmp_path: Path, file: str, text: str) -> None:
    path = tmp_path / file
    path.write_text(text, encoding="utf-8")
    assert read_labels(path, 3, "model") == NAMES


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("a.csv", "index,name\n0,ant\n1,bee, wild\n2,cow\n", "no CSV of index and name"),
        ("a.csv", "index,name\n1,ant\n2,bee\n3,cow\n", "no CSV of index and name"),
        ("a.csv", "", "no CSV of index and name"),
        ("a.json", '{"ant": 0, "bee": 0, "cow": 2}', "no JSON list of names, nor an object"),
        ("a.json", '"ant"', "no JSON list of names, nor an object"),
        ("a.json", "[" * 200_000, "no JSON list of names, nor an object"),
        ("a.csv", 'name\n"ant\n' + "bee\n" * 60_000, "no CSV of index and name"),
        ("a.txt", "ant\n\nbee\n  \n", r"2 labels .* 3 classes \(line 2 of a.txt is blank\); give"),
        ("a.txt", "\nant\nbee\n", r"\(line 1 of a.txt is blank\)"),
        ("a.txt", "ant\nbee\n\n", "which has 3 classes; give one label a class"),
        ("a.csv", "name\nant\n\nbee\n", r"\(line 3 of a.csv is blank\)"),
    ],
)
def test_refusals(tmp_path: Path, file: str, text: str, message: str) -> None:
    path = tmp_path / file
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=message) as error:
        read_labels(path, 3, "model")
    assert str(error.value).endswith(".") and len(str(error.value)) < 300
