import numpy as np
import pytest

from defectkit.errors import LabelError
from defectkit.labels import rle
from defectkit.labels.rle_convention import (
    RleConvention,
    decide_convention,
    refuse_base_contradiction,
)
from defectkit.labels.table import LabelRow

UNKNOWN = (
    "base 1: assumed (Kaggle's convention), since no run shows it; "
    "order column: assumed (Kaggle's convention), since no mask shows it"
)


def rows(*texts: str) -> list[LabelRow]:
    return [LabelRow(line, "a.png", "1", text) for line, text in enumerate(texts, start=2)]


def blob(rng, shape, *, border=""):
    """An ellipse or a bar in an image, not symmetric; it touches the ``border`` that is named."""
    height, width = shape
    half_y, half_x = rng.uniform(4, height / 4), rng.uniform(4, width / 4)
    y, x = rng.uniform(half_y, height - half_y), rng.uniform(half_x, width - half_x)
    y, x = {"top": (0, x), "bottom": (height - 1, x), "left": (y, 0), "right": (y, width - 1)}.get(
        border, (y, x)
    )
    rows, columns = np.mgrid[:height, :width]
    down, right = (rows - y) / half_y, (columns - x) / half_x
    inside = down**2 + right**2 <= 1 if rng.random() < 0.5 else (abs(down) < 1) & (abs(right) < 1)
    return inside.astype(np.uint8)


def sample(masks, base, order):
    return [
        (LabelRow(line, f"{line}.png", "1", rle.encode(mask, base=base, order=order)), mask.shape)
        for line, mask in enumerate(masks, start=2)
    ]


def decide(samples, **asked):
    return decide_convention([row for row, _ in samples], samples, **asked)


def random_shape(rng):
    """Sides of an image that differ by an eighth at the least."""
    while True:
        height, width = (int(side) for side in rng.integers(48, 200, 2))
        if max(height, width) >= 9 / 8 * min(height, width):
            return height, width


@pytest.mark.parametrize("texts", [(), ("",), ("1 3",), ("5 0",), ("10 20 100 1",), ("3 0 7 2",)])
def test_where_nothing_tells_kaggles_convention_is_assumed_and_named(texts):
    assert decide_convention(rows(*texts)) == RleConvention(1, "column", UNKNOWN)


@pytest.mark.parametrize("text", ["0 3", "7 2 0 3", "  0   3"])
def test_a_start_at_0_shows_base_0(text):
    found = decide_convention(rows("1 2", text))
    assert (found.base, found.order) == (0, "column")
    assert found.how_decided.startswith("base 0: a run in line 3 starts at 0;")


def test_an_end_at_the_number_of_pixels_shows_base_1():
    row = rows("11 2")[0]
    found = decide_convention([row], [(row, (3, 4))])
    assert found.how_decided.startswith("base 1: line 2 ends at 12, the number of pixels;")


def test_what_is_given_is_taken():
    found = decide_convention(rows("0 3"), base="1", order="row")
    assert found == RleConvention(1, "row", "base 1: given; order row: given")


def test_a_row_that_fits_base_1_alone_contradicts_a_guess_of_base_0():
    guess = decide_convention(rows("0 3"))
    with pytest.raises(LabelError, match=r"line 2 ends at 12, .*Say which with --rle-base 0 or"):
        refuse_base_contradiction([(rows("11 2")[0], 12)], guess, asked="auto")
    refuse_base_contradiction([(rows("12 2")[0], 12)], guess, asked="auto")  # fits neither
    refuse_base_contradiction([(rows("11 2")[0], 12)], guess, asked="0")


def test_a_start_at_0_and_an_end_at_the_number_of_pixels_contradict_each_other():
    zero, full = rows("0 3", "11 2")
    with pytest.raises(LabelError, match=r"base 0: a run in line 2 .*base 1: line 3 ends at 12"):
        decide_convention([zero, full], [(zero, (3, 4)), (full, (3, 4))])


@pytest.mark.check(19)
def test_base_and_order_are_found_in_random_defects(tally):
    rng = np.random.default_rng(19)
    for _ in range(tally.number(short=20, full=200)):
        shape = random_shape(rng)
        masks = [
            blob(rng, shape, border=border) for border in ("", "top", "bottom", "left", "right")
        ]
        for base in (0, 1):
            for order in ("column", "row"):
                with tally.case((shape, base, order)):
                    found = decide(sample(masks, base, order))
                    assert (found.base, found.order) == (base, order), found
                    assert "assumed" not in found.how_decided


def test_square_images_do_not_show_the_order_but_the_base():
    rng = np.random.default_rng(3)
    masks = [blob(rng, (80, 80), border="top") for _ in range(4)]
    found = decide(sample(masks, 0, "column"))
    assert found.base == 0
    assert found.how_decided.endswith(
        "order column: assumed (Kaggle's convention), since no mask shows it"
    )


def test_noise_tells_nothing():
    noise = [np.random.default_rng(n).integers(0, 2, (60, 90), np.uint8) for n in range(5)]
    for mask in noise:
        mask[0, 0] = mask[-1, -1] = 0
    assert decide(sample(noise, 0, "row")).how_decided == UNKNOWN


def test_full_columns_are_no_sign_of_rows():
    mask = np.zeros((90, 40), np.uint8)
    mask[:, 3:10] = mask[:, 20:25] = mask[:, 30:33] = 1
    found = decide(sample([mask] * 3, 1, "column"))
    assert found.order == "column"
    assert found.how_decided.startswith("base 1: 9 runs would wrap over the end of a column by one")


@pytest.mark.check(9)
@pytest.mark.parametrize("order", ["column", "row"])
@pytest.mark.parametrize("base", [0, 1])
def test_what_is_given_wrongly_stops_and_the_flag_is_named(base, order, tally):
    rng = np.random.default_rng([9, base])
    for _ in range(tally.number(short=10, full=100)):
        shape = random_shape(rng)
        masks = [
            blob(rng, shape, border=border) for border in ("", "top", "bottom", "left", "right")
        ]
        samples = sample(masks, base, order)
        # What settles the base at once is covered above.
        samples = [(row, shape) for row, shape in samples if not row.rle.startswith("0 ")]
        with tally.case((shape, base, order)):
            decide(samples, base=str(base), order=order)
            other = "row" if order == "column" else "column"
            with pytest.raises(
                LabelError, match=rf"--rle-order {other} contradicts .*Give --rle-order {order}"
            ):
                decide(samples, order=other)
            with pytest.raises(
                LabelError, match=rf"--rle-base {1 - base} contradicts .*Give --rle-base {base}"
            ):
                decide(samples, base=str(1 - base), order=order)


def test_few_masks_do_not_overrule_what_is_given():
    rng = np.random.default_rng(5)
    samples = sample([blob(rng, (60, 100)) for _ in range(2)], 1, "row")
    assert decide(samples).order == "row"
    assert decide(samples, order="column").how_decided.endswith("order column: given")


@pytest.mark.check(9)
def test_images_that_were_turned_after_labeling_stop_the_guess():
    rng = np.random.default_rng(6)
    samples = sample([blob(rng, (60, 100)) for _ in range(9)], 1, "column")
    turned = [
        (row, shape[::-1]) if n % 3 == 0 else (row, shape) for n, (row, shape) in enumerate(samples)
    ]
    with pytest.raises(
        LabelError,
        match=r"6 of 9 masks .* column order, 3 in row order; see lines 3 and 2\. Height "
        r"and width .* swapped.*--rle-order column",
    ):
        decide(turned)
    assert decide(turned, order="column").order == "column"
    with pytest.raises(
        LabelError, match=r"rotate the images if their height and width were swapped"
    ):
        decide([(row, shape[::-1]) for row, shape in samples], order="column")
