from types import SimpleNamespace

import numpy as np
import pytest

from defectkit.data.images import write_png
from defectkit.files import sha256_file
from defectkit.labels import rle
from defectkit.labels.ledger import LedgerRow
from defectkit.labels.outlines import Box, Polygons
from defectkit.labels.read_options import ReadOptions
from defectkit.labels.rle_convention import RleConvention
from defectkit.labels.table import LabelRow
from defectkit.preparation.examine import collect_ledger, examine_image
from defectkit.preparation.matched_image import MatchedImage

COLUMNS = RleConvention(base=1, order="column", how_decided="given")
SIZE = (12, 20)


def mask(*boxes):
    made = np.zeros(SIZE, np.uint8)
    for x, y, width, height in boxes:
        made[y : y + height, x : x + width] = 1
    return made


def row(line, text, class_id="1", outline=None):
    return LabelRow(line, "a.png", class_id, text, outline)


@pytest.fixture
def examine(tmp_path):
    path = tmp_path / "a.png"
    write_png(path, np.random.default_rng(0).integers(0, 256, SIZE, np.uint8))

    def call(*rows, convention=COLUMNS, **options):
        image = MatchedImage("a.png", str(path), rows)
        return examine_image(image, convention=convention, **options)

    return call


def test_labels_are_read_as_boxes_where_the_user_asks_for_it(examine):
    boxes = ReadOptions(boxes=True)
    ring = (2.0, 1.0, 9.0, 1.0, 5.0, 8.0)
    drawn = Polygons((ring, (12.0, 5.0, 15.0, 5.0, 15.0, 9.0)))
    facts = examine(row(1, "", "1", drawn), options=boxes)
    assert [one.box_xywh for one in facts.regions] == [(2, 1, 13, 7)]  # one outline, one defect
    assert facts.regions[0].area == 13 * 7
    text = rle.encode(mask((15, 3, 4, 5), (0, 9, 2, 3)) - mask((16, 4, 1, 1)))
    facts = examine(row(1, text), options=boxes)
    found = sorted((one.box_xywh, one.area) for one in facts.regions)
    assert found == [((0, 9, 2, 3), 6), ((15, 3, 4, 5), 20)]  # a row has all of a class
    assert examine(row(1, "", ""), options=boxes).regions == ()


def test_what_is_cut_at_the_border_is_in_the_ledger(examine):
    outside = row(1, "", "1", Box(-5, 2, 6, 7))
    assert "by up to 5 pixels" in examine(outside).ledger[0].reason
    facts = examine(outside, options=ReadOptions(clip=True))
    assert [one.box_xywh for one in facts.regions] == [(0, 2, 6, 5)]
    (cut,) = facts.ledger
    assert (cut.outcome, "are cut at its border" in cut.reason) == ("used", True)


def outcomes(facts):
    return [(one.line, one.outcome, one.reason) for one in facts.ledger]


def test_a_good_image_has_facts_and_no_regions(examine, tmp_path):
    facts = examine(row(2, "", ""))
    assert (facts.height, facts.width, facts.channels) == (*SIZE, 1)
    assert facts.sha256 == sha256_file(tmp_path / "a.png")
    assert (facts.rles, facts.regions, facts.problem) == ({}, (), "")
    assert outcomes(facts) == [(2, "used", "")]


def test_regions_are_in_pixels_of_the_image(examine):
    facts = examine(row(2, rle.encode(mask((15, 3, 4, 5), (0, 10, 2, 2))), "7"))
    found = [(one.class_id, one.box_xywh, one.area) for one in facts.regions]
    assert sorted(found) == [("7", (0, 10, 2, 2), 4), ("7", (15, 3, 4, 5), 20)]


def test_every_convention_comes_out_canonical(examine):
    truth = mask((3, 4, 5, 6))
    flat = np.flatnonzero(truth.ravel())
    by_row = " ".join(f"{start} 1" for start in flat)  # from 0, right then down
    facts = examine(
        row(2, by_row), convention=RleConvention(base=0, order="row", how_decided="given")
    )
    assert facts.rles == {"1": rle.encode(truth)}


def test_rows_of_a_class_are_united_and_repetitions_are_named(examine):
    one, other = rle.encode(mask((1, 1, 3, 3))), rle.encode(mask((2, 2, 5, 5)))
    facts = examine(row(2, one), row(3, other), row(4, one), row(5, one, "2"))
    assert outcomes(facts) == [
        (2, "used", ""), (3, "merged", "merged with line 2"), (4, "merged", "repeats line 2"),
        (5, "used", ""),
    ]  # fmt: skip
    assert facts.rles == {"1": rle.encode(mask((1, 1, 3, 3), (2, 2, 5, 5))), "2": one}


def test_unsorted_runs_are_used_and_noted(examine):
    first, second = rle.encode(mask((1, 1, 1, 3))), rle.encode(mask((8, 1, 1, 3)))
    facts = examine(row(2, f"{second} {first}"))
    assert outcomes(facts) == [(2, "used", "its runs were not sorted and are now")]
    assert facts.rles == {"1": f"{first} {second}"}


def test_outlines_become_encodings(examine):
    facts = examine(row(1, "", outline=Box(2, 3, 6, 5)))
    assert facts.rles == {"1": rle.encode(mask((2, 3, 4, 2)))}


def test_a_bad_row_refuses_all_of_its_image(examine):
    facts = examine(row(2, "1 3"), row(3, f"{SIZE[0] * SIZE[1]} 2"))
    first, second = facts.ledger
    assert first.reason.startswith("line 3 of the same image was refused")
    assert first.refused_with_image
    assert not second.refused_with_image
    assert {first.outcome, second.outcome} == {"refused"}
    assert facts.problem


def test_an_image_that_cannot_be_read_refuses_its_rows(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    facts = examine_image(MatchedImage("a.png", str(path), (row(2, "1 3"),)), convention=COLUMNS)
    assert facts.problem
    assert outcomes(facts) == [(2, "refused", facts.problem)]
    assert (facts.height, facts.sha256) == (0, "")


def test_the_ledger_has_every_row_in_the_order_of_the_source(examine):
    early = LedgerRow(2, "none.png", "1", "refused", "no such image")
    matching = SimpleNamespace(ledger=[early])
    facts = [examine(row(4, "1 3")), examine(row(3, "5 3"), row(5, "9 3", "2"))]
    assert [one.line for one in collect_ledger(matching, facts)] == [2, 3, 4, 5]


def test_the_pixels_are_measured_in_the_same_pass(examine):
    both = (row(1, rle.encode(mask((2, 2, 4, 4)))), row(2, rle.encode(mask((4, 4, 5, 5))), "2"))
    measures = examine(*both).measures
    assert len(measures.layout) == 256
    assert {name: len(values) for name, values in measures.contrasts.items()} == {"1": 1, "2": 1}
    assert examine(row(1, "", "")).measures.contrasts == {}
    assert examine(row(1, "0 3")).measures.contrasts == {}  # refused
