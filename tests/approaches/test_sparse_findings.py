from functools import partial

import cv2
import numpy as np
import pytest
from found_sparsely import assert_same
from peak_memory import can_measure, peak_bytes

from defectkit.approaches import sparse_findings
from defectkit.approaches.score_maps import make_finding
from defectkit.approaches.sparse_findings import find_sparsely, score_sparsely
from defectkit.approaches.tuning import Tuning
from defectkit.approaches.whole_images import Block, score_blocks, score_in_tiles
from defectkit.data import strips
from defectkit.errors import ImageError
from defectkit.labels.scope import Scope

TILES = {"tile": 40, "overlap": 12}


@pytest.fixture(autouse=True)
def low_strips(monkeypatch):
    monkeypatch.setattr(strips, "STRIP", 13)


def score_map(seed: int, shape: tuple[int, int, int]) -> np.ndarray:
    """Smooth noise (K, H, W) from 0 to 1, of every second seed in steps, so that classes tie."""
    rng = np.random.default_rng(seed)
    noise = rng.random(shape, np.float32)
    smooth = np.stack([cv2.GaussianBlur(one, (0, 0), 0.8 + seed % 3) for one in noise])
    scores = (smooth - smooth.min()) / np.ptp(smooth)
    return np.round(scores * 8) / 8 if seed % 2 else scores


def scorer(scores: np.ndarray, *, judged: bool):
    """A network that scores the pixels of an image whose values are their numbers."""

    def score(batch):
        numbers = batch[0, ..., 0]
        logits = np.array([numbers.min() * 1e-4], np.float32) if judged else None
        return scores.reshape(len(scores), -1)[:, numbers][None], logits

    return score


@pytest.mark.parametrize("one_class", [True, False])
@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("seed", range(6))
def test_it_is_what_is_found_in_the_whole_map(seed, bounded, one_class):
    classes = ("1", "2", "3")[: 1 + seed % 3]
    size = (90 + 17 * seed, 130 - 11 * seed)
    scores = score_map(seed, (len(classes), *size))
    numbers = np.arange(size[0] * size[1]).reshape(1, *size, 1)
    roi = None
    if bounded:
        roi = np.zeros(size, np.bool_)
        roi[5:-7, 3:-9] = True
        roi[size[0] // 2] = False
    threshold = float(np.quantile(scores.max(axis=0), [0.6, 0.9, 0.98][seed // 2]))
    tuning = Tuning(
        pixel_threshold=threshold, region_threshold=min(threshold + 0.05, 1), min_area=3
    )
    score = scorer(scores, judged=seed % 2 == 0)
    whole, logits = score_in_tiles(
        score, numbers, n_classes=len(classes), padded=lambda side: side, **TILES
    )
    expected = make_finding(
        whole[0],
        classes,
        tuning=tuning,
        one_class=one_class,
        scope=Scope(roi=roi),
        image_logit=None if logits is None else float(logits[0]),
    )

    def blocks():
        return score_blocks(score, numbers, n_classes=len(classes), **TILES)

    found = find_sparsely(blocks(), size, classes, tuning=tuning, one_class=one_class, roi=roi)
    assert_same(found, expected)
    alone = score_sparsely(blocks(), size, tuning=tuning, roi=roi)
    assert alone == expected.score


def test_a_region_across_all_strips_and_tiles_is_one():
    scores = np.zeros((1, 100, 90), np.float32)
    scores[0, 4:96, 10] = scores[0, 4, 10:80] = scores[0, 4:96, 80] = 0.9
    score = scorer(scores, judged=False)
    numbers = np.arange(9000).reshape(1, 100, 90, 1)
    blocks = score_blocks(score, numbers, n_classes=1, **TILES)
    found = find_sparsely(blocks, (100, 90), ("1",), tuning=Tuning())
    [region] = found.regions
    assert region.box_xywh == (10, 4, 71, 92)
    assert region.area == len(found.pixels) == 92 + 92 + 69
    assert region.score == pytest.approx(0.9)


def flat(size, value, height=100):
    """The blocks of an image with one score."""
    for top in range(0, size[0], height):
        scores = np.full((1, 1, height, size[1]), value, np.float32)
        yield Block(slice(top, top + height), slice(0, size[1]), scores, None)


def test_too_much_to_be_kept_is_an_error_of_the_image(monkeypatch):
    def refuse(need, *, what):
        if need > 10**5:
            raise ImageError(what)

    monkeypatch.setattr(sparse_findings, "check_memory", refuse)
    find_sparsely(flat((200, 40), 0.4), (200, 40), ("1",), tuning=Tuning())
    with pytest.raises(ImageError, match="keeping what is found"):
        find_sparsely(flat((200, 40), 0.6), (200, 40), ("1",), tuning=Tuning())


@pytest.mark.skipif(not can_measure(), reason="the peak of memory cannot be measured")
def test_memory_does_not_grow_with_the_height(monkeypatch):
    monkeypatch.setattr(strips, "STRIP", 256)

    def find(height):
        size = (height, 2000)
        find_sparsely(flat(size, 0.4), size, ("1",), tuning=Tuning())

    low, high = (peak_bytes(partial(find, height)) for height in (2000, 20_000))
    assert high < low + 18_000 * 2000  # The whole map alone would take four times that.
