import pytest

from defectkit.deployment.data_to_evaluate import load_data_to_evaluate
from defectkit.deployment.load_model import load_model
from defectkit.errors import ConfigError
from defectkit.reporting.evaluation_folder import evaluation_folder
from defectkit.reporting.evaluation_progress import describe_evaluation
from defectkit.reporting.evaluation_shards import evaluate_shard, open_shard
from defectkit.reporting.merged_evaluation import merge_evaluation
from defectkit.shards import Shard, read_shards


@pytest.fixture
def write(run_copy, quiet):
    """Write shards of an evaluation, and return its folder."""

    def call(*shards: Shard, split: str = "test"):
        model = load_model(run_copy, device="cpu")
        chosen = {"all_regions": False, "overlays": "none"}
        data = load_data_to_evaluate(run_copy, model, data=None, split=split, map_class=())
        same = describe_evaluation(model, data, **chosen)
        for shard in shards:
            with open_shard(run_copy, data, shard) as results:
                evaluate_shard(
                    results, run_copy, model, data, shard=shard, same=same, **chosen,
                    options={"data": "", "map_class": []}, console=quiet,
                )  # fmt: skip
        return evaluation_folder(run_copy, data)

    return call


def test_a_run_that_was_moved_is_merged_where_it_is(write, run_copy, quiet, tmp_path):
    folder = write(Shard(1, 2), Shard(2, 2))
    moved = run_copy.rename(tmp_path / "moved")
    out = moved / folder.relative_to(run_copy)
    evaluation = merge_evaluation(out, read_shards(out), quiet)
    assert evaluation.folder == out
    assert (out / "report.html").is_file()


def test_shards_of_two_splits_are_no_shards_of_one(write, run_copy):
    folder = write(Shard(1, 2))
    other = write(Shard(2, 2), split="val")
    (other / "shards" / "2-of-2").rename(folder / "shards" / "2-of-2")
    with pytest.raises(ConfigError, match="not shards of the same results: what is evaluated is"):
        read_shards(folder)
