import subprocess
import sys

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from defectkit.files import write_csv
from defectkit.tables import make_table, read_table, table_rows, write_table

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
column = st.one_of(
    st.lists(text, min_size=4, max_size=4),
    st.lists(st.one_of(text, st.none()), min_size=4, max_size=4),
    st.lists(st.integers(-(2**63), 2**63 - 1), min_size=4, max_size=4),
    st.lists(st.one_of(st.integers(-(2**53), 2**53), st.none()), min_size=4, max_size=4),
    st.lists(st.floats(allow_nan=False), min_size=4, max_size=4),
    st.lists(st.one_of(st.floats(allow_nan=False), st.none()), min_size=4, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(columns=st.dictionaries(text, column, min_size=1, max_size=4))
def test_a_frame_is_written_byte_for_byte_as_its_rows_are(columns, tmp_path):
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    table = make_table(rows)
    assert table_rows(table) == rows
    write_table(tmp_path / "frame.csv", table)
    plain = (
        [int(cell) if isinstance(cell, bool) else cell for cell in row.values()] for row in rows
    )
    write_csv(tmp_path / "rows.csv", list(columns), plain)
    assert (tmp_path / "frame.csv").read_bytes() == (tmp_path / "rows.csv").read_bytes()


def test_integers_stay_integers_where_some_are_missing(tmp_path):
    table = make_table([{"epochs": 3, "seconds": 1.0}, {"epochs": None, "seconds": None}])
    assert table["epochs"].dtype == "Int64"
    assert table["seconds"].dtype == float
    write_table(tmp_path / "t.csv", table)
    assert (tmp_path / "t.csv").read_text() == "epochs,seconds\n3,1.0\n,\n"
    pd.testing.assert_frame_equal(read_table(tmp_path / "t.csv", text=()), table)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cells=st.lists(st.one_of(text, st.sampled_from(["007", "NA", "1e5", "=1", "'=1", "nan", ""])))
)
def test_text_comes_back_as_it_was_whatever_it_looks_like(cells, tmp_path):
    write_table(tmp_path / "t.csv", pd.DataFrame({"id": pd.Series(cells, dtype=object), "n": 1}))
    table = read_table(tmp_path / "t.csv", text=("id",))
    assert table["id"].tolist() == cells
    assert table["n"].tolist() == [1] * len(cells)


@given(number=st.floats(allow_nan=False))
def test_numbers_come_back_exactly(number, tmp_path_factory):
    path = tmp_path_factory.mktemp("numbers") / "t.csv"
    write_table(path, make_table([{"x": number, "n": -7}]))
    table = read_table(path, text=())
    assert table["x"].tolist() == [number]
    assert table["n"].tolist() == [-7]


def test_a_table_without_rows_keeps_its_columns(tmp_path):
    write_csv(tmp_path / "t.csv", ["image_id", "area"], [])
    table = read_table(tmp_path / "t.csv", text=("image_id",))
    assert list(table.columns) == ["image_id", "area"]
    assert table.empty
    assert make_table([]).empty
    assert list(make_table([], columns=["image_id"]).columns) == ["image_id"]


def test_words_among_numbers_and_rows_of_another_length_are_refused(tmp_path):
    (tmp_path / "t.csv").write_text("n\n1\nmany\n")
    with pytest.raises(ValueError, match="many"):
        read_table(tmp_path / "t.csv", text=())
    (tmp_path / "t.csv").write_text("n,m\n1\n")
    with pytest.raises(ValueError, match="line 2 has 1 cells but the header 2"):
        read_table(tmp_path / "t.csv", text=())


def test_pandas_is_not_loaded_before_a_frame_is_made():
    code = "import sys, defectkit.tables, defectkit.data.dataset; sys.exit('pandas' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
