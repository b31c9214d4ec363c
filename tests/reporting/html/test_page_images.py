import base64
from types import SimpleNamespace

import numpy as np
import pytest

from defectkit.data.images import decode_image, read_image
from defectkit.data.pixel_format import EIGHT_BITS
from defectkit.evaluation.labeled_truth import LabeledTruth
from defectkit.evaluation.prediction import Prediction
from defectkit.evaluation.region_matching import match_regions
from defectkit.findings import Finding
from defectkit.regions import label_regions
from defectkit.reporting.html import page_images
from defectkit.reporting.html.page_images import (
    picture_name,
    remove_pictures,
    take_in,
    write_page_image,
)
from defectkit.reporting.html.score_layer import score_layer


def predicted(true_boxes, found_boxes, *, shape=(40, 60), channels=1, image_id="a"):
    """A prediction: two classes of truth, one found; boxes are (top, bottom, left, right)."""
    truth, found = np.zeros((2, *shape), np.uint8), np.zeros(shape, np.bool_)
    for layer, (top, bottom, left, right) in true_boxes:
        truth[layer, top:bottom, left:right] = 1
    for top, bottom, left, right in found_boxes:
        found[top:bottom, left:right] = True
    region_map, regions = label_regions(found)
    image = np.random.default_rng(0).integers(0, 256, (*shape, channels), np.uint8)
    finding = Finding(
        score_map=found[None].astype(np.float32), region_map=region_map, regions=tuple(regions),
        score=0.5, class_scores=np.ones(1, np.float32),
    )  # fmt: skip
    record = SimpleNamespace(image_id=image_id, pixels=EIGHT_BITS)
    prediction = Prediction(record, image, LabeledTruth(truth, ("1", "2")), finding, 0.1)
    return prediction, match_regions(finding, prediction.truth, image_id=image_id)


def test_regions_have_their_outlines_true_ones_first_the_largest_first(tmp_path):
    boxes = [(0, (2, 5, 2, 5)), (1, (10, 20, 10, 20))]
    page = write_page_image(tmp_path, *predicted(boxes, [(10, 20, 8, 18), (30, 34, 40, 45)]))
    assert (page.width, page.height, page.left_out) == (60, 40, 0)
    assert [(one["kind"], one["class"], one["area"]) for one in page.regions] == [
        ("true", "2", 100), ("true", "1", 9), ("found", "", 100), ("false_alarm", "", 20),
    ]  # fmt: skip
    assert [one["path"].split("l")[0] for one in page.regions] == [
        "M9.5 9.5", "M1.5 1.5", "M7.5 9.5", "M39.5 29.5"
    ]  # fmt: skip
    assert page.regions[0]["found"] is True
    assert page.regions[0]["coverage"] == 0.8
    assert page.regions[1]["found"] is False
    assert "found" not in page.regions[2]
    assert page.regions[2]["true"] == 0.8


@pytest.mark.parametrize("channels", [1, 3])
def test_the_picture_has_the_native_resolution(tmp_path, channels):
    prediction, matches = predicted([], [], channels=channels)
    page = write_page_image(tmp_path, prediction, matches)
    picture = read_image(tmp_path / "report_pictures" / page.picture)
    assert picture.shape[:2] == (40, 60)
    shown = picture.reshape(40, 60, -1)[..., :channels].astype(int)
    assert np.abs(shown - prediction.image).mean() < 12


def test_the_scores_are_a_layer_unless_they_are_not_wanted(tmp_path):
    prediction, matches = predicted([], [(10, 20, 8, 18)])
    page = write_page_image(tmp_path, prediction, matches)
    assert page.scores == score_layer(prediction.finding.score_map[0]) != ""
    assert write_page_image(tmp_path, prediction, matches, with_scores=False).scores == ""


def test_an_image_too_large_for_a_jpeg_has_no_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(page_images, "MAX_SIDE", 59)
    page = write_page_image(tmp_path, *predicted([], []))
    assert page.picture == ""
    assert page.width == 60
    assert list(tmp_path.iterdir()) == []


def test_of_very_many_regions_some_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(page_images, "MAX_REGIONS", 3)
    found = [(4 * n, 4 * n + 2, 0, 2 + n) for n in range(5)]
    page = write_page_image(tmp_path, *predicted([(0, (30, 32, 30, 32))], found))
    assert [one["area"] for one in page.regions] == [4, 12, 10]
    assert page.left_out == 3


def test_names_differ_also_where_capitals_do_not_count():
    names = {picture_name(name).lower() for name in ("a.png", "A.png", "a/png", "..", "con")}
    assert len(names) == 5
    assert not any(set("/\\:<>&\"'") & set(name) for name in names)


def test_the_page_takes_in_what_fits_the_first_first(tmp_path):
    folder = tmp_path / "report_pictures"
    folder.mkdir()
    for name, size in {"a": 30, "b": 300, "c": 30, "d": 30}.items():
        (folder / name).write_bytes(name.encode() * size)
    inside = take_in(tmp_path, ["a", "b", "c", "d"], max_bytes=80)
    assert {name: base64.b64decode(text) for name, text in inside.items()} == {
        "a": b"a" * 30, "c": b"c" * 30,
    }  # fmt: skip
    assert take_in(tmp_path, [], max_bytes=0) == {}
    remove_pictures(tmp_path, inside)
    assert sorted(path.name for path in folder.iterdir()) == ["b", "d"]
    remove_pictures(tmp_path, {})
    remove_pictures(tmp_path, take_in(tmp_path, ["b", "d"], max_bytes=1000))
    assert not folder.exists()


def test_a_picture_within_the_page_is_that_of_the_image(tmp_path):
    prediction, matches = predicted([], [])
    page = write_page_image(tmp_path, prediction, matches)
    (text,) = take_in(tmp_path, [page.picture], max_bytes=10**6).values()
    assert decode_image(base64.b64decode(text), name="picture").shape[:2] == (40, 60)
