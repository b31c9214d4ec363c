import json

import pytest
from torchrun import HELPERS, finished, torchrun

from defectkit import ranks
from defectkit.errors import ConfigError, WorkerError


def test_one_process_agrees_with_itself():
    assert (ranks.rank(), ranks.world(), ranks.is_first()) == (0, 1, True)
    assert ranks.by_first(lambda: 3) == ranks.from_first(3) == 3
    assert (ranks.gather(3), ranks.highest(1, 2)) == ([3], [1, 2])
    with pytest.raises(ConfigError, match="^mine$"), ranks.agreed():
        raise ConfigError("mine")
    with ranks.joined(), ranks.alone():
        ranks.refuse_several("--seeds")


@pytest.mark.check(64)
def test_a_lost_process_is_an_error_with_a_way_out(monkeypatch):
    monkeypatch.setattr(ranks, "SIGNAL_SECONDS", 0.0)
    unexplained = pytest.raises(RuntimeError, match="^gloo")  # who is lost, in one process?
    with unexplained, ranks.explain_lost_process():
        raise RuntimeError("gloo: Connection closed by peer")
    monkeypatch.setattr(ranks, "_world", 2)
    lost = pytest.raises(WorkerError, match="has ended .gloo: Connection.*Continue with --resume")
    with lost, ranks.explain_lost_process():
        raise RuntimeError("gloo: Connection closed by peer")
    with pytest.raises(RuntimeError, match="^shapes$"), ranks.explain_lost_process():
        raise RuntimeError("shapes")
    with pytest.raises(ConfigError, match="cannot share a training with --seeds. Start it without"):
        ranks.refuse_several("--seeds")


@pytest.mark.check(64)
@pytest.mark.slow
def test_three_processes_agree(tmp_path):
    finished(torchrun(3, HELPERS / "agreements.py", tmp_path / "told.json"))
    told = json.loads((tmp_path / "told.json").read_text())
    assert len(told) == 3
    for place, one in enumerate(told):
        assert one == {
            "agreed": ["ConfigError", "of the last", place > 0],
            "by_first": ["OutputError", "seen by 1", place > 0],
            "value": [0, 1],
            "from_first": "from 0",
            "highest": [2.0, 0.0],
            "sum": [[3, 3], [3.0, 3.0]],
            "none": 0.0,
            "mean": pytest.approx((0 + 0 + 1 + 0 + 1 + 2) / 6),
            "share": pytest.approx((0 * 0 + 1 * 1 + 2 * 2) / 3),
            "gradient": pytest.approx([1 / 6] * (place + 1)),
            "fitted": 7.0,
        }
