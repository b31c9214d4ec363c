import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from defectkit.data.images import write_png
from defectkit.data.pixel_format import EIGHT_BITS, PixelFormat
from defectkit.labels.read_options import DEFAULT_OPTIONS, ReadOptions
from defectkit.labels.rle_convention import RleConvention
from defectkit.labels.table import LabelRow
from defectkit.preparation import kept_facts
from defectkit.preparation.kept_facts import FACTS, KeptFacts
from defectkit.preparation.matched_image import MatchedImage
from defectkit.preparation.worker_pool import WorkerPool

pytestmark = pytest.mark.check(63)

ALONE = WorkerPool(0, None)
CONVENTION = RleConvention(1, "column", "given")


@pytest.fixture
def images(tmp_path) -> list[MatchedImage]:
    """Four images with a row each."""
    made = []
    for number in range(4):
        path = tmp_path / "Train" / f"{number}.png"
        write_png(path, np.random.default_rng(number).integers(0, 256, (24, 40), np.uint8))
        row = LabelRow(number + 2, path.name, "1", "30 5")
        made.append(MatchedImage(path.name, str(path), (row,)))
    return made


@pytest.fixture
def examine(tmp_path):
    """Examine images, and return their facts, and how many were there already."""

    def call(images, pixels=EIGHT_BITS, *, name=FACTS, others=(), **options):
        given = {"convention": CONVENTION, "options": DEFAULT_OPTIONS, **options}
        kept = KeptFacts(**given)
        with kept.keep_in(tmp_path / name, others):
            found = dict(kept.examine(images, pixels, ALONE))
            return [found[number] for number in range(len(images))], kept.taken

    return call


def test_images_are_read_once(images, examine, monkeypatch):
    first, taken = examine(images[1:3])
    assert taken == 0
    whole, _ = examine(images, name="whole.csv")
    again, taken = examine(images)
    assert (again, taken) == (whole, 2)
    assert again[1:3] == first
    read: list[Path] = []
    monkeypatch.setattr(kept_facts, "examine_image", lambda image, **_: read.append(image.path))
    assert examine(images) == (whole, 4)
    assert read == []


@pytest.mark.parametrize(
    "options",
    [
        {"options": ReadOptions(boxes=True)},
        {"convention": replace(CONVENTION, base=0)},
        {"convention": replace(CONVENTION, order="row")},
        {"pixels": PixelFormat(window=(0, 4095))},
    ],
)
def test_facts_that_were_found_otherwise_are_not_taken(images, examine, options):
    examine(images)
    again, taken = examine(images, **options)
    assert taken == 0
    assert examine(images, **options) == (again, 4)


def test_facts_of_what_has_changed_are_not_taken(images, examine, tmp_path, monkeypatch):
    examine(images)
    row = replace(images[0].rows[0], rle="30 6")
    changed = [replace(images[0], rows=(row,)), *images[1:]]
    facts, taken = examine(changed)
    assert (facts[0].rles, taken) == ({"1": "30 6"}, 3)
    os.utime(images[1].path, ns=(1, 1))
    assert examine(images)[1] == 3
    write_png(images[2].path, np.zeros((30, 40), np.uint8))
    facts, taken = examine(images)
    assert (facts[2].height, taken) == (30, 3)
    mask = tmp_path / "roi.png"
    write_png(mask, np.full((24, 40), 255, np.uint8))
    with_roi = [replace(one, roi=str(mask)) for one in images[:2]]
    assert [examine(with_roi)[1] for _ in range(2)] == [0, 2]
    os.utime(mask, ns=(1, 1))
    assert examine(with_roi)[1] == 0
    monkeypatch.setattr(kept_facts, "describe_software", dict)
    assert examine(images)[1] == 0


def test_what_follows_a_damaged_row_is_found_out_again(images, examine, tmp_path):
    whole, _ = examine(images)
    path = tmp_path / FACTS
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    changed = lines[3].replace(b" 24,", b" 25,")
    assert changed != lines[3]
    for damaged, left in (
        (content[:-7], 3),  # cut off
        (b"".join([*lines[:3], changed, lines[4]]), 2),
        (b"".join([*lines[:2], b"\0" * len(lines[2]), *lines[3:]]), 1),
        (content.replace(b"key,", b"kye,"), 0),
        (b"", 0),
    ):
        path.write_bytes(damaged)
        assert examine(images) == (whole, left)
        assert path.read_bytes() == content


def test_facts_are_taken_from_other_files_too(images, examine, tmp_path):
    whole, _ = examine(images, name="whole.csv")
    for number in (1, 2):
        examine(images[number::2], name=f"{number}.csv")
    facts, taken = examine(images, others=[tmp_path / "1.csv", tmp_path / "2.csv"])
    assert (facts, taken) == (whole, 3)
