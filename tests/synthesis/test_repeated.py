import numpy as np
import pytest

from defectkit.synthesis.generator import AREA, LINE, synthesize
from defectkit.synthesis.repeated import MAX_JITTER

EVERY_SURFACE = pytest.mark.parametrize("surface", ["weave", "part"])


def draw(index, surface, **settings):
    return synthesize(index, surface=surface, size=settings.pop("size", 192), **settings)


@EVERY_SURFACE
def test_an_image_follows_from_seed_and_index_alone(surface):
    one = draw(5, surface)
    assert one.texture == surface
    np.testing.assert_array_equal(one.image, draw(5, surface, textures=2).image)
    assert (one.image != draw(6, surface).image).mean() > 0.5
    assert (one.image != draw(5, surface, seed=1).image).mean() > 0.5
    assert 10 <= one.image.std() <= 60
    assert np.isin(one.image, (0, 255)).mean() < 0.03


@EVERY_SURFACE
def test_half_of_the_images_have_defects_of_both_classes(surface):
    found = [tuple(draw(index, surface, size=128).masks) for index in range(16)]
    assert sum(not classes for classes in found) == 8
    assert {AREA, LINE} == {class_id for classes in found for class_id in classes}


@EVERY_SURFACE
@pytest.mark.parametrize("class_id", [AREA, LINE])
def test_a_defect_changes_its_mask_alone(surface, class_id):
    flawed, good = (draw(0, surface, difficulty=0, defects=d) for d in ((class_id,), ()))
    mask = flawed.masks[class_id]
    change = np.abs(flawed.image.astype(int) - good.image)
    assert change[~mask].max() == 0
    assert (change[mask] > 8).mean() > 0.05


def test_parts_lie_in_one_place_and_have_a_grain_of_their_own():
    images = [draw(index, "part", defects=()).image.astype(float) for index in range(12)]
    reach = int(2 * MAX_JITTER)
    likeness = [
        max(
            np.corrcoef(images[0].ravel(), np.roll(other, (y, x), (0, 1)).ravel())[0, 1]
            for y in range(-reach, reach + 1)
            for x in range(-reach, reach + 1)
        )
        for other in images[1:]
    ]
    assert min(likeness) > 0.9
    corners = [image[:16, :16].ravel() for image in images]  # No part there, but the grain is.
    assert abs(np.corrcoef(corners)[np.triu_indices(12, 1)]).max() < 0.5


def test_pieces_of_a_weave_have_one_period_and_different_phases():
    spectra = []
    for index in range(8):
        image = draw(index, "weave", defects=()).image.astype(float)
        spectrum = np.fft.rfft2((image - image.mean()) * np.outer(*[np.hanning(192)] * 2))
        spectra.append(spectrum[5:, :])
    strongest = [np.unravel_index(np.abs(one).argmax(), one.shape) for one in spectra]
    assert all(
        min(np.hypot(*np.subtract(one, other)) for other in strongest[:2]) <= 2 for one in strongest
    )
    phases = np.angle([one[strongest[0]] for one in spectra])
    assert abs(np.exp(1j * phases).mean()) < 0.8
