"""Fixtures of the tests of ``prepare`` and ``train``."""

from pathlib import Path

import pytest
from label_forms import prepared, write_csv_form, write_images
from label_source import Source
from trial import Trial


@pytest.fixture
def source(tmp_path):
    made = Source(tmp_path / "source")
    made.good(10)
    made.defective(9)
    return made


@pytest.fixture(scope="session")
def by_csv(tmp_path_factory) -> Path:
    """The truth, prepared from a CSV. Do not change."""
    folder = tmp_path_factory.mktemp("csv")
    write_images(folder)
    return prepared(write_csv_form(folder), folder / "dataset")


@pytest.fixture
def trial(dataset_folder, tmp_path):
    def start(*changes: str, folder: str = "run") -> Trial:
        return Trial(dataset_folder, tmp_path / folder, *changes)

    return start
