import numpy as np
import pytest
from pydantic import ValidationError

from defectkit.approaches.novelty import Novelty
from defectkit.approaches.passes import Passes
from defectkit.approaches.whole_images import Scored
from defectkit.config import make_config
from defectkit.models.novelty.patch_core import seen_side

RNG = np.random.default_rng(0)


def brightness(batch: np.ndarray) -> Scored:
    """(B, H, W, 1) -> (B, 1, H, W), and the largest score of each image."""
    scores = (batch[..., 0][:, None] / 255).astype(np.float32)
    return scores, scores.max(axis=(1, 2, 3))


def test_an_image_is_scored_at_once_if_the_network_sees_no_more_than_of_a_tile():
    seen = []

    def run(part: np.ndarray) -> Scored:
        seen.append(part.shape[1:3])
        return brightness(part)

    passes = Passes(tile=64, overlap=8, margin=8, divisor=16)  # sees 80 x 80 of a tile
    batch = RNG.integers(0, 256, (2, 40, 100, 1), np.uint8)  # 64 x 128 are more
    scores, decisions = passes.score(run, batch, n_classes=1)
    assert len(seen) > 1
    np.testing.assert_allclose(scores, brightness(batch)[0], atol=1e-6)
    np.testing.assert_allclose(decisions, brightness(batch)[1], atol=1e-6)
    seen.clear()
    passes.score(run, batch[:, :, :64], n_classes=1)
    assert seen == [(40, 64)]


def test_a_resized_image_is_scored_at_its_new_size_and_the_scores_are_resized_back():
    batch = np.full((2, 30, 50, 1), 51, np.uint8)
    seen = []

    def run(part: np.ndarray) -> Scored:
        seen.append(part.shape)
        return brightness(part)

    scores, _ = Passes(tile=16, overlap=4, resize=32).score(run, batch, n_classes=1)
    assert seen == [(2, 32, 32, 1)]
    np.testing.assert_allclose(scores, np.full((2, 1, 30, 50), 0.2), atol=1e-6)


def test_novelty_is_told_what_its_encoder_sees():
    approach = Novelty(make_config({"approach": "novelty"}, name="test"), ("a",), 1)
    passes = approach.passes(None)
    for side in (1, 16, 31, 500):
        assert passes._padded(side) == seen_side(side)


def test_what_is_stored_is_checked():
    stored = Passes(tile=64, overlap=8).model_dump()
    assert Passes.model_validate(stored) == Passes(tile=64, overlap=8)
    for wrong in ({"tile": 0}, {"overlap": -1}, {"divisor": 0}, {"resize": 0}, {"other": 1}):
        with pytest.raises(ValidationError):
            Passes.model_validate({**stored, **wrong})
