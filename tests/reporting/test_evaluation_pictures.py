import random
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from defectkit.data.dataset import Dataset
from defectkit.reporting import evaluation_pictures
from defectkit.reporting.evaluation_pictures import SAMPLE, EvaluationPictures, describe_overlays

COUNTS = {"escape": 70, "overkill": 60, "review": 55, "hit": 400, "pass": 3}


@pytest.fixture
def drawn(tmp_path, monkeypatch):
    """Judge images, in a random order, that are not drawn in fact; return names of overlays."""

    def touch(path: Path, *_, **__):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        path.with_suffix(".preview.jpg").touch()

    monkeypatch.setattr(evaluation_pictures, "write_overlay", touch)
    monkeypatch.setattr(evaluation_pictures, "write_page_image", lambda *_, **__: None)

    def call(overlays, *, seed=0, counts=COUNTS):
        images = [
            (f"{outcome} {number}.png", outcome)
            for outcome, count in counts.items()
            for number in range(count)
        ]
        random.Random(seed).shuffle(images)
        folder = tmp_path / f"{overlays}-{seed}"
        pictures = EvaluationPictures(folder, overlays)
        for image_id, outcome in images:
            pixels = SimpleNamespace(show=lambda image: image)
            record = SimpleNamespace(image_id=image_id, pixels=pixels)
            truth = SimpleNamespace(mask=None, scope=None)
            prediction = SimpleNamespace(record=record, image=None, finding=None, truth=truth)
            judgment = SimpleNamespace(outcome=outcome)
            pictures.add(SimpleNamespace(prediction=prediction, judgment=judgment, matches=[]))
        assert len(pictures.page_images) == len(images)
        names = sorted(path.name for path in folder.glob("overlays/*.png"))
        assert len(list(folder.glob("overlays/*.preview.jpg"))) == len(names) == pictures.drawn
        return names, describe_overlays(pictures.drawn, len(images))

    return call


def test_errors_and_reviews_are_drawn_and_always_the_same_sample_of_the_others(drawn):
    names, told = drawn("flagged")
    kept = {kind: sum(f"-{kind}-" in name for name in names) for kind in COUNTS}
    assert kept == {**COUNTS, "hit": SAMPLE}
    total = sum(COUNTS.values())
    assert told == (
        f"{len(names)} overlays (all escapes, overkills and reviews, and a sample of the others; "
        f"--overlays all draws all {total})"
    )
    assert drawn("flagged", seed=1)[0] == names
    more = drawn("flagged", seed=2, counts={**COUNTS, "escape": 71})[0]
    assert set(names) < set(more), "one more escape must not change the sample of the others"


def test_all_or_none_are_drawn_if_that_is_asked_for(drawn):
    names, told = drawn("all")
    assert (len(names), told) == (sum(COUNTS.values()), "overlays")
    assert drawn("none") == ([], "")
    assert drawn("flagged", counts={"hit": SAMPLE, "pass": SAMPLE, "escape": 1})[1] == "overlays"


@pytest.mark.parametrize(("overlays", "sample"), [("flagged", 1), ("all", 1), ("none", 50)])
def test_the_page_shows_every_image_whether_it_is_drawn_or_not(
    overlays, sample, run_copy, dataset_folder, cli, monkeypatch
):
    monkeypatch.setattr(evaluation_pictures, "SAMPLE", sample)
    told = cli("evaluate", run_copy, "--device", "cpu", "--overlays", overlays)
    assert told.code == 0
    folder = run_copy / "evaluation" / "test"
    names = {path.name for path in folder.glob("overlays/*")}
    images = len(Dataset.load(dataset_folder).split("test"))
    page = (folder / "report.html").read_text()
    assert page.count('id="picture:') == images
    assert set(re.findall(r'"(\d-[a-z]+-[^"]+)"', page)) == names
    match overlays:
        case "all":
            assert len(names) == images
            assert f"overlays in {folder / 'overlays'}, report in" in told.err
        case "none":
            assert not names
            assert "overlays" not in told.err
        case "flagged":
            assert 0 < len(names) < images
            assert f"--overlays all draws all {images}) in {folder / 'overlays'}" in told.err
