"""An overlay that fits no screen gets a preview that shows the same."""

import numpy as np
import pytest

from defectkit.data.images import read_image
from defectkit.evaluation.thresholds import Thresholds
from defectkit.evaluation.verdicts import judge
from defectkit.findings import Finding
from defectkit.labels.scope import Scope
from defectkit.regions import Region, label_regions
from defectkit.reporting.drawing import overlay_files
from defectkit.reporting.drawing.overlay import draw_overlay
from defectkit.reporting.drawing.overlay_files import write_overlay

DEFECT = (slice(30, 34), slice(780, 790))


@pytest.fixture(autouse=True)
def small_limits(monkeypatch):
    monkeypatch.setattr(overlay_files, "LARGE_SIDE", 800)
    monkeypatch.setattr(overlay_files, "PREVIEW_SIDE", 400)


def scene(shape, *, found=True):
    """An image with a dark spot at the right, and what is found of it: all, or no pixel."""
    image = np.full(shape, 200, np.uint8)
    image[DEFECT] = 20
    scores = np.zeros((1, *shape), np.float32)
    scores[0][DEFECT] = 0.9 if found else 0.4
    region_map, regions = label_regions(scores[0] >= 0.5)
    finding = Finding(
        score_map=scores,
        region_map=region_map,
        regions=tuple(Region(box_xywh=r.box_xywh, area=r.area, class_id="1") for r in regions),
        score=0.9,
        class_scores=np.array([0.9], np.float32),
    )
    return image, finding, judge(0.9, Thresholds(low=0.5, high=0.5, rule="f1"))


def test_the_overlay_is_the_one_that_is_drawn(tmp_path):
    image, finding, judgment = scene((64, 800))
    write_overlay(tmp_path / "a.png", image, finding, judgment, image_id="a", tags=())
    expected = draw_overlay(image, finding, judgment, image_id="a", tags=())
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("found", [True, False])
@pytest.mark.parametrize("truth", [True, False])
@pytest.mark.parametrize("height", [100, 820])
def test_a_large_image_has_a_preview_with_the_same_marks(tmp_path, found, truth, height):
    image, finding, judgment = scene((height, 820), found=found)
    mask = image < 100 if truth else None
    write_overlay(tmp_path / "a.png", image, finding, judgment, image_id="a", truth=mask)
    preview = read_image(tmp_path / "a.preview.jpg")
    assert preview.shape[1] == (400 if height == 100 else 408) + 16
    # The marks lie where the defect is, below the header.
    panel = 400 * height // 820 if height == 100 else 200
    marks = np.ptp(preview[-panel - 8 :].astype(int), axis=2) > 40
    assert marks[:, -60:].sum() > 10
    assert not marks[:, :-90].any()


def test_a_preview_names_no_more_than_the_overlay(tmp_path, monkeypatch):
    drawn = []

    def draw(image, finding, judgment, **options):
        drawn.append((image.shape, options["tags"]))
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr(overlay_files, "draw_overlay", draw)
    image, finding, judgment = scene((100, 1000))
    for tags in (None, (), [("suspect", (800, 50, 100, 20))]):
        write_overlay(tmp_path / "a.png", image, finding, judgment, image_id="a", tags=tags)
    small, whole = (40, 400, 3), (100, 1000)
    assert drawn == [
        (small, [("1 1.00", (312, 12, 4, 2))]), (whole, None),
        (small, ()), (whole, ()),
        (small, [("suspect", (320, 20, 40, 8))]), (whole, [("suspect", (800, 50, 100, 20))]),
    ]  # fmt: skip


def test_the_preview_dims_what_is_outside_of_the_region_to_inspect(tmp_path):
    image, finding, judgment = scene((100, 1000))
    roi = np.zeros(image.shape, bool)
    roi[:, 500:] = True
    scope = Scope(roi=roi, ignored=None)
    write_overlay(tmp_path / "a.png", image, finding, judgment, image_id="a", scope=scope)
    lower = read_image(tmp_path / "a.preview.jpg")[-48:-8, 8:-8].mean(axis=(0, 2))
    assert lower[:180].max() < lower[220:280].min() - 40
