import numpy as np
import pytest

from defectkit.models.mirroring import mirrored_beyond, mirrored_index


@pytest.mark.parametrize("length", [1, 2, 7, 30])
@pytest.mark.parametrize(("before", "after"), [(0, 0), (3, 0), (0, 5), (32, 70)])
def test_it_is_the_index_of_symmetric_padding(length, before, after):
    expected = np.pad(np.arange(length), (before, after), mode="symmetric")
    assert mirrored_index(length, before, after).tolist() == expected.tolist()


@pytest.mark.parametrize("length", [1, 20, 33, 64])
@pytest.mark.parametrize(("margin", "divisor"), [(0, 1), (8, 32), (32, 128)])
def test_what_has_its_margin_is_reflected_until_its_length_can_be_divided(length, margin, divisor):
    wide = np.pad(np.arange(length), margin, mode="symmetric")
    expected = np.pad(wide, (0, -len(wide) % divisor), mode="symmetric")
    assert mirrored_beyond(length, margin=margin, divisor=divisor).tolist() == expected.tolist()
