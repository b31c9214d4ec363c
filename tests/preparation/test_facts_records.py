from dataclasses import fields, replace
from pathlib import Path

import numpy as np
from example_facts import example_facts

from defectkit.data.pixel_format import PixelFormat
from defectkit.preparation.facts_records import read_facts, write_facts
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.matched_image import MatchedImage

IMAGE = MatchedImage("part-\udce9 1.png", str(Path("Train/part 1.png")))
FACTS = example_facts(IMAGE, PixelFormat(window=(0.1, 4095), pages="channels", shown=(0, 1, 1)))


def test_every_fact_comes_back_bit_for_bit():
    at_first = ImageFacts(image_id=FACTS.image_id, path=FACTS.path)
    for field in fields(ImageFacts):
        if field.name not in ("image_id", "path", "levels"):
            assert getattr(FACTS, field.name) != getattr(at_first, field.name), field.name
    for facts in (FACTS, at_first):
        read = read_facts(write_facts(facts), IMAGE)
        assert read == facts
        assert repr(read) == repr(facts)  # also the order of classes, and whole numbers as such
        assert read.path == IMAGE.path


def test_numbers_of_numpy_come_back_as_those_of_python():
    facts = replace(FACTS, cut_rows=np.int64(2), clipped=np.float64(1 / 3), deep=np.True_)
    read = read_facts(write_facts(facts), IMAGE)
    assert read == FACTS
    assert repr(read) == repr(FACTS)


def test_gray_levels_come_back():
    levels = np.zeros(65536, np.int64)
    levels[[0, 7, 65535]] = 3, 2**33, 1
    text = write_facts(replace(FACTS, levels=levels))
    read = read_facts(text, IMAGE).levels
    np.testing.assert_array_equal(read, levels)
    assert read.dtype == np.int64
    assert len(text) < 10_000
