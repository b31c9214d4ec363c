"""What lies in a folder of results."""

import json

import pytest

from defectkit.errors import OutputError
from defectkit.files import write_csv, write_json
from defectkit.results_marker import MARKER, KnownResults, Marker, check_out, own_files

FINDINGS = ("image_id", "verdict", "score", "class_id", "rle")


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_a_marker_comes_back_as_it_was_written(tmp_path):
    marker = Marker("dataset", complete=True, files=frozenset({"a.csv", "b/c \udcff.png"}))
    marker.write(tmp_path)
    assert Marker.read(tmp_path) == marker


@pytest.mark.check(52)
@pytest.mark.parametrize(
    "name", ["../a", "b/../../a", "/etc/passwd", "", ".", "..", "unfinished/a", MARKER, 7, ["a"]]
)
def test_a_marker_that_names_a_file_elsewhere_counts_as_none(tmp_path, name):
    Marker("dataset", complete=True, files=frozenset({"a"})).write(tmp_path)
    content = json.loads((tmp_path / MARKER).read_text())
    (tmp_path / MARKER).write_text(json.dumps({**content, "files": ["a", name]}))
    assert Marker.read(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"kind": 1, "complete": 1, "files": {}}'])
def test_a_damaged_marker_counts_as_none(tmp_path, text):
    (tmp_path / MARKER).write_text(text)
    assert Marker.read(tmp_path) is None
    assert own_files(tmp_path) == frozenset()


def test_the_own_files_are_those_of_the_marker_and_of_unfinished_results(tmp_path):
    touch(tmp_path, "findings.csv", "overlays/mine.png", "overlays/a.png", "unfinished/x/b.png")
    Marker("inspection", True, frozenset({"findings.csv", "overlays/a.png"})).write(tmp_path)
    assert own_files(tmp_path) == {"findings.csv", "overlays/a.png"}
    Marker("inspection", False, frozenset()).write(tmp_path / "unfinished")
    assert own_files(tmp_path) == {
        "findings.csv", "overlays/a.png", "unfinished/x/b.png", f"unfinished/{MARKER}"
    }  # fmt: skip


def test_a_result_is_known_wherever_its_marker_lies_above_it(tmp_path):
    out = tmp_path / "out"
    touch(out, "findings.csv", "overlays/a.png", "unfinished/overlays/b.png")
    Marker("inspection", True, frozenset({"findings.csv", "overlays/a.png"})).write(out)
    Marker("inspection", False, frozenset()).write(out / "unfinished")
    results = KnownResults()
    assert out / MARKER in results
    assert out / "overlays/a.png" in results
    assert out / "unfinished/overlays/b.png" in results
    assert out / "overlays/mine.png" not in results
    assert tmp_path / "findings.csv" not in results


def test_the_marker_of_very_many_files_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("defectkit.files.MAX_JSON_BYTES", 1000)
    files = frozenset(f"overlays/{number}.png" for number in range(1000))
    Marker("inspection", True, files).write(tmp_path)
    assert own_files(tmp_path) == files


def test_results_of_an_earlier_version_are_known_by_their_names(tmp_path):
    touch(tmp_path, "preview/good.png", "preview/my.png", "train.csv")
    assert own_files(tmp_path) == frozenset()
    write_json(tmp_path / "dataset.json", {"format_version": 1})
    assert own_files(tmp_path) == {"dataset.json", "preview/good.png"}


def test_overlays_of_an_earlier_version_are_known_by_their_images(tmp_path):
    touch(tmp_path, "overlays/a.png", "overlays/a.png.png", "overlays/lot_7_a.png-384786f3.png")
    write_csv(tmp_path / "findings.csv", FINDINGS, [("a.png", "good", 0, "", ""), ("lot 7/a.png",)])
    assert "overlays/a.png.png" in own_files(tmp_path)
    assert "overlays/a.png" not in own_files(tmp_path)


def test_an_output_folder_that_is_none_is_refused(tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(OutputError, match=r"folder to write is empty"):
        check_out("", "dataset")
    for name in ("file", "link"):
        with pytest.raises(OutputError, match=rf"{name} is a file, not a folder"):
            check_out(tmp_path / name, "dataset")


@pytest.mark.check(52)
@pytest.mark.parametrize(
    ("head", "content", "kind"),
    [
        (MARKER, {"kind": "dataset", "complete": False, "files": []}, "dataset"),
        ("dataset.json", {"format_version": 1}, "dataset"),
        ("run.json", {"dataset_folder": "d"}, "run"),
        ("model.json", {"format_version": 1}, "model"),
        ("metrics.json", {"image": {"threshold_low": 0.5}}, "evaluation"),
    ],
)
def test_a_folder_with_results_of_another_kind_is_refused(tmp_path, head, content, kind):
    write_json(tmp_path / head, content)
    with pytest.raises(OutputError, match=rf"kind: {kind}\), which are not mixed .*another folder"):
        check_out(tmp_path, "inspection")
    assert check_out(tmp_path, kind) == tmp_path


def test_no_results_are_written_among_unfinished_ones(tmp_path):
    Marker("dataset", complete=False, files=frozenset()).write(tmp_path / "unfinished")
    with pytest.raises(OutputError, match="unfinished has unfinished results"):
        check_out(tmp_path / "unfinished" / "mine", "dataset")
