import json
from dataclasses import replace

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from defectkit.data.dataset import Dataset
from defectkit.data.dataset_facts import (
    MAX_COMPARED,
    DatasetFacts,
    MeasuredImage,
    Spread,
    facts_of,
    measure_alignment,
    summarize_images,
)
from defectkit.data.image_measures import ImageMeasures, measure_image
from defectkit.errors import DatasetError
from defectkit.files import write_json
from defectkit.regions import Region
from defectkit.seals import add_seal


def image(split="train", sides=(), *, class_id="1", size=(100, 200), group="", contrasts=()):
    """An image with square regions of these sides."""
    return MeasuredImage(
        split=split,
        group=group,
        height=size[0],
        width=size[1],
        classes=(class_id,) if sides else (),
        regions=tuple(
            Region(box_xywh=(0, 0, side, side), area=side**2, class_id=class_id) for side in sides
        ),
        measures=ImageMeasures(contrasts={class_id: tuple(contrasts)} if contrasts else {}),
    )


def layouts(count, *, common=0.0, lamp=0.0):
    """Layouts of noise, with a pattern in common and light that falls off."""
    rng = np.random.default_rng(3)
    pattern = np.random.default_rng(4).normal(0, 20 * common, (16, 16))
    light = lamp * -((np.arange(16) - 8.0) ** 2)
    images = 128 + light + pattern + rng.normal(0, 10, (count, 16, 16))
    return [np.clip(one, 0, 255).astype(np.uint8).tobytes() for one in images]


def test_splits_and_classes_are_counted_in_all_splits():
    facts = summarize_images(
        [
            image(sides=[4], group="a"),
            image(group="a"),
            image("val", [4], class_id="2", group="b"),
            image("test", group="c"),
        ]
    )
    train = facts.splits["train"]
    assert (train.images, train.defective, train.good, train.groups) == (2, 1, 1, 1)
    assert facts.splits["test"].defective == 0
    assert facts.classes == {
        "1": {"train": 1, "val": 0, "test": 0},
        "2": {"train": 0, "val": 1, "test": 0},
    }


def test_all_else_is_measured_on_the_training_split_alone():
    train = [image(sides=[4, 6], contrasts=[1.0, 2.0]), image(sides=[8], contrasts=[3.0])]
    other = [
        image(split, [90], size=(900, 900), contrasts=[50.0], class_id=class_id)
        for split in ("val", "test")
        for class_id in "12"
    ]
    alone, together = summarize_images(train), summarize_images([*train, *other])
    for name in ("height", "width", "pixels", "equal_sizes", "defects", "defects_by_class"):
        assert getattr(together, name) == getattr(alone, name)
    assert alone.defects.regions == 3
    assert alone.defects.side == Spread(4.2, 6.0, 7.8)
    assert alone.defects.thickness == alone.defects.side  # they are squares
    assert alone.defects.contrast.p50 == 2.0
    assert alone.pixels == Spread(20000, 20000, 20000)
    assert alone.equal_sizes


def test_thickness_is_the_width_of_a_scratch():
    scratch = replace(
        image(sides=[4]), regions=(Region(box_xywh=(0, 0, 60, 60), area=180, class_id="1"),)
    )
    assert summarize_images([scratch]).defects.thickness.p50 == 3.0


def test_good_images_alone_have_no_facts_of_defects():
    facts = summarize_images([image(), image(size=(50, 50))])
    assert facts.defects is None
    assert facts.defects_by_class == {}
    assert not facts.equal_sizes


@pytest.mark.parametrize(
    ("common", "lamp", "aligned"), [(0, 0, False), (0, 1, False), (2, 0, True), (2, 1, True)]
)
def test_images_that_show_one_part_are_aligned_and_a_lamp_makes_none(common, lamp, aligned):
    found = measure_alignment(layouts(40, common=common, lamp=lamp))
    assert (found > 0.8) if aligned else (abs(found) < 0.2)


def test_an_image_is_not_compared_with_itself():
    assert measure_alignment(layouts(8)) < 0.2
    assert measure_alignment(layouts(7, common=2)) is None


def test_uniform_images_and_many_images_have_an_alignment():
    assert measure_alignment([bytes(256)] * 9) == 0.0
    many = layouts(MAX_COMPARED + 1, common=2)
    assert measure_alignment(many) == measure_alignment(many[::2])


@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=9))
def test_a_spread_is_ordered_and_near_the_values(values):
    spread = Spread.of(values)
    assert spread.p50 == pytest.approx(np.median(values), rel=1e-3)


@pytest.mark.parametrize(
    "values", [(-1, 0, 1), (2, 1, 3), (0, 0, float("inf")), (0, float("nan"), 1)]
)
def test_what_is_no_spread_is_refused(values):
    with pytest.raises(ValueError, match="is not a spread"):
        Spread(*values)


def test_facts_are_read_as_they_were_written():
    for facts in (summarize_images([image(sides=[3])]), summarize_images([image()])):
        assert DatasetFacts.from_dict(json.loads(json.dumps(facts.to_dict()))) == facts


def test_prepare_stores_what_is_measured_of_a_dataset_without_facts(dataset_folder):
    dataset = Dataset.load(dataset_folder)
    assert dataset.info["facts"] is not None
    stored = facts_of(dataset, track=lambda _: pytest.fail("images are read"))
    bare = replace(dataset, info={key: dataset.info[key] for key in dataset.info if key != "facts"})
    tracked = []
    measured = facts_of(bare, track=lambda records: [tracked.append(len(records)), *records][1:])
    assert measured == stored
    assert tracked == [stored.splits["train"].images] == [10]
    assert stored.defects.side.p50 == 22
    assert stored.defects.contrast.p50 > 5


def test_damaged_facts_are_refused_in_words(dataset_copy):
    info = json.loads((dataset_copy / "dataset.json").read_text())
    info["facts"]["height"]["p5"] = 1e9
    write_json(dataset_copy / "dataset.json", add_seal(info))
    with pytest.raises(
        DatasetError, match="the facts in its dataset.json do not fit. Run 'defectk"
    ):
        facts_of(Dataset.load(dataset_copy))


def test_the_measures_of_an_image_and_its_record_are_the_same(dataset_folder):
    dataset = Dataset.load(dataset_folder)
    record = next(one for one in dataset.split("train") if one.defective)
    defects = record.read_masks(dataset.classes).any(axis=0)
    gray = record.read_image(1)
    assert measure_image(gray, record.regions, defects) == measure_image(
        gray[:, :, 0], record.regions, defects
    )
