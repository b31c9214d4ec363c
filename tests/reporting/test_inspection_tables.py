from defectkit.files import read_csv
from defectkit.reporting.inspection_tables import ERROR_COLUMNS, InspectionTables


def test_errors_are_counted_and_on_disk_at_once(tmp_path):
    with InspectionTables(tmp_path) as tables:
        tables.add_errors([("a.png", "damaged"), ("b.png", "stopped")])
        assert tables.n_errors == len(read_csv(tmp_path / "errors.csv")) == 2
    assert read_csv(tmp_path / "errors.csv")[1] == dict(
        zip(ERROR_COLUMNS, ("b.png", "stopped"), strict=True)
    )
    assert read_csv(tmp_path / "findings.csv") == []
