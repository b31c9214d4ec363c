"""The overlay must be readable, complete and true to the pixel."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from peak_memory import can_measure, peak_bytes

from defectkit.data.images import read_image
from defectkit.evaluation.thresholds import Thresholds
from defectkit.evaluation.verdicts import Judgment
from defectkit.findings import Finding
from defectkit.labels.scope import Scope
from defectkit.regions import Region, label_regions
from defectkit.reporting.drawing.header import GUTTER, legend_items
from defectkit.reporting.drawing.overlay import MIN_WIDTH, draw_overlay, mark_defects, region_tags
from defectkit.reporting.drawing.palette import BACKGROUND, COLORS, OUTCOME_COLORS, VERDICT_COLORS
from defectkit.reporting.drawing.strokes import TINT_OPACITY
from defectkit.reporting.drawing.tags import MAX_TAGS

TILES = Path(__file__).parents[4] / "shared" / "data" / "magnetic_tile" / "Train"

SAID = {
    "verdict": "defective",
    "score": 0.8,
    "threshold_low": 0.4,
    "threshold_high": 0.6,
}


def scene(height=100, width=140):
    """Return an image, a finding and a truth that overlap in a third."""
    rng = np.random.default_rng(1)
    image = rng.integers(0, 250, (height, width), np.uint8)  # no white, the color of the truth
    predicted, truth = np.zeros((2, height, width), bool)
    truth[20:70, 20:80] = True
    predicted[20:70, 60:120] = True
    return image, predicted, truth


def overlay(image, found, truth, *, scores=None, tags=None, image_id="a.png", **said):
    """The overlay of an image with the found mask ``found``, judged as ``SAID`` says."""
    scores = found[None].astype(np.float32) if scores is None else scores
    finding = Finding(
        score_map=scores,
        region_map=label_regions(found)[0],
        regions=(),
        score=0.5,
        class_scores=np.zeros(len(scores), np.float32),
    )
    said = {**SAID, **said}
    low, high = said.pop("threshold_low"), said.pop("threshold_high")
    judgment = Judgment(**said, thresholds=Thresholds(low=low, high=high, rule="f1"))
    return draw_overlay(image, finding, judgment, image_id=image_id, truth=truth, tags=tags)


def pixels_of(image, color):
    return (image == np.array(color, np.uint8)).all(axis=-1)


@pytest.mark.parametrize("channels", [None, 1, 3])
def test_the_left_panel_is_the_image_itself(channels):
    image, predicted, truth = scene()
    if channels:
        image = np.repeat(image[..., None], channels, axis=2)
    out = overlay(image, predicted, truth, outcome="hit")
    height, width = image.shape[:2]
    assert out.dtype == np.uint8
    assert out.shape[1:] == (max(2 * width + 3 * GUTTER, MIN_WIDTH), 3)
    top = out.shape[0] - GUTTER - height
    bare = out[top : top + height, GUTTER : GUTTER + width]
    assert (bare == (image if channels else image[..., None])).all()
    right = out[top : top + height, 2 * GUTTER + width : 2 * (GUTTER + width)]
    assert (right == mark_defects(image, found=predicted, truth=truth)).all()


@pytest.mark.parametrize("size", [1, 40])
@pytest.mark.parametrize(
    ("verdict", "found", "marks"),
    [
        ("defective", False, True), ("review", False, True),
        ("good", False, False), ("defective", True, False),
    ],
)  # fmt: skip
def test_where_nothing_was_found_in_a_doubtful_image_the_highest_score_is_marked(
    size, verdict, found, marks
):
    image, predicted, _ = scene()
    predicted &= found
    highest = np.zeros(image.shape, bool)
    highest[40 : 40 + size, 60 : 60 + size] = True
    scores = np.stack([np.full(image.shape, 0.2), np.where(highest, 0.3, 0.1)]).astype(np.float32)
    out, plain = (
        overlay(image, predicted, None, scores=scores, tags=tags, verdict=verdict)
        for tags in (None, ())
    )
    changed = (out != plain).any(axis=-1)
    assert changed.any() == marks
    assert not marks or pixels_of(out[changed], COLORS["finding"]).any()
    right = changed[-GUTTER - image.shape[0] : -GUTTER, 2 * GUTTER + image.shape[1] :]
    assert changed.sum() == right.sum()  # the bare image stays bare
    assert not right[:, : image.shape[1]][highest].any()  # and the spot itself


def test_hit_missed_and_false_pixels_have_their_tints():
    image, predicted, truth = scene()
    marked = mark_defects(image, found=predicted, truth=truth)
    for name, window in {
        "hit": np.s_[24:66, 64:76],
        "missed": np.s_[24:66, 24:54],
        "false": np.s_[24:66, 90:116],
    }.items():
        expected = (1 - TINT_OPACITY) * image[window][..., None] + TINT_OPACITY * np.array(
            COLORS[name]
        )
        assert np.abs(marked[window] - expected).max() <= 0.5, name
    far = np.s_[85:, :]
    assert (marked[far] == image[far][..., None]).all()


def test_both_contours_are_seen_and_cover_nothing_where_finding_and_truth_agree():
    image, _, truth = scene()
    marked = mark_defects(image, found=truth, truth=truth)
    assert pixels_of(marked, COLORS["finding"]).sum() > 150
    assert pixels_of(marked, COLORS["truth"]).sum() > 80
    expected = (1 - TINT_OPACITY) * image[truth][:, None] + TINT_OPACITY * np.array(COLORS["hit"])
    assert np.abs(marked[truth] - expected).max() <= 0.5


def test_without_truth_only_the_finding_is_drawn():
    image, predicted, _ = scene()
    marked = mark_defects(image, found=predicted, truth=None)
    changed = (marked != image[..., None]).any(axis=-1)
    assert (pixels_of(marked, COLORS["finding"]) == changed).all()
    assert not changed[predicted].any()
    assert changed.any()
    # Neither does the legend explain what is not there.
    out = overlay(image, predicted, None)
    assert not pixels_of(out, COLORS["missed"]).any()
    assert not pixels_of(out, COLORS["truth"]).any()


@pytest.mark.parametrize("size", [3, 5, 6])
def test_a_tiny_defect_cannot_be_overlooked(size):
    image = np.full((400, 103), 90, np.uint8)
    truth = np.zeros(image.shape, bool)
    truth[200 : 200 + size, 50 : 50 + size] = True
    missed = mark_defects(image, found=np.zeros_like(truth), truth=truth)
    rows, columns = np.nonzero(pixels_of(missed, COLORS["missed"]))
    assert np.ptp(rows) > 30
    assert np.ptp(columns) > 30
    assert not pixels_of(missed, COLORS["missed"])[truth].any(), "the ring covers the defect"


@pytest.mark.parametrize("shape", [(1, 1), (5, 5), (400, 20), (20, 400), (30, 3000)])
def test_every_size_of_image_is_drawn(shape):
    image = np.full(shape, 200, np.uint8)
    mask = np.zeros(shape, bool)
    mask[0, 0] = True
    out = overlay(image, mask, mask, tags=[("class 1 0.93", (0, 0, 1, 1))])
    assert out.shape[1] >= MIN_WIDTH
    assert out.shape[0] > shape[0]


def test_very_wide_images_are_stacked():
    image = np.arange(256 * 1600, dtype=np.uint32).reshape(256, 1600).astype(np.uint8)
    nothing = np.zeros(image.shape, bool)
    out = overlay(image, nothing, nothing, verdict="good")
    assert out.shape[1] == 1600 + 2 * GUTTER
    lower = out[-GUTTER - 256 : -GUTTER, GUTTER:-GUTTER, 0]
    upper = out[-2 * (GUTTER + 256) : -2 * GUTTER - 256, GUTTER:-GUTTER, 0]
    assert (lower == image).all()
    assert (upper == image).all()


def test_the_largest_regions_are_named():
    regions = tuple(
        Region(class_id=str(n), score=n / 10, box_xywh=(n, 0, n, 2), area=n) for n in (1, 3, 2)
    )
    scores = np.zeros((3, 20, 20), np.float32)
    finding = Finding(
        score_map=scores,
        region_map=np.zeros((20, 20), np.int32),
        regions=regions,
        score=0.3,
        class_scores=scores[:, 0, 0],
    )
    assert region_tags(finding)[:2] == [("3 0.30", (3, 0, 3, 2)), ("2 0.20", (2, 0, 2, 2))]
    unnamed = replace(finding, regions=(replace(regions[0], class_id=""),))
    assert region_tags(unnamed) == [("0.10", (1, 0, 1, 2))]


HOSTILE_IDS = [
    "x" * 500,
    "划痕/批次七/图像_00012.png",
    "<script>alert(1)</script>",
    "a\nb\x00\u202e\udcff",
    "",
]


@pytest.mark.parametrize("image_id", HOSTILE_IDS)
@pytest.mark.parametrize("width", [1, 103, 632])
def test_no_text_is_cut_at_the_edge(image_id, width):
    image = np.zeros((40, width), np.uint8)
    mask = np.zeros(image.shape, bool)
    said = {"image_id": image_id, "verdict": "good", "score": 0.39996}
    out = overlay(image, mask, mask, outcome="escape", **said)
    header = out[: out.shape[0] - 40 - GUTTER]
    for edge in (header[:, :2], header[:, -2:], header[:2]):
        assert (edge == BACKGROUND).all()


@pytest.mark.parametrize("verdict", ["good", "review", "defective"])
@pytest.mark.parametrize("outcome", [None, "hit", "escape", "overkill", "pass", "review"])
def test_the_header_has_the_colors_of_verdict_and_wrong_outcomes(verdict, outcome):
    image = np.zeros((60, 300), np.uint8)
    nothing = np.zeros(image.shape, bool)
    out = overlay(image, nothing, None, outcome=outcome, verdict=verdict, tags=())
    assert pixels_of(out, VERDICT_COLORS[verdict]).sum() > 300
    others = set(OUTCOME_COLORS.values()) - {VERDICT_COLORS[verdict]}
    shown = {color for color in others if pixels_of(out, color).sum() > 300}
    assert shown == others & {OUTCOME_COLORS.get(outcome)}


def header_texts(monkeypatch, tags=(), **said):
    texts = []
    monkeypatch.setattr(
        "defectkit.reporting.drawing.header.draw_texts",
        lambda _, entries: texts.extend(entry[0] for entry in entries),
    )
    nothing = np.zeros((20, 20), bool)
    overlay(np.zeros((20, 20), np.uint8), nothing, None, tags=tags, **said)
    return texts


def test_the_header_says_score_thresholds_and_outcome(monkeypatch):
    texts = header_texts(monkeypatch, outcome="hit")
    assert texts[:4] == ["a.png", "DEFECTIVE", "hit", "score 0.800"]
    assert texts[4:] == ["review from 0.400 to 0.600", "finding", "small spot"]
    texts = header_texts(monkeypatch, threshold_low=0.6, verdict="review", outcome="review")
    assert texts[1:4] == ["REVIEW", "score 0.800", "threshold 0.600"]


def test_the_header_counts_places_that_are_too_many_to_be_named(monkeypatch):
    tags = [("1 0.93", (0, 0, 1, 1))] * 1234
    assert header_texts(monkeypatch, tags)[-1] == "1,234 regions, not all labeled"
    assert header_texts(monkeypatch, tags[:MAX_TAGS])[-1] == "small spot"


def test_a_score_just_below_the_threshold_does_not_look_equal_to_it(monkeypatch):
    texts = header_texts(monkeypatch, score=0.59996)
    assert texts[2:4] == ["score 0.59996", "review from 0.40000 to 0.60000"]


def test_masks_of_another_size_are_refused():
    image, predicted, truth = scene()
    with pytest.raises(AssertionError):
        overlay(image, predicted[:-1], truth)
    with pytest.raises(AssertionError):
        overlay(image, predicted, truth[:, 1:])


@pytest.mark.skipif(not TILES.is_dir(), reason=f"{TILES} is not there")
def test_real_tiles_of_all_widths_keep_their_pixels():
    for path in sorted(TILES.glob("*.jpg"))[::150]:
        image = read_image(path)
        predicted = image > np.percentile(image, 99.5)
        truth = image < np.percentile(image, 0.5)
        out = overlay(image, predicted, truth)
        height, width = image.shape
        stacked = width >= 2.5 * height
        top = out.shape[0] - (1 + stacked) * (GUTTER + height)
        assert (out[top : top + height, GUTTER : GUTTER + width] == image[..., None]).all()


def test_an_overlay_shows_and_explains_what_does_not_count():
    image, predicted, truth = scene()
    roi, ignored = np.zeros((2, *truth.shape), bool)
    roi[10:90, 10:130] = True
    ignored[70:85, 20:40] = True
    for scope, words in (
        (Scope(), 0), (Scope(roi), 1), (Scope(ignored=ignored), 1), (Scope(roi, ignored), 2)
    ):  # fmt: skip
        marked = mark_defects(image, found=predicted, truth=truth, scope=scope)
        dimmed = image[0, 0] if scope.roi is None else 0.35 * image[0, 0] // 1
        assert (marked[0, 0] == dimmed).all()
        hatched = pixels_of(marked[72:83, 22:38], COLORS["scope"]).any()
        assert hatched == (scope.ignored is not None)
        items = legend_items(12, has_truth=True, scope=scope)
        assert len(items) == 6 + words


@pytest.mark.skipif(not can_measure(), reason="this system does not count memory")
def test_a_large_overlay_takes_little_more_than_the_picture_itself():
    image, found = np.full((4000, 4000), 90, np.uint8), np.zeros((4000, 4000), bool)
    found[100:140, 200:260] = True
    finding = Finding(
        score_map=found[None].astype(np.float32),
        region_map=label_regions(found)[0],
        regions=(),
        score=0.8,
        class_scores=np.ones(1, np.float32),
    )
    judgment = Judgment(
        verdict="defective", score=0.8, thresholds=Thresholds(low=0.4, high=0.6, rule="f1")
    )
    # Six bytes of two panels in color, and masks of one byte each.
    draw = partial(draw_overlay, image, finding, judgment, image_id="a.png")
    assert peak_bytes(draw) < 11 * image.size


def test_no_name_hides_what_was_missed():
    image, predicted, truth = np.full((120, 160), 128, np.uint8), *np.zeros((2, 120, 160), bool)
    predicted[60:90, 60:110] = truth[60:90, 60:110] = True
    truth[30:54, 62:108] = True  # where the name of the found one was
    tags = [("scratch 0.90", (60, 60, 50, 30))]
    named, plain = (
        mark_defects(image, found=predicted, truth=truth, tags=one) for one in (tags, ())
    )
    changed = (named != plain).any(axis=-1)
    assert changed.any()
    assert not changed[truth].any()
