from pathlib import Path

import numpy as np
import pytest

from defectkit.data.images import write_png
from defectkit.errors import LabelError
from defectkit.labels.ledger import LedgerRow
from defectkit.labels.outlines import Box
from defectkit.labels.table import LabelRow, LabelTable
from defectkit.preparation.convention import (
    MAX_SAMPLED_IMAGES,
    MAX_SAMPLED_ROWS,
    decide_rle_convention,
    refuse_contradicted_base,
    sample_rows,
    undecoded_rows,
)
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.image_folder import ImageFolder
from defectkit.preparation.matching import MatchedImage, Matching


def matching(source_format, *rows, path=Path("a.png")):
    table = LabelTable(Path("train.csv"), "form", "utf-8", rows, (), {})
    return Matching(source_format, table, ImageFolder(Path()), [MatchedImage("a", path, rows)])


def row(line, text):
    return LabelRow(line, "a", "1", text)


def facts(*refused_lines):
    """Of an image of 6 by 8 pixels; the rows of these lines were refused for themselves."""
    ledger = [LedgerRow(line, "a", "1", "refused", "it is bad") for line in refused_lines]
    return ImageFacts(
        image_id="a",
        path=Path("a.png"),
        height=6,
        width=8,
        ledger=(*ledger, LedgerRow(9, "a", "1", "refused", "", refused_with_image=True)),
        problem="a line was refused" if refused_lines else "",
    )


def test_the_flags_of_run_lengths_are_for_csv_alone():
    found = decide_rle_convention(matching("csv", row(2, "0 3")), base="auto", order="auto")
    assert (found.base, found.order) == (0, "column")
    with pytest.raises(LabelError, match=r"are for CSV, but train\.csv is yolo"):
        decide_rle_convention(matching("yolo"), base="0", order="auto")


def test_rows_that_could_not_be_decoded_are_given_with_their_images_pixels():
    images = matching("csv", row(2, "1 3"), row(3, "0 3")).images
    assert list(undecoded_rows(images, [facts(3)])) == [(row(3, "0 3"), 48)]
    assert list(undecoded_rows(images, [facts()])) == []


def test_a_guess_of_base_0_that_a_row_contradicts_is_refused():
    found = matching("csv", row(2, "0 3"), row(3, "48 1"))
    guess = decide_rle_convention(found, base="auto", order="auto")
    with pytest.raises(LabelError, match=r"line 3 ends at 48, which fits only base 1"):
        refuse_contradicted_base(found, [facts(3)], guess, asked_base="auto")
    refuse_contradicted_base(found, [facts(3)], guess, asked_base="0")
    refuse_contradicted_base(found, [facts()], guess, asked_base="auto")


def test_rows_are_sampled_from_all_over_the_table(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, np.zeros((6, 8), np.uint8))
    rows = tuple(LabelRow(line, "a", "1", "1 2") for line in range(9))
    good = MatchedImage("good", path, (LabelRow(1, "good", "1", ""),))
    boxed = MatchedImage("boxed", path, (LabelRow(1, "boxed", "1", "", Box(0, 0, 1, 1)),))
    many = [good, boxed, *(MatchedImage(f"{n}", path, rows) for n in range(200))]
    samples = sample_rows(many)
    assert 0 < len(samples) <= MAX_SAMPLED_IMAGES * MAX_SAMPLED_ROWS
    assert {shape for _, shape in samples} == {(6, 8)}
    assert all(row.rle for row, _ in samples)
    unreadable = MatchedImage("x", tmp_path / "none.png", rows)
    assert sample_rows([unreadable, MatchedImage("a", path, rows)]) == [
        (row, (6, 8)) for row in rows[:MAX_SAMPLED_ROWS]
    ]
