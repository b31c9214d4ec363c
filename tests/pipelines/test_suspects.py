import re

import pytest
from file_hashes import hashes_of, hashes_of_results

import defectkit
from defectkit.data.dataset import Dataset
from defectkit.errors import ConfigError
from defectkit.evaluation.suspects import SUSPECT_COLUMNS
from defectkit.files import read_csv


@pytest.fixture
def suspects(run_copy, quiet):
    return defectkit.suspects(run_copy, device="cpu", max_images=3, console=quiet)


def test_a_work_list_with_pictures_and_nothing_else_changed(
    run_copy, dataset_folder, source_csv, quiet
):
    before = hashes_of(run_copy), hashes_of(source_csv.parent)
    found = defectkit.suspects(run_copy, device="cpu", max_images=3, console=quiet)
    files = hashes_of_results(run_copy / "suspects")
    pictures = [name for name in files if name.startswith("pictures/")]
    images = list(dict.fromkeys(one.image_id for one in found))
    assert set(files) - set(pictures) == {"suspects.csv", "suspects.html"}
    assert len(pictures) == min(3, len(images)) > 0
    after = {n: h for n, h in hashes_of(run_copy).items() if not n.startswith("suspects/")}
    assert (after, hashes_of(source_csv.parent)) == before

    rows = read_csv(run_copy / "suspects" / "suspects.csv")
    assert tuple(rows[0]) == SUSPECT_COLUMNS
    assert [row["image_id"] for row in rows] == [one.image_id for one in found]
    assert [int(row["rank"]) for row in rows] == list(range(1, len(rows) + 1))
    splits = {record.image_id: record.split for record in Dataset.load(dataset_folder).records}
    assert all(row["split"] == splits[row["image_id"]] != "test" for row in rows)


def test_the_page_names_the_highest_suspicions_and_loads_nothing(run_copy, suspects):
    page = (run_copy / "suspects" / "suspects.html").read_text()
    shown = list(dict.fromkeys(one.image_id for one in suspects))[:3]
    for place, image_id in enumerate(shown, start=1):
        assert f"<strong>{place}. {image_id}</strong>" in page
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg\")|\bsrc=\"(?!data:)", page)
    links = re.findall(r'href="(pictures/[^"]+)"', page)
    assert len(links) == len(shown)
    assert all((run_copy / "suspects" / link).is_file() for link in links)


def test_the_command_prints_what_it_found(run_copy, cli):
    ended = cli("suspects", run_copy, "--device", "cpu", "--max-images", "1")
    assert ended.code == 0
    assert re.search(r"\d+ of 15 images have suspect labels", ended.err)
    assert "Nothing was changed" in ended.err
    assert re.search(r" and \d+ more work list in ", ended.err)


def test_the_work_list_is_opened_when_it_is_complete(run_copy, cli, monkeypatch):
    seen = []
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr("webbrowser.open", lambda address: bool(seen.append(address)) or True)
    assert cli("suspects", run_copy, "--device", "cpu", "--max-images", "1", "--open").code == 0
    page = run_copy / "suspects" / "suspects.html"
    assert seen == [page.as_uri()]
    assert page.is_file()


def test_no_picture_at_all_is_refused(run_copy, quiet):
    message = r"--max-images 0 is out of range\. Choose between 1 and 100000\."
    with pytest.raises(ConfigError, match=message):
        defectkit.suspects(run_copy, max_images=0, console=quiet)
