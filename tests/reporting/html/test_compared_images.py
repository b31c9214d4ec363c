import base64

import numpy as np
import pytest

from defectkit.data.images import decode_image
from defectkit.reporting.drawing.comparison import ComparedImage, RunFinding
from defectkit.reporting.html.compared_images import compared_images, outline_paths
from defectkit.reporting.html.outlines import outline_path


def boxes(*corners, shape=(40, 60)):
    mask = np.zeros(shape, np.bool_)
    for top, bottom, left, right in corners:
        mask[top:bottom, left:right] = True
    return mask


def example(image, *found):
    findings = [
        RunFinding(predicted=mask, score=0.75, verdict="defective", outcome="hit") for mask in found
    ]
    return ComparedImage(
        image_id="a", kind="class dent", image=image, truth=boxes((2, 8, 2, 8)), findings=findings
    )


def test_each_run_has_its_own_outlines():
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 1), np.uint8)
    (shown,) = compared_images([example(image, boxes((2, 8, 2, 8)), boxes())], max_bytes=10**6)
    assert (shown["width"], shown["height"], shown["kind"]) == (60, 40, "class dent")
    first, second = (one["paths"] for one in shown["runs"])
    path = outline_path(boxes((2, 8, 2, 8)))
    assert first == {"hit": path, "found": path}
    assert second == {"missed": path}
    picture = decode_image(base64.b64decode(shown["picture"]), name="picture")
    assert picture.shape[:2] == (40, 60)


@pytest.mark.parametrize(("width", "kind"), [(1, "hit"), (0, "missed")])
def test_a_region_is_found_when_a_tenth_of_it_is(width, kind):
    truth, far = boxes((10, 20, 10, 20)), boxes((30, 35, 40, 50))
    predicted = boxes((10, 20, 10, 10 + width)) | far
    paths = outline_paths(truth, predicted)
    assert paths[kind] == outline_path(truth)
    assert paths["false"] == outline_path(far)
    assert ("found" in paths) == bool(width)


def test_a_touch_of_less_is_true_but_no_hit():
    truth = boxes((10, 20, 10, 20))
    paths = outline_paths(truth, boxes((10, 13, 10, 13)))
    assert paths.keys() == {"missed", "found"}


def test_images_beyond_the_room_are_left_out():
    image = np.zeros((40, 60, 3), np.uint8)
    (one,) = compared_images([example(image)], max_bytes=10**6)
    room = 2 * len(one["picture"])
    assert len(list(compared_images([example(image)] * 5, max_bytes=room))) == 2
