import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from locked_files import lock

from defectkit.errors import TrainingError
from defectkit.training.history import read_history, write_history

numbers = (
    st.none() | st.integers(-(10**12), 10**12) | st.floats(allow_nan=False, allow_subnormal=False)
)


@given(rows=st.lists(st.fixed_dictionaries({"epoch": numbers, "loss": numbers}), max_size=5))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_come_back_exactly(rows, tmp_path):
    write_history(tmp_path / "history.csv", rows)
    again = read_history(tmp_path / "history.csv")
    assert again == rows
    for one, other in zip(again, rows, strict=True):
        assert all(type(one[key]) is type(other[key]) for key in other)


def test_columns_are_those_of_any_row_in_order_of_appearance(tmp_path):
    write_history(tmp_path / "h.csv", [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "dice": 0.25}])
    assert (tmp_path / "h.csv").read_text() == "epoch,loss,dice\n1,0.5,\n2,,0.25\n"
    assert read_history(tmp_path / "h.csv")[1] == {"epoch": 2, "loss": None, "dice": 0.25}


def test_a_history_that_may_not_be_read_is_not_to_be_replaced(tmp_path, monkeypatch):
    write_history(tmp_path / "history.csv", [{"epoch": 1}])
    told = lock(monkeypatch, tmp_path / "history.csv")
    with pytest.raises(TrainingError, match=f"^{re.escape(told)}$"):
        read_history(tmp_path / "history.csv")
