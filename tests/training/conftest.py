"""Fixtures of the tests of training."""

import pytest
from trial import Trial


@pytest.fixture
def trial(dataset_folder, tmp_path):
    def start(*changes: str, folder: str = "run") -> Trial:
        return Trial(dataset_folder, tmp_path / folder, *changes)

    return start
