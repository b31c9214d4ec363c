import numpy as np
import pytest

from defectkit.evaluation.thresholds import Thresholds
from defectkit.evaluation.verdicts import Judgment
from defectkit.reporting.drawing import header
from defectkit.reporting.drawing.header import Item, draw_header, draw_items, legend_items
from defectkit.reporting.drawing.palette import COLORS, OUTCOME_COLORS, VERDICT_COLORS


@pytest.fixture
def written(monkeypatch):
    """The texts that are drawn, as (text, x, y, size, color)."""
    texts = []
    original = header.draw_texts

    def watched(image, given):
        texts.extend(given)
        original(image, given)

    monkeypatch.setattr(header, "draw_texts", watched)
    return texts


def draw(
    width: int = 900, image_id="part-1.png", has_truth=True, threshold_low=0.5, **changes
) -> np.ndarray:
    judgment = Judgment(
        thresholds=Thresholds(low=threshold_low, high=0.5, rule="f1"),
        **{"verdict": "defective", "outcome": "hit", "score": 0.9, **changes},
    )
    return draw_header(width, judgment, image_id=image_id, has_truth=has_truth)


def has_color(image: np.ndarray, color: tuple[int, int, int]) -> bool:
    return bool((image == np.array(color)).all(axis=2).any())


def test_it_says_which_image_what_was_found_and_why(written):
    strip = draw()
    assert strip.shape[1:] == (900, 3)
    assert strip.dtype == np.uint8
    assert [text for text, *_ in written] == [
        "part-1.png", "DEFECTIVE", "hit", "score 0.900", "threshold 0.500",
        "found", "missed", "false alarm", "truth", "finding", "small spot",
    ]  # fmt: skip
    assert has_color(strip, VERDICT_COLORS["defective"])


def test_two_thresholds_are_a_range_for_review(written):
    draw(verdict="review", outcome="review", threshold_low=0.2, score=0.4)
    texts = [text for text, *_ in written]
    assert "review from 0.200 to 0.500" in texts
    assert "review" not in texts  # the verdict says it already


@pytest.mark.parametrize(("verdict", "outcome"), [("good", "escape"), ("defective", "overkill")])
def test_wrong_verdicts_have_a_plate_of_their_own(written, verdict, outcome):
    strip = draw(verdict=verdict, outcome=outcome)
    assert outcome.upper() in [text for text, *_ in written]
    assert has_color(strip, OUTCOME_COLORS[outcome])


def test_without_truth_only_the_finding_is_explained(written):
    strip = draw(outcome=None, has_truth=False)
    assert [text for text, *_ in written][-3:] == ["threshold 0.500", "finding", "small spot"]
    assert not has_color(strip, COLORS["missed"])
    assert [item.text for item in legend_items(12, has_truth=False)] == ["finding", "small spot"]


def test_a_score_beside_its_threshold_shows_on_which_side_it_lies(written):
    draw(score=0.49996, verdict="good", outcome="pass")
    assert {"score 0.49996", "threshold 0.50000"} <= {text for text, *_ in written}


@pytest.mark.parametrize("width", [160, 300, 900])
def test_what_does_not_fit_goes_to_the_next_line(written, width):
    strip = draw(width, image_id="a-very-long-name" * 20)
    assert strip.shape[1] == width
    for text, x, y, size, _ in written:
        assert x >= 0, text
        assert y + size <= len(strip), text
    assert len(draw(160)) > len(draw(900))


def test_items_stand_in_as_many_lines_as_they_need():
    items = [Item("square", f"class {n}", 14, COLORS["hit"]) for n in range(6)]
    narrow, wide = draw_items(150, items), draw_items(900, items)
    assert len(narrow) > 2 * len(wide)
    assert narrow.shape[1] == 150
