import pytest

import defectkit
from defectkit.deployment.data_to_evaluate import load_data_to_evaluate
from defectkit.deployment.load_model import load_model
from defectkit.reporting.evaluation_progress import describe_evaluation
from defectkit.reporting.evaluation_shards import finished_shard
from defectkit.shards import Shard

pytestmark = pytest.mark.check(63)


def test_a_shard_is_finished_if_it_has_the_same_in_common(run_copy, quiet):
    model = load_model(run_copy, device="cpu")
    data = load_data_to_evaluate(run_copy, model, data=None, split="test", map_class=())
    same = describe_evaluation(model, data, all_regions=False, overlays="none")

    def finished(shard: Shard, same=same):
        return finished_shard(run_copy, model, data, shard, same, quiet)

    assert finished(Shard(1, 2)) is None
    options = {"device": "cpu", "overlays": "none", "console": quiet}
    written = defectkit.evaluate(run_copy, shard="1/2", **options)
    assert finished(Shard(1, 2)).metrics == written.metrics
    assert finished(Shard(2, 2)) is None
    assert finished(Shard(1, 2), {**same, "--overlays": "all"}) is None
    (written.folder / "records.csv").write_text("damaged")
    assert finished(Shard(1, 2)) is None
