import shutil
from pathlib import Path

import pytest

from defectkit.data.pixel_format import EIGHT_BITS
from defectkit.errors import ConfigError
from defectkit.labels.read_options import DEFAULT_OPTIONS
from defectkit.labels.rle_convention import RleConvention
from defectkit.preparation.kept_facts import FACTS, KeptFacts
from defectkit.preparation.matching import Matching, find_images
from defectkit.reporting.dataset_shards import find_shards, has_shards, prepare_shard
from defectkit.shards import Shard

KEPT = KeptFacts(convention=RleConvention(1, "column", "given"), options=DEFAULT_OPTIONS)


@pytest.fixture
def matching(source_csv) -> Matching:
    return find_images(source_csv, "auto", images=None, meta=None, use_unlisted=False)


@pytest.fixture
def write(matching, tmp_path, quiet):
    """Write shards, and return the numbers of their images."""

    def call(*shards: Shard, out: Path = tmp_path) -> list[int]:
        options = {"workers": 0, "resume": False, "console": quiet}
        return [prepare_shard(out, one, matching, KEPT, EIGHT_BITS, **options) for one in shards]

    return call


def test_all_shards_are_found_by_their_numbers(write, matching, tmp_path):
    assert not has_shards(tmp_path)
    assert find_shards(tmp_path, matching, KEPT, EIGHT_BITS) == []
    assert write(Shard(3, 3), Shard(1, 3)) == [6, 7]
    assert has_shards(tmp_path)
    with pytest.raises(ConfigError, match="not finished: 2/3"):
        find_shards(tmp_path, matching, KEPT, EIGHT_BITS)
    write(Shard(2, 3))
    found = find_shards(tmp_path, matching, KEPT, EIGHT_BITS)
    assert [one.shard.number for one in found] == [1, 2, 3]
    assert all((one.folder / FACTS).is_file() for one in found)


def test_a_shard_of_another_dataset_is_refused(write, matching, tmp_path):
    write(Shard(1, 2))
    write(Shard(2, 2), out=tmp_path / "other")
    matching.images.pop()
    write(Shard(2, 2), out=tmp_path / "other")
    shutil.move(tmp_path / "other" / "shards" / "2-of-2", tmp_path / "shards" / "2-of-2")
    with pytest.raises(ConfigError, match="not shards of the same results: images is '20 images"):
        find_shards(tmp_path, matching, KEPT, EIGHT_BITS)
