from pathlib import Path
from types import SimpleNamespace

import pytest

from defectkit.data.image_search import ImageFile
from defectkit.files import csv_text
from defectkit.reporting.inspection_progress import (
    COLUMNS,
    Progress,
    Step,
    describe_inspection,
    describe_model,
    has_overlay,
    read_steps,
)

STEPS = [
    Step(file=1, page=1, is_last=False, image_id="=a\n#1", verdict="good", sizes=(9, 8, 7)),
    Step(
        file=1,
        page=2,
        is_last=True,
        image_id="零\udce9",
        verdict="",
        sizes=(9, 8, 9),
        notes=("one, two", '"three"'),
    ),
]


def write(path: Path, steps: list[Step], more: str = "") -> None:
    text = csv_text([COLUMNS, *(step.row() for step in steps)]) + more
    path.write_bytes(text.encode("utf-8", "backslashreplace"))


def test_steps_come_back_as_they_were_without_one_that_was_cut_off(tmp_path):
    write(tmp_path / "p.csv", STEPS, "2,1,1,b.p")
    read = list(read_steps(tmp_path / "p.csv"))
    assert [step.row() for step in read] == [step.row() for step in STEPS]
    assert [step.notes for step in read] == [(), ("one, two", '"three"')]
    lines = (tmp_path / "p.csv").read_bytes().splitlines(keepends=True)
    assert [step.end for step in read] == [len(b"".join(lines[:2])), len(b"".join(lines[:3]))]
    (tmp_path / "p.csv").write_bytes(lines[0][:4])  # killed at its begin
    assert list(read_steps(tmp_path / "p.csv")) == []


@pytest.mark.parametrize("text", ["a,b\n1,2\n", csv_text([COLUMNS]) + "1,2\n"])
def test_other_tables_are_refused(tmp_path, text):
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(ValueError, match=r"p\.csv has (other columns|a row of 2 cells)"):
        list(read_steps(tmp_path / "p.csv"))


def test_progress_counts_images_and_files():
    progress = Progress()
    progress.add(STEPS[0])
    assert (progress.files, progress.pages) == (0, 1)
    progress.add(STEPS[1])
    assert (progress.files, progress.pages) == (1, 0)
    assert (progress.verdicts, progress.n_errors) == ({"good": 1}, 1)
    assert progress.notes == {"one, two": ["零\udce9"], '"three"': ["零\udce9"]}
    assert progress.sizes["errors.csv"] == 9


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        ("all", [True, True, True, False]),
        ("flagged", [False, True, True, False]),
        ("none", [False] * 4),
    ],
)
def test_which_verdicts_have_overlays(drawn, expected):
    assert [has_overlay(one, drawn) for one in ("good", "review", "defective", "")] == expected


def described(device: str, seed: int) -> dict[str, str]:
    return describe_model(SimpleNamespace(info={"a": seed}, device_name=device))


def test_what_an_inspection_is_depends_on_its_images_model_and_options():
    model = described("cpu", 1)
    files = [ImageFile(image_id="a", path=Path("a")), ImageFile(image_id="b", path=Path("b"))]
    options = {"roi": None, "first_page": False, "all_regions": False, "drawn": "all"}
    same = describe_inspection(model, files, **options)
    assert same == describe_inspection(model, list(files), **options)
    damaged = [files[0], ImageFile(image_id="b", path=Path("b"), problem="a pipe")]
    for changed in (
        describe_inspection(model, files[:1], **options),
        describe_inspection(model, files[::-1], **options),
        describe_inspection(model, damaged, **options),
        describe_inspection(described("cpu", 2), files, **options),
        describe_inspection(described("cuda", 1), files, **options),
        *(
            describe_inspection(model, files, **{**options, **change})
            for change in ({"roi": "x"}, {"first_page": True}, {"drawn": "none"})
        ),
    ):
        assert len(set(same.items()) ^ set(changed.items())) == 2
