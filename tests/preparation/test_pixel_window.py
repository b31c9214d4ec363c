from pathlib import Path

import numpy as np
import pytest

from defectkit.data.pixel_format import PixelFormat
from defectkit.errors import DatasetError
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.pixel_window import (
    Levels,
    PixelOptions,
    check_pixels,
    parse_pixel_options,
    pixel_warnings,
)


def asked(**options):
    given = {"window": None, "percentile": None, "pages": "first", "show_channels": None}
    return parse_pixel_options(**{**given, **options})


def facts(name, **values):
    return ImageFacts(image_id=name, path=Path(name), channels=values.pop("channels", 1), **values)


def measured(*images):
    levels = Levels()
    results = [facts("a.png", levels=np.bincount(np.ravel(image))) for image in images]
    taken = [*levels.take(enumerate(results))]
    assert [number for number, _ in taken] == [*range(len(images))]
    assert all(one.levels is None and one.deep for _, one in taken)
    return levels


@pytest.mark.parametrize(
    ("highest", "bits"),
    [(0, 8), (255, 8), (256, 10), (1023, 10), (1024, 12), (4095, 12), (4096, 14), (16384, 16)],
)
def test_the_window_is_that_of_the_cameras_bits(highest, bits):
    levels = measured([0, highest], [highest // 2])
    assert levels.window(None) == (0, 2**bits - 1)


def test_percentiles_are_those_of_all_pixels():
    one, other = np.arange(1000), np.full(1000, 500)
    levels = measured(one, other)
    assert levels.window((10, 90)) == (199, 799)
    assert levels.window((0, 100)) == (0, 999)
    with pytest.raises(DatasetError, match=r"--percentile 40,60: both are the gray value 500"):
        levels.window((40, 60))


def test_other_images_pass_untouched():
    levels = Levels()
    image = facts("a.png")
    assert next(levels.take([(7, image)])) == (7, image)
    assert levels.images == 0


def test_options_are_parsed():
    assert asked() == PixelOptions(None, None, "first", None)
    given = asked(window="-3,4095", pages="channels", show_channels="3, 1,0")
    assert given.format == PixelFormat(window=(-3, 4095), pages="channels", shown=(3, 1, 0))
    assert asked(window="0.5,1e3").window == (0.5, 1000.0)
    assert asked(percentile="0.1,99.9").percentile == (0.1, 99.9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window": "9"}, "--window 9 is not LOW,HIGH, such as 0,4095"),
        ({"window": "9,9"}, "--window 9,9: LOW must be below HIGH"),
        ({"window": "0,nan"}, "--window 0,nan is not LOW,HIGH"),
        ({"window": "0,inf"}, "--window 0,inf is not LOW,HIGH"),
        ({"percentile": "1,101"}, r"--percentile 1,101 is not LOW,HIGH, such as 0\.1,99\.9"),
        ({"show_channels": "0,1"}, "--show-channels 0,1 are not three channels, counted from 0"),
        ({"show_channels": "0,1,-2"}, "--show-channels 0,1,-2 are not three channels"),
        ({"window": "0,9", "percentile": "1,99"}, "--window and --percentile exclude each other"),
    ],
)
def test_options_that_cannot_be_understood_are_refused(options, message):
    with pytest.raises(DatasetError, match=message):
        asked(**options)


def test_all_images_have_the_same_channels():
    check_pixels([facts("a", channels=1), facts("b", channels=3)], asked())
    check_pixels([facts("a", channels=5), facts("b", channels=3, problem="bad")], asked())
    with pytest.raises(DatasetError, match="but [ab] has [45] and [ab] has [45]"):
        check_pixels([facts("a", channels=5), facts("b", channels=4)], asked())
    with pytest.raises(DatasetError, match="same number of channels, but a has 1 and c has 2"):
        check_pixels([facts("a"), facts("c", channels=2)], asked())


def test_options_must_fit_the_images():
    for channels, shown in ((5, "0,1,5"), (1, "0,0,0"), (3, "2,1,0")):
        with pytest.raises(DatasetError, match=f"{shown}: the images have {channels} channel"):
            check_pixels([facts("a", channels=channels)], asked(show_channels=shown))
    check_pixels([facts("a", channels=2)], asked(show_channels="1,0,1"))
    for option in ({"window": "0,4095"}, {"percentile": "1,99"}):
        with pytest.raises(DatasetError, match="is for images of more than 8 bits, but all"):
            check_pixels([facts("a")], asked(**option))
        check_pixels([facts("a"), facts("b", deep=True)], asked(**option))


def warned(images, pixels=None, levels=None, **options):
    pixels = pixels or PixelFormat(window=(0, 4095))
    return pixel_warnings(images, pixels, asked(**options), levels or Levels())


def test_images_of_8_bits_need_no_word():
    assert warned([facts("a")], PixelFormat()) == []


def test_the_window_is_said_with_how_it_was_chosen():
    deep = [facts("a", deep=True), facts("b", deep=True)]
    for options, how in (
        ({}, "measured over the training images; --window or --percentile choose others"),
        ({"window": "0,4095"}, "as given"),
        ({"percentile": "0.1,99.9"}, "the percentiles 0.1 and 99.9 of the training images"),
    ):
        assert warned(deep, **options) == [
            f"2 images have more than 8 bits: the values 0 to 4095 become black to white ({how})"
        ]


def test_what_else_was_found_is_said():
    images = [
        facts("a", deep=True, clipped=0.3),
        facts("b", deep=True, clipped=0.001),
        facts("c", notes=("several pages",)),
        facts("d", deep=True, notes=("planes first",), clipped=0.0),
    ]
    levels = measured(np.arange(100, 400))
    pages, planes, _, mixed, clipped, small = warned(images, levels=levels)
    assert pages.startswith("1 images have several pages or frames (c): the first is taken.")
    assert planes == "1 arrays are read as (channels, height, width) (d)"
    assert mixed == "1 image has 8 bits and is not scaled; check that it matches the others (c)"
    assert clipped == (
        "10.0% of all pixel values lie outside of 0 to 4095 and become black or white; in 1 images "
        "more than 1% (a)"
    )
    assert small == (
        "nearly all pixels have values of 100 to 399, a small part of 0 to 4095: of 256 gray "
        "levels 19 are used. --percentile 0.1,99.9 uses all"
    )
