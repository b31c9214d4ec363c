"""What lies in a folder of results."""

import pytest
from file_hashes import mark, mark_unfinished

from defectkit.errors import OutputError
from defectkit.files import write_csv, write_json
from defectkit.results_marker import MARKER, KnownResults, Marker, check_out, own_files

FINDINGS = ("image_id", "verdict", "score", "class_id", "rle")
DAMAGED = [
    "", "{", "[]", "{}", '{"kind": 1, "complete": 1, "files": {}}',
    '{"kind": "run", "complete": true, "files": ["a"]}',
    '{"kind": "run", "complete": true, "files": {"a": "1"}}', "[" * 100_000,
]  # fmt: skip


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_a_marker_comes_back_as_it_was_written(tmp_path):
    marker = Marker("dataset", complete=True, files={"a.csv": 1, "b/c \udcff.png": 0})
    marker.write(tmp_path)
    assert Marker.read(tmp_path) == marker


@pytest.mark.check(52)
@pytest.mark.parametrize(
    "name", ["../a", "b/../../a", "/etc/passwd", "", ".", "..", "unfinished/a", MARKER]
)
def test_a_marker_that_names_a_file_elsewhere_counts_as_none(tmp_path, name):
    Marker("dataset", complete=True, files={"a": 1, name: 1}).write(tmp_path)
    assert Marker.read(tmp_path) is None


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_marker_counts_as_none(tmp_path, text):
    (tmp_path / MARKER).write_text(text)
    assert Marker.read(tmp_path) is None
    assert own_files(tmp_path) == {}


def test_the_own_files_are_those_of_the_marker_and_of_unfinished_results(tmp_path):
    touch(tmp_path, "findings.csv", "overlays/mine.png", "overlays/a.png", "unfinished/x/b.png")
    mark(tmp_path, ["findings.csv", "overlays/a.png"])
    assert own_files(tmp_path) == {"findings.csv": 12, "overlays/a.png": 14}
    mark_unfinished(tmp_path / "unfinished")
    assert own_files(tmp_path).keys() == {
        "findings.csv", "overlays/a.png", "unfinished/x/b.png", f"unfinished/{MARKER}"
    }  # fmt: skip


def test_a_result_is_known_wherever_its_marker_lies_above_it(tmp_path):
    out = tmp_path / "out"
    touch(out, "findings.csv", "overlays/a.png", "unfinished/overlays/b.png")
    mark(out, ["findings.csv", "overlays/a.png"])
    mark_unfinished(out / "unfinished")
    results = KnownResults()
    assert out / MARKER in results
    assert out / "overlays/a.png" in results
    assert out / "unfinished/overlays/b.png" in results
    assert out / "overlays/mine.png" not in results
    assert tmp_path / "findings.csv" not in results


def test_the_marker_of_very_many_files_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("defectkit.files.MAX_JSON_BYTES", 1000)
    files = {f"overlays/{number}.png": number for number in range(1000)}
    Marker("inspection", True, files).write(tmp_path)
    assert own_files(tmp_path) == files


def test_results_of_an_earlier_version_are_known_by_their_names(tmp_path):
    touch(tmp_path, "preview/good.png", "preview/my.png", "train.csv")
    assert own_files(tmp_path) == {}
    write_json(tmp_path / "dataset.json", {"format_version": 1})
    assert own_files(tmp_path).keys() == {"dataset.json", "preview/good.png"}


@pytest.mark.check(52)
def test_a_file_that_was_changed_is_the_user_s(tmp_path):
    touch(tmp_path, "findings.csv", "overlays/a.png", "overlays/b.png")
    mark(tmp_path, ["findings.csv", "overlays/a.png", "overlays/b.png"])
    (tmp_path / "overlays/a.png").write_bytes(b"photo")
    assert tmp_path / "overlays/a.png" not in KnownResults()
    assert tmp_path / "overlays/b.png" in KnownResults()


def test_pictures_beside_the_overlays_of_an_earlier_version_are_the_user_s(tmp_path):
    touch(tmp_path, "overlays/1-escape-a.png", "overlays/1-my-photo.png")
    write_json(tmp_path / "metrics.json", {"image": {"threshold_low": 0.5}})
    assert own_files(tmp_path).keys() == {"metrics.json", "overlays/1-escape-a.png"}


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
        (MARKER, {"kind": "dataset", "complete": False, "files": {}}, "dataset"),
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
    mark_unfinished(tmp_path / "unfinished", "dataset")
    with pytest.raises(OutputError, match="unfinished has unfinished results"):
        check_out(tmp_path / "unfinished" / "mine", "dataset")


@pytest.mark.check(52)
@pytest.mark.parametrize("name", ["unfinished", "line/unfinished", "Unfinished/"])
def test_no_results_are_written_where_the_next_command_would_remove_them(tmp_path, name):
    with pytest.raises(OutputError, match=r"is called as .* keep unfinished results\. Choose ano"):
        check_out(tmp_path / name, "dataset")
