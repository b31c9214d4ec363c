import numpy as np
import pytest

from defectkit.data.strips import STRIP, row_slices


@pytest.mark.parametrize("height", [1, STRIP - 1, STRIP, STRIP + 1, 3 * STRIP + 7])
def test_strips_have_every_row_once(height):
    rows = np.arange(height)
    np.testing.assert_array_equal(np.concatenate([rows[part] for part in row_slices(height)]), rows)
    assert all(1 <= part.stop - part.start <= STRIP for part in row_slices(height))


def test_no_rows_no_strips():
    assert list(row_slices(0)) == []
