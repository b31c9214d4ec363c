import cv2
import numpy as np
import pytest
from found_sparsely import sparse
from peak_memory import can_measure, peak_bytes

from defectkit.approaches.score_maps import make_finding
from defectkit.approaches.tuning import Tuning
from defectkit.data.images import decode_image, read_image
from defectkit.evaluation.thresholds import Thresholds
from defectkit.evaluation.verdicts import judge
from defectkit.findings import SparseFinding
from defectkit.labels.scope import Scope
from defectkit.reporting.drawing import large_overlay, overlay_files, strokes
from defectkit.reporting.drawing.large_overlay import draw_large_overlay
from defectkit.reporting.drawing.overlay_files import encode_overlay


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    monkeypatch.setattr(overlay_files, "LARGE_SIDE", 400)
    monkeypatch.setattr(overlay_files, "PREVIEW_SIDE", 300)
    monkeypatch.setattr(large_overlay, "ROWS", 50)


def scene(size, count, *, seed=0, found=True, low=0.5, roi=None, color=False):
    """An image of noise, and what is found: ellipses, most of them small, or no pixel."""
    rng = np.random.default_rng(seed)
    image = rng.integers(60, 200, (*size, 3) if color else size, np.uint8)
    scores = np.zeros((2, *size), np.float32)
    for _ in range(count):
        y, x = (int(rng.integers(side)) for side in size)
        axes = (int(rng.integers(1, 30)), int(rng.integers(1, 8)))
        layer = scores[int(rng.integers(2))]
        cv2.ellipse(
            layer, (x, y), axes, float(rng.integers(180)), 0, 360, rng.uniform(0.6, 0.9), -1
        )
    tuning = Tuning(pixel_threshold=0.5 if found else 1.0)
    scope = Scope(roi=roi)
    finding = make_finding(scores, ("1", "2"), tuning=tuning, scope=scope)
    return image, finding, judge(finding.score, Thresholds(low=low, high=low, rule="f1")), scope


def bounds(size):
    roi = np.zeros(size, np.bool_)
    roi[20:-35, 15:-10] = True
    roi[70:110, 80:120] = False
    return roi


@pytest.mark.parametrize(
    ("size", "count", "options"),
    [
        ((600, 330), 6, {}),
        ((600, 330), 25, {"color": True}),
        ((600, 330), 90, {}),  # too many small spots for rings, too many regions for names
        ((310, 900), 12, {"seed": 1}),  # one panel below the other
        ((600, 330), 8, {"found": False}),
        ((600, 330), 0, {}),
        ((600, 330), 0, {"low": 0.0}),  # the highest score is everywhere
        ((600, 331), 20, {"roi": bounds((600, 331))}),
        ((600, 331), 9, {"roi": bounds((600, 331)), "found": False}),
    ],
)
def test_it_is_the_overlay_that_is_drawn_at_once(tmp_path, size, count, options):
    image, finding, judgment, scope = scene(size, count, **options)
    drawn = draw_large_overlay(image, sparse(finding), judgment, image_id="a", scope=scope)
    drawn.write(tmp_path / "a.png")
    expected = encode_overlay(image, finding, judgment, image_id="a", scope=scope)
    picture = decode_image(bytes(expected.picture), name="a")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)
    assert (tmp_path / "a.preview.jpg").read_bytes() == expected.preview
    encoded = drawn.encode()
    assert encoded.picture == (tmp_path / "a.png").read_bytes()
    assert encoded.preview == expected.preview


def test_rings_that_are_wider_than_a_strip_are_whole(monkeypatch):
    monkeypatch.setattr(strokes, "MAX_RINGED_SIDE", 400)
    image, finding, judgment, scope = scene((600, 330), 5)
    drawn = draw_large_overlay(image, sparse(finding), judgment, image_id="a", scope=scope)
    expected = encode_overlay(image, finding, judgment, image_id="a", scope=scope)
    pictures = [decode_image(bytes(one.picture), name="a") for one in (drawn.encode(), expected)]
    np.testing.assert_array_equal(*pictures)


def test_what_is_drawn_belongs_to_strips_on_both_sides_of_it():
    _, finding, judgment, _ = scene((600, 330), 25)
    marks = large_overlay.Marks.of(sparse(finding), judgment)
    assert 0 < len(marks.spots) <= large_overlay.MAX_RINGS
    cut = range(50, 600, 50)
    assert any(spot.y < row < spot.y + len(spot.mask) for spot in marks.spots for row in cut)
    assert any(tag.box[1] < row < tag.box[1] + tag.box[3] for tag in marks.tags for row in cut)


@pytest.mark.skipif(not can_measure(), reason="the peak of memory cannot be measured")
def test_the_overlay_is_never_in_memory(tmp_path):
    size = (8000, 2000)
    finding = SparseFinding(
        size=size,
        pixels=np.arange(10**6, 10**6 + 500, dtype=np.int32),
        layers=np.zeros(500, np.int16),
        highest=np.zeros((8000, 250), np.uint8),
        regions=(),
        score=0.9,
    )
    judgment = judge(0.9, Thresholds(low=0.5, high=0.5, rule="f1"))
    image = np.full(size, 90, np.uint8)

    def write():
        draw_large_overlay(image, finding, judgment, image_id="a", scope=Scope()).write(
            tmp_path / "a.png"
        )

    assert peak_bytes(write) < 8000 * 2000 * 3  # The overlay has twice that.
