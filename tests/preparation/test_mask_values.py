import cv2
import numpy as np
import pytest
from PIL import Image

from defectkit.data.mask_images import PaletteColor
from defectkit.labels import rle
from defectkit.labels.read_options import DEFAULT_OPTIONS, ReadOptions
from defectkit.preparation.mask_values import (
    MaskImage,
    describe_shares,
    encode_mask,
    find_meaning,
    find_soft_edges,
    palettes_count_by_color,
)


@pytest.fixture
def encode(tmp_path):
    """Write a mask and encode it."""

    def call(values, kind="PNG", *, as_colors=False, **options):
        Image.fromarray(np.asarray(values, np.uint8)).save(tmp_path / "a", kind)
        return encode_mask(tmp_path / "a", options=ReadOptions(**options), as_colors=as_colors)

    return call


def disc(radius=9, value=255, size=(48, 64), line=cv2.LINE_8):
    return cv2.circle(np.zeros(size, np.uint8), (30, 24), radius, value, -1, line)


def masks_of(*rows):
    """Make masks of the values that each has, without pixels."""
    return [MaskImage((8, 8), dict.fromkeys(row, "1 1"), defective=len(row)) for row in rows]


SOFT = {
    "drawn with smooth lines": lambda: disc(line=cv2.LINE_AA),
    "resized": lambda: cv2.resize(disc(), (96, 72), interpolation=cv2.INTER_LINEAR),
    "blurred": lambda: cv2.GaussianBlur(disc(), (0, 0), 2),
    "a few values": lambda: cv2.blur(disc() // 255 * 9, (3, 3)),
    "white with noise": lambda: np.where(disc(5) > 0, 254, disc()),
    "in color": lambda: np.dstack([disc(line=cv2.LINE_AA), disc() * 0, disc() * 0]),
}
HARD = {
    "one class": lambda: disc(),
    "two classes": lambda: np.maximum(disc(value=1), cv2.flip(disc(5, 2), 1)),
    "one class around another": lambda: np.maximum(disc(12, 1), disc(6, 2)),
    "gray levels": lambda: np.maximum(disc(12, 128), disc(4, 255)),
    "a border that is ignored": lambda: np.where(disc(6) > 0, 2, disc(8)),
    "thin lines": lambda: np.maximum(disc(5, 3), cv2.line(disc(0, 0), (0, 0), (20, 47), 1)),
}


@pytest.mark.check(42)
@pytest.mark.parametrize("name", SOFT)
def test_soft_edges_are_no_classes(encode, name):
    (reason,) = find_soft_edges([encode(SOFT[name]())]).values()
    assert "soft edges" in reason
    assert "--mask-threshold 128" in reason
    assert find_soft_edges([encode(SOFT[name](), mask_threshold=5)]) == {}
    assert find_soft_edges([encode(SOFT[name](), invert=True)])


@pytest.mark.parametrize("name", HARD)
def test_areas_of_classes_are_no_soft_edges(encode, name):
    assert find_soft_edges([encode(HARD[name]())]) == {}


def test_masks_without_values_between_stay_where_others_are_soft(encode):
    assert list(find_soft_edges([encode(disc()), encode(disc(line=cv2.LINE_AA))])) == [1]


def test_jpeg_needs_a_threshold(encode):
    assert "JPEG does not keep" in find_soft_edges([encode(disc(), "JPEG")])[0]
    mask = encode(disc(), "JPEG", mask_threshold=128)
    assert find_soft_edges([mask]) == {}
    assert mask.rles == {1: rle.encode(disc() > 0)}


@pytest.mark.check(42)
def test_an_image_of_many_values_is_soft_or_no_mask(encode):
    photo = np.random.default_rng(0).integers(0, 256, (48, 64))
    assert "different values are not those of a mask" in encode(photo).problem
    many = np.kron(np.arange(0, 100).reshape(10, 10), np.ones((3, 3)))
    instances = encode(np.pad(many, 60))
    assert "--mask-threshold 1" in instances.problem
    assert find_soft_edges([instances]) == {}
    jpeg = np.clip(disc() + np.random.default_rng(0).normal(0, 15, (48, 64)), 0, 255)
    assert "too many for classes" in encode(jpeg).problem
    assert find_soft_edges([encode(jpeg)])


def test_the_threshold_and_the_inversion_make_one_class(encode):
    values = disc(value=90)
    assert encode(values, mask_threshold=90).rles == {1: rle.encode(values > 0)}
    assert encode(values, mask_threshold=91).rles == {}
    assert encode(values, invert=True).rles == {1: rle.encode(values == 0)}
    both = encode(values, mask_threshold=90, invert=True)
    assert both.rles == {1: rle.encode(values == 0)}
    red = np.dstack([values, values * 0, values * 0])
    assert encode(red, mask_threshold=90).rles == {1: rle.encode(values > 0)}


def test_one_value_is_one_class():
    for value in (1, 255):
        assert find_meaning(masks_of([value], [])).classes == {value: "1"}
    assert find_meaning(masks_of([7])).classes == {7: "7"}
    mixed = find_meaning(masks_of([1], [255], [1]))
    assert mixed.classes == {1: "1", 255: "1"}
    assert mixed.notes == ("the masks have 0 and 1 or 255: all but 0 is one class",)
    assert find_meaning(masks_of([65535])).classes == {65535: "1"}
    assert find_meaning(masks_of([254], [255])).classes == {254: "1", 255: "1"}


def test_each_further_value_is_a_class():
    meaning = find_meaning(masks_of([1, 2], [1], [2]))
    assert (meaning.classes, meaning.notes) == ({1: "1", 2: "2"}, ())
    assert find_meaning(masks_of([128, 255], [128], [255])).classes == {128: "128", 255: "255"}


def test_255_beside_class_numbers_is_ignored():
    for rows in ([[1, 255], [1]], [[1, 2, 255], [1, 2]], [[1, 255], [255], [1]]):
        meaning = find_meaning(masks_of(*rows))
        assert meaning.ignored == {255}
        assert 255 not in meaning.classes
        assert "these pixels are ignored" in meaning.notes[0]


@pytest.mark.parametrize(
    ("rows", "found"),
    [
        ([[1, 255], [255], [255]], "2 of 3 masks with the value 255 have no other"),
        ([[1, 255]] * 2, "of the pixels of masks with the value 255, 400 have it and 2 are of"),
    ],
)
def test_stray_pixels_do_not_make_defects_ignored(rows, found):
    masks = [
        MaskImage((20, 20), {value: "1 200" if value == 255 else "1 1" for value in row})
        for row in rows
    ]
    meaning = find_meaning(masks)
    assert meaning.ignored == frozenset()
    assert meaning.problems[255].startswith(found)
    assert "--mask-threshold 1" in meaning.problems[255]


def test_a_mask_below_the_threshold_is_refused_and_never_good(encode):
    problem = encode(disc(value=1), mask_threshold=128).problem
    assert problem.startswith("its largest value is 1, below --mask-threshold 128")
    assert encode(disc(value=1), mask_threshold=1).rles
    assert not encode(disc(0, 0), mask_threshold=128).problem
    assert not encode(disc(value=9), "JPEG", mask_threshold=128).problem  # noise of a good one


def test_255_alone_where_others_have_classes_is_refused():
    meaning = find_meaning(masks_of([1, 2], [1, 2], [255]))
    assert "name the values in classes.csv" in meaning.problems[255]
    assert (1 in meaning.problems, meaning.ignored) == (False, frozenset())


@pytest.mark.check(42)
def test_values_that_occur_in_one_image_each_are_no_classes():
    meaning = find_meaning(masks_of(*[[value] for value in range(3, 12)]))
    assert "instances" in meaning.problems[3]
    assert "--mask-threshold 1" in meaning.problems[3]
    few = find_meaning(masks_of([3], [4], [5]))
    assert few.classes == {3: "3", 4: "4", 5: "5"}
    assert "instances" in few.notes[0]


def test_numbers_of_single_defects_are_said():
    numbered = find_meaning(masks_of([1], [1, 2], [1, 2, 3], [1, 2, 3]))
    assert "number its single defects" in numbered.notes[0]
    assert find_meaning(masks_of([1], [2], [1, 2, 3], [1, 2, 3])).notes == ()


def test_colors_are_classes_and_a_background_that_is_not_black_is_refused(encode):
    red, blue = (np.dstack([disc() * on for on in channels]) for channels in ((1, 0, 0), (0, 0, 1)))
    meaning = find_meaning([encode(red), encode(blue), encode(disc() * 0)])
    assert meaning.classes == {0xFF0000: "#ff0000", 0x0000FF: "#0000ff"}
    assert "labelmap.txt" in meaning.notes[0]
    white = find_meaning([encode(np.dstack([disc(), disc() * 0 + 255, disc() * 0 + 255]))])
    assert "no mask has black" in next(iter(white.problems.values()))


WHITE, BLACK, RED = 0xFFFFFF, 0, 0xFF0000
PALETTES = {
    "black first": ([((BLACK, 90), (RED, 10)), ((BLACK, 100),)], False, False),
    "white first, of the background": ([((WHITE, 90), (BLACK, 10)), ((WHITE, 100),)], False, True),
    "red first, of the defects": ([((RED, 10), (BLACK, 90))], True, False),
    "each has its own": ([((RED, 10), (BLACK, 90)), ((BLACK, 100),)], True, True),
    "no black": ([((WHITE, 90), (RED, 10)), ((WHITE, 100),)], False, False),
    "no palettes": ([()], False, False),
}


@pytest.mark.parametrize("name", PALETTES)
def test_palettes_count_by_color_where_their_first_color_is_not_the_background(name):
    palettes, plain, inverted = PALETTES[name]
    masks = [
        MaskImage(
            (10, 10),
            palette=tuple(
                PaletteColor(index, color, pixels) for index, (color, pixels) in enumerate(colors)
            ),
        )
        for colors in palettes
    ]
    assert palettes_count_by_color(masks, invert=False) == plain
    assert palettes_count_by_color(masks, invert=True) == inverted


def test_inverted_masks_are_said():
    small, large = MaskImage((8, 8), defective=3), MaskImage((8, 8), defective=60)
    assert "give --invert" in describe_shares({"a": large, "b": large, "c": small})
    assert "leave out --invert" in describe_shares({"a": large, "b": large}, inverted=True)
    assert describe_shares({}) == describe_shares({"a": small}) == ""
    medium, good = MaskImage((8, 8), defective=20), MaskImage((8, 8))
    assert describe_shares({"a": large, "b": medium}) == ""
    assert describe_shares({"a": large, "b": good}) == ""
    note = describe_shares({"a": large, "b": small, "c": good})
    assert "1 masks (a), and at most 4.7% in all others" in note


def test_what_cannot_be_read_is_a_problem(tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert encode_mask(tmp_path / "a.png", options=DEFAULT_OPTIONS, as_colors=False).problem
