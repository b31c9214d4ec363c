import numpy as np
import pytest

from defectkit.approaches.score_maps import make_finding
from defectkit.approaches.tuning import UNTUNED
from defectkit.deployment.parity import TOLERANCES, Parity
from defectkit.evaluation.thresholds import Thresholds
from defectkit.findings import Finding

THRESHOLDS = Thresholds(low=0.4, high=0.6, rule="default")


def finding(scores: np.ndarray) -> Finding:
    return make_finding(np.asarray(scores, np.float32), ("1", "2"), tuning=UNTUNED)


def scores(seed: int = 0, *, largest: float = 1.0) -> np.ndarray:
    return largest * np.random.default_rng(seed).random((2, 30, 40), np.float32)


def compared(*pairs: tuple[np.ndarray, np.ndarray], precision: str = "f32") -> Parity:
    parity = Parity(tolerances=TOLERANCES[precision], thresholds=THRESHOLDS)
    for number, (ours, theirs) in enumerate(pairs):
        parity.update(f"{number}.png", finding(ours), finding(theirs))
    return parity


def test_equal_findings_are_equal():
    parity = compared(*((scores(seed), scores(seed)) for seed in range(3)))
    assert parity.failures() == []
    table = parity.table()
    assert table["images"] == 3
    assert table["verdicts_that_flip"] == table["share_of_mask_pixels_that_differ"] == 0
    assert table["largest_move_of_a_score"] == table["largest_move_of_a_pixel_score"] == 0.0
    assert "3 validation images: no verdicts flip" in parity.describe()


def test_noise_of_float32_is_no_difference():
    moved = scores() + np.float32(1e-7)
    assert compared((scores(), moved.clip(0, 1))).failures() == []


@pytest.mark.check(21)
def test_a_score_that_moves_is_told_with_the_limit():
    flat = np.full((2, 30, 40), 0.2, np.float32)
    parity = compared((flat, flat + np.float32(2e-4)))
    assert parity.failures() == ["a score moves by 0.0002 (at most 0.0001)"]
    assert compared((flat, flat + np.float32(2e-4)), precision="bf16").failures() == []


@pytest.mark.check(21)
def test_the_score_of_a_class_counts():
    flat = np.full((2, 30, 40), 0.2, np.float32)
    other = flat.copy()
    other[1] -= np.float32(0.1)
    assert compared((flat, other)).failures() == ["a score moves by 0.1 (at most 0.0001)"]


@pytest.mark.check(21)
@pytest.mark.parametrize("precision", ["f32", "bf16", "int8"])
def test_no_verdict_may_flip(precision):
    below, above = (np.full((2, 30, 40), value, np.float32) for value in (0.39999, 0.40001))
    parity = compared(*[(below, above)] * 7, precision=precision)
    [failure] = parity.failures()
    assert failure.startswith("7 of 7 verdicts flip (0.png, 1.png, 2.png, 3.png, 4.png and 2 more)")


@pytest.mark.check(21)
def test_pixels_that_only_one_of_them_finds_are_told():
    ours = np.zeros((2, 100, 100), np.float32)
    ours[0, 20:40, 20:40] = 0.9
    theirs = ours.copy()
    theirs[0, 20, 20:22] = 0.1
    assert compared((ours, theirs)).failures() == [
        "0.02 % of the mask's pixels differ (at most 0.01 %)"
    ]
    theirs[0, 20, 21] = 0.9
    assert compared((ours, theirs)).failures() == []  # 1 of 10,000


@pytest.mark.check(21)
def test_pixels_of_another_class_differ():
    ours = np.zeros((2, 30, 40), np.float32)
    ours[0, 10:20, 10:20], ours[1, 10:20, 10:20] = 0.9, 0.9 - 1e-5
    theirs = ours[::-1].copy()
    [failure] = compared((ours, theirs)).failures()
    assert "% of the mask's pixels differ" in failure


@pytest.mark.check(21)
def test_nothing_compared_is_a_failure():
    assert compared().failures() == ["there is no validation image to compare them on"]
