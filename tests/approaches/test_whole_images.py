from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from peak_memory import can_measure, peak_bytes

from defectkit.approaches.score_maps import BAND_PIXELS
from defectkit.approaches.tuning import Tuning
from defectkit.approaches.whole_images import (
    FINDING_BYTES,
    Scored,
    batches_by_shape,
    find_by_scores,
    fits_tile,
    score_in_tiles,
)
from defectkit.errors import ImageError

RNG = np.random.default_rng(0)


def brightness(batch: np.ndarray) -> np.ndarray:
    """(B, H, W, 1) -> (B, 1, H, W): the score of a pixel is its gray value."""
    return (batch[..., 0][:, None] / 255).astype(np.float32)


def scored(batch: np.ndarray) -> Scored:
    """The same, of a network that judges no whole images."""
    return brightness(batch), None


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


def test_images_of_one_shape_share_a_batch_in_their_order():
    images = [noise(8, 9, 1), noise(9, 8, 1), noise(8, 9, 1), noise(8, 9, 3)]
    batches = {tuple(indices): batch for indices, batch in batches_by_shape(images, n_classes=1)}
    assert set(batches) == {(0, 2), (1,), (3,)}
    np.testing.assert_array_equal(batches[0, 2], np.stack([images[0], images[2]]))


def test_each_finding_belongs_to_its_image():
    images = [np.full((6, width, 1), 10 * width, np.uint8) for width in (5, 9, 5, 7)]
    images[2] = images[2] + 100
    found = find_by_scores(scored, images, ("1",), tuning=Tuning())
    assert [finding.score_map.shape for finding in found] == [(1, *one.shape[:2]) for one in images]
    assert [finding.score for finding in found] == pytest.approx(
        [image.max() / 255 for image in images]
    )
    assert [len(finding.regions) for finding in found] == [0, 0, 1, 0]
    assert find_by_scores(scored, [], ("1",), tuning=Tuning()) == []


@pytest.mark.check(51)
@pytest.mark.parametrize("size", [(30, 30), (20, 45), (64, 64), (33, 200)])
def test_tiles_of_a_large_image_blend_to_what_the_whole_image_gets(size):
    batch = noise(2, *size, 1)
    shapes = []

    def score(part: np.ndarray) -> Scored:
        shapes.append(part.shape[1:3])
        return scored(part)

    found, _ = score_in_tiles(score, batch, n_classes=1, tile=32, overlap=8, padded=int)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, brightness(batch), atol=1e-6)
    assert all(height * width <= 32**2 for height, width in shapes)
    assert (len(shapes) == 1) == (size[0] * size[1] <= 32**2)


def test_a_seam_fades_from_one_tile_to_the_next():
    step = iter(range(100))

    def score(part: np.ndarray) -> Scored:
        return np.full((1, 1, *part.shape[1:3]), next(step) % 2, np.float32), None

    found, _ = score_in_tiles(
        score, noise(1, 16, 112, 1), n_classes=1, tile=16, overlap=8, padded=int
    )
    across = found[0, 0, 8]
    assert across.min() >= 0
    assert across.max() <= 1
    assert np.abs(np.diff(across)).max() < 0.3  # a hard seam would be a step of 1


def test_a_large_image_is_as_defective_as_its_most_defective_tile():
    def score(part: np.ndarray) -> Scored:
        return brightness(part), part.max(axis=(1, 2, 3)).astype(np.float32)

    images = noise(2, 100, 90, 1) // 2
    images[1, 70, 80] = 200
    options = {"n_classes": 1, "tile": 32, "overlap": 8, "padded": int}
    assert score_in_tiles(score, images, **options)[1].tolist() == [images[0].max(), 200]
    assert score_in_tiles(scored, images, **options)[1] is None


@pytest.mark.check(61)
def test_of_thin_images_the_padded_pixels_count():
    def padded(side: int) -> int:
        return side + -side % 32

    assert fits_tile((64, 64), 64, padded)
    assert fits_tile((32, 128), 64, padded)
    assert not fits_tile((1, 129), 64, padded)
    assert not fits_tile((64 * 64, 1), 64, padded)


@pytest.mark.check(61)
def test_a_batch_that_takes_more_memory_than_there_is_is_refused(monkeypatch):
    need = 100 * 200 * (2 * (3 + 8 * 4 + 4) + FINDING_BYTES)
    images = [noise(100, 200, 3)] * 2
    monkeypatch.setattr("defectkit.memory.UNCHECKED", 0)
    monkeypatch.setattr("defectkit.memory.free_memory", lambda: need)
    assert len(list(batches_by_shape(images, n_classes=4))) == 1
    monkeypatch.setattr("defectkit.memory.free_memory", lambda: need - 1)
    message = r"finding defects in 200x100 pixels takes about 0\.00 GiB .* Cut the image into parts"
    with pytest.raises(ImageError, match=message):
        next(batches_by_shape(images, n_classes=4))


def peak_of_a_large_image(side: int) -> int:
    image = np.full((side, side, 1), 50, np.uint8)

    def find() -> object:
        return find_by_scores(in_tiles, [image], ("1",), tuning=Tuning())

    def in_tiles(batch: np.ndarray) -> Scored:
        return score_in_tiles(scored, batch, n_classes=1, tile=256, overlap=32, padded=int)

    return peak_bytes(find)


@pytest.mark.skipif(not can_measure(), reason="this system does not count memory")
def test_a_large_image_where_nothing_is_found_takes_little_more_than_its_scores():
    side = 4000
    # In a process of its own: what earlier tests have freed decides where later blocks lie.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        peak = pool.submit(peak_of_a_large_image, side).result()
    # Four bytes of scores, one of the found mask; and the means of a band.
    assert peak < 6.5 * side**2 + 8 * BAND_PIXELS / 4


def test_an_image_that_is_not_contiguous_or_read_only_is_taken():
    image = noise(12, 20, 3)[::-1, ::2, :1]
    image.flags.writeable = False
    ((_, batch),) = batches_by_shape([image], n_classes=1)
    assert batch.flags.c_contiguous
    assert batch.flags.writeable
    np.testing.assert_array_equal(batch[0], image)
