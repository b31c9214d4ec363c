import io
from pathlib import Path

import pytest
from rich.console import Console

from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.prepared_image import PreparedImage
from defectkit.regions import Region
from defectkit.reporting.dataset_summary import print_summary


def image(name, split, group=None, *, size=(100, 200), channels=1, **areas):
    regions = [
        Region(box_xywh=(0, 0, area, 1), area=area, class_id=class_id)
        for class_id, own in areas.items()
        for area in own
    ]
    facts = ImageFacts(
        image_id=name, path=Path(name), height=size[0], width=size[1], channels=channels,
        rles=dict.fromkeys(areas, "1 1"), regions=tuple(regions),
    )  # fmt: skip
    return PreparedImage(facts, group or name, split)


IMAGES = [
    image("a", "train", "one", dent=(10, 20, 30)),
    image("b", "train", "one", size=(50, 60)),
    image("c", "val", dent=(40,), scratch=(8,)),
    image("d", "test", channels=3, size=(400, 500)),
]


def summary(images=IMAGES, classes=("dent", "scratch"), pixel_pitch=None):
    console = Console(file=io.StringIO(), width=200)
    print_summary(console, images, classes, pixel_pitch=pixel_pitch)
    return [" ".join(line.split()) for line in console.file.getvalue().splitlines()]


def test_images_are_counted_and_measured():
    lines = summary()
    for line in (
        "images 4", "defective 2", "good 2", "gray 3", "color 1",
        "smallest, width x height 60 x 50", "median 200 x 100", "largest 500 x 400",
    ):  # fmt: skip
        assert line in lines


def test_areas_are_given_by_percentile_in_pixels_and_percent():
    lines = summary()
    assert "class images regions area p5 p25 p50 p75 p95" in lines
    assert "dent 2 4 px 12 18 25 32 38" in lines
    assert "scratch 1 1 px 8 8 8 8 8" in lines
    assert "% 0.04 0.04 0.04 0.04 0.04" in lines


def test_with_a_pixel_pitch_areas_are_in_square_millimeters_too():
    assert "mm² 2 2 2 2 2" in summary(pixel_pitch=0.5)
    assert not any("mm²" in line for line in summary())


def test_splits_are_counted_by_image_group_and_class():
    lines = summary()
    for line in (
        "train val test", "images 2 1 1", "share 50.0 % 25.0 % 25.0 %", "groups 1 1 1",
        "good 1 0 1", "defective 1 1 0", "class dent 1 1 0", "class scratch 0 1 0",
    ):  # fmt: skip
        assert line in lines


def test_good_images_alone_have_no_table_of_defects():
    lines = summary([image("a", "train")], ())
    assert "images 1" in lines
    assert not any("regions" in line for line in lines)


@pytest.mark.parametrize("name", ["[bold]", "[/]"])
def test_names_of_classes_are_text(name):
    facts = image("a", "train", **{name: (3,)})
    assert f"class {name} 1 0 0" in summary([facts], (name,))
