"""Fixtures of the tests of ``prepare`` and ``train``."""

import pytest
from label_source import Source
from trial import Trial


@pytest.fixture
def source(tmp_path):
    made = Source(tmp_path / "source")
    made.good(10)
    made.defective(9)
    return made


@pytest.fixture
def trial(dataset_folder, tmp_path):
    def start(*changes: str, folder: str = "run") -> Trial:
        return Trial(dataset_folder, tmp_path / folder, *changes)

    return start
