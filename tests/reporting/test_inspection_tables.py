from defectkit.files import read_csv
from defectkit.reporting.inspection_progress import PROGRESS, Progress, read_steps
from defectkit.reporting.inspection_tables import ERROR_COLUMNS, InspectionTables


def test_errors_are_on_disk_at_once_and_counted_when_their_images_are_done(tmp_path):
    with InspectionTables(tmp_path) as tables:
        tables.add_errors([("a.png", "damaged"), ("b.png", "stopped")])
        assert len(read_csv(tmp_path / "errors.csv")) == 2
        for number, name in enumerate(("a.png", "b.png"), 1):
            assert tables.progress.n_errors == number - 1
            tables.end_image(name, "", file=number, is_last=True)
            assert len(list(read_steps(tmp_path / PROGRESS))) == number
    assert tables.progress.n_errors == 2
    assert read_csv(tmp_path / "errors.csv")[1] == dict(
        zip(ERROR_COLUMNS, ("b.png", "stopped"), strict=True)
    )
    assert read_csv(tmp_path / "findings.csv") == []


def test_tables_go_on_behind_what_is_done(tmp_path):
    with InspectionTables(tmp_path) as tables:
        tables.add_errors([("a.png", "damaged")])
        tables.end_image("a.png", "", file=1, is_last=True)
        tables.add_errors([("b.png", "not done")])
    progress = Progress()
    for step in read_steps(tmp_path / PROGRESS):
        progress.add(step)
    with InspectionTables(tmp_path, progress) as tables:
        tables.add_errors([("c.png", "damaged too")])
        tables.end_image("c.png", "", file=2, is_last=True)
    assert [row["image_id"] for row in read_csv(tmp_path / "errors.csv")] == ["a.png", "c.png"]
    assert [step.image_id for step in read_steps(tmp_path / PROGRESS)] == ["a.png", "c.png"]
