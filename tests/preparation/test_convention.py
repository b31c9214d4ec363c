from types import SimpleNamespace

import numpy as np
import pytest

from defectkit.data.images import write_png
from defectkit.errors import LabelError
from defectkit.labels.outlines import Box, Polygons
from defectkit.labels.rle_convention import RleConvention
from defectkit.labels.table import LabelRow, LabelTable
from defectkit.preparation.convention import (
    MAX_SAMPLED_IMAGES,
    MAX_SAMPLED_ROWS,
    decide_polygons,
    decide_rle_convention,
    refuse_contradicted_base,
    sample_polygons,
    sample_rows,
)
from defectkit.preparation.examine import examine_image
from defectkit.preparation.matched_image import MatchedImage

SIZE = (6, 8)


@pytest.fixture
def path(tmp_path):
    write_png(tmp_path / "a.png", np.zeros(SIZE, np.uint8))
    return tmp_path / "a.png"


def matching(images, source_format="csv"):
    """The part of a ``Matching`` that the convention is decided by."""
    rows = [row for image in images for row in image.rows]
    return SimpleNamespace(
        images=images,
        source_format=source_format,
        table=SimpleNamespace(rows=rows, path="labels"),
    )


def image(path, *texts):
    rows = tuple(LabelRow(line, "a", "1", text) for line, text in enumerate(texts, start=2))
    return MatchedImage("a", str(path), rows)


def test_rows_are_sampled_from_all_over_the_table(path):
    rows = image(path, *["1 2"] * 9)
    good, boxed = (
        image(path, ""),
        MatchedImage("b", str(path), (LabelRow(2, "b", "1", "", Box(0, 0, 1, 1)),)),
    )
    samples = sample_rows([good, boxed, *[rows] * 200])
    assert 0 < len(samples) <= MAX_SAMPLED_IMAGES * MAX_SAMPLED_ROWS
    assert {shape for _, shape in samples} == {SIZE}
    assert all(row.rle for row, _ in samples)
    unreadable = image(str(path.with_name("none.png")), "1 2")
    assert sample_rows([unreadable, rows]) == [(row, SIZE) for row in rows.rows[:MAX_SAMPLED_ROWS]]


def test_the_base_is_read_from_the_rows(path):
    decide = {"base": "auto", "order": "auto"}
    assert decide_rle_convention(matching([image(path, "0 2")]), **decide).base == 0
    last = image(path, f"{SIZE[0] * SIZE[1]} 1")
    assert decide_rle_convention(matching([last]), **decide).base == 1


@pytest.mark.parametrize(("base", "order"), [("0", "auto"), ("auto", "row")])
def test_nothing_can_be_asked_of_labels_without_run_lengths(path, base, order):
    labels = matching([image(path, "1 2")], "coco")
    with pytest.raises(LabelError, match="--rle-base and --rle-order are for CSV, but labels is"):
        decide_rle_convention(labels, base=base, order=order)
    assert decide_rle_convention(labels, base="auto", order="auto")


def test_a_guessed_base_that_a_row_contradicts_is_refused(path):
    guessed = RleConvention(0, "column", "base 0: line 2 starts at 0")
    images = [image(path, "0 2", f"{SIZE[0] * SIZE[1]} 1")]
    found = [examine_image(one, convention=guessed) for one in images]
    with pytest.raises(LabelError, match=r"line 3 ends at 48, which fits only base 1"):
        refuse_contradicted_base(matching(images), found, guessed, asked_base="auto")
    refuse_contradicted_base(matching(images), found, guessed, asked_base="0")


def polygons(path, *rings):
    rows = tuple(
        LabelRow(line, "a", "1", "", Polygons((ring,))) for line, ring in enumerate(rings, start=1)
    )
    table = LabelTable(path, "COCO JSON", "utf-8", rows, (), {})
    box = LabelRow(99, "b", "1", "", Box(0, 0, 1, 1))
    images = [MatchedImage("a", str(path), rows), MatchedImage("b", str(path), (box,))]
    return SimpleNamespace(images=images, table=table, source_format="coco")


CRACK, SLANTED = (1.0, 1.0, 4.0, 4.0, 7.0, 4.0, 4.0, 4.0), (1.5, 1.0, 4.0, 4.0, 7.0, 4.0)


def test_polygons_that_name_pixels_are_marked_and_it_is_said(path):
    found = polygons(path, *[CRACK] * 4)
    decide_polygons(found, asked="auto")
    assert all(row.outline.names_pixels for row in found.images[0].rows)
    assert found.images[1].rows[0].outline == Box(0, 0, 1, 1)
    (note,) = found.table.notes
    assert "the outlines of the polygons belong to the defects" in note
    assert note.endswith("If a person set the corners, give --polygons points")
    for others, asked in (([*[CRACK] * 4, SLANTED], "auto"), ([CRACK] * 4, "points")):
        found = polygons(path, *others)
        decide_polygons(found, asked=asked)
        assert not any(row.outline.names_pixels for row in found.images[0].rows)
        assert found.table.notes == ()
    found = polygons(path, (1.0, 1.0, 4.0, 4.0, 7.0, 3.0))
    decide_polygons(found, asked="auto")
    assert found.table.form == "COCO JSON, corners of polygons are points (assumed)"
    found = polygons(path, SLANTED)
    decide_polygons(found, asked="pixels")
    assert found.images[0].rows[0].outline.names_pixels
    assert found.table.notes == ()


def test_polygons_are_sampled_with_the_size_that_the_labels_or_the_image_say(path):
    found = polygons(path, CRACK)
    assert list(sample_polygons(found.images)) == [(Polygons((CRACK,)), SIZE)]
    sized = Polygons((CRACK,), (9, 9))
    rows = (LabelRow(1, "a", "1", "", sized),)
    missing = MatchedImage("a", str(path.with_name("none.png")), rows)
    assert list(sample_polygons([missing])) == [(sized, (9, 9))]
    assert len(list(sample_polygons([missing] * 1000))) <= MAX_SAMPLED_IMAGES
