"""Fixtures of the tests of ``prepare``."""

import pytest
from label_source import Source


@pytest.fixture
def source(tmp_path):
    made = Source(tmp_path / "source")
    made.good(10)
    made.defective(9)
    return made
