"""One process inspects: images in their order, and tells how far a large one has come."""

import shutil
from pathlib import Path

import pytest
from exported_models import write_exported
from PIL import Image

import defectkit
from defectkit.approaches.passes import Passes
from defectkit.data.image_search import ImageFile, search_images
from defectkit.deployment import runtime
from defectkit.reporting.drawing.large_overlay import LargeOverlay
from defectkit.reporting.drawing.overlay_files import EncodedOverlay
from defectkit.reporting.inspection import SHARE_OF_FINDING, InspectionOptions
from defectkit.reporting.inspector import Inspector

NAMES = [f"part-{number:02}.png" for number in range(4)]
OPTIONS = InspectionOptions(roi=None, drawn="all", first_page=False, all_regions=False)


@pytest.fixture
def files(source_csv, tmp_path) -> list[ImageFile]:
    (tmp_path / "photos").mkdir()
    for name in NAMES:
        shutil.copy(source_csv.parent / "Train" / name, tmp_path / "photos")
    return search_images([tmp_path / "photos"], follow_links=False, is_mask=lambda _: False).files


@pytest.fixture
def model(tmp_path) -> Path:
    """An exported model that sees tiles of 48 x 48 pixels: nine of each image."""
    return write_exported(tmp_path / "exported", channels=1, passes=Passes(tile=48, overlap=16))


@pytest.mark.parametrize(("large", "overlay"), [(0, LargeOverlay), (2**24, EncodedOverlay)])
def test_images_come_in_their_order_and_each_tells_how_far_it_is(
    files, model, large, overlay, monkeypatch
):
    monkeypatch.setattr(runtime, "LARGE_PIXELS", large)
    shares: dict[str, list[float]] = {name: [] for name in NAMES}

    def watch(image_id: str, share: float) -> None:
        shares[image_id].append(share)

    told = Inspector(defectkit.load(model)).inspect(files, OPTIONS, ids=(), done=0, watch=watch)
    inspected = list(told)
    assert [one.image_id for one in inspected] == NAMES
    assert all(isinstance(one.overlay, overlay) for one in inspected)
    for name in NAMES:
        assert shares[name] == pytest.approx([SHARE_OF_FINDING * tile / 9 for tile in range(1, 10)])


def test_of_a_file_of_several_images_the_last_one_alone_is_told(files, model, tmp_path):
    pages = [Image.open(one.path) for one in files]
    pages[0].save(tmp_path / "pages.tiff", save_all=True, append_images=pages[1:])
    [stack] = search_images(
        [tmp_path / "pages.tiff"], follow_links=False, is_mask=lambda _: False
    ).files
    told: set[str] = set()
    watch = lambda image_id, _: told.add(image_id)  # noqa: E731
    inspected = list(
        Inspector(defectkit.load(model)).inspect([stack], OPTIONS, ids=(), done=0, watch=watch)
    )
    assert len(inspected) == len(NAMES)
    assert told == {inspected[-1].image_id}


def test_an_image_that_cannot_be_read_is_a_problem_of_its_own(files, model):
    files[1].path.write_bytes(b"no image")
    told = Inspector(defectkit.load(model)).inspect(
        files, OPTIONS, ids=(), done=0, watch=lambda *_: None
    )
    problems = [one.problem for one in told]
    assert [bool(problem) for problem in problems] == [False, True, False, False]
    assert problems[1].startswith("not an image that can be read")
