"""The region to inspect and ignored pixels, from the source to the dataset."""

import csv
import io

import numpy as np
import pytest
from label_source import HEIGHT, WIDTH, Source, boxes
from rich.console import Console

from defectkit.data.dataset import CommonRoi, Dataset
from defectkit.data.images import write_png
from defectkit.errors import DatasetError, ImageError, LabelError
from defectkit.files import read_json


@pytest.fixture
def source(tmp_path) -> Source:
    """Five good and five defective images of 40x24; the defects are at x 3 to 8, y 4 to 8."""
    source = Source(tmp_path / "source")
    source.good(5)
    for index in range(5):
        source.image(f"bad{index}.png")
        source.add(f"bad{index}.png", "1", boxes((3, 4, 6, 5)))
    return source


def loaded(source: Source) -> Dataset:
    return Dataset.load(source.folder / "dataset")


def test_defects_are_cut_at_the_border_of_the_region_and_the_ledger_says_so(source):
    summary = source.prepare(roi="5,0,35,24")
    dataset = loaded(source)
    assert source.table("scope.csv") == [{"image_id": "", "kind": "roi", "shape": "5,0,35,24"}]
    assert dataset.common_roi == CommonRoi("5,0,35,24", HEIGHT, WIDTH)
    for record in dataset.records:
        assert record.roi == "5,0,35,24"
        if record.defective:
            assert record.rles == {"1": boxes((5, 4, 4, 5))}
            assert [region.area for region in record.regions] == [20]
    cut = "10 of its 30 pixels are outside of the region to inspect"
    assert source.outcomes()[5:] == [("used", cut)] * 5
    assert any(warning.startswith("5 rows have pixels that are") for warning in summary.warnings)
    assert read_json(source.folder / "dataset" / "dataset.json")["roi"] == "5,0,35,24"


def test_an_image_whose_defects_are_all_outside_becomes_good_and_it_is_said(source):
    for index in range(4):
        source.image(f"two{index}.png")
        source.add(f"two{index}.png", "1", boxes((3, 4, 6, 5), (20, 4, 6, 5)))
    source.add("two0.png", "2", boxes((0, 0, 2, 2)))
    summary = source.prepare(roi="12,0,28,24")
    assert (summary.defective, summary.good) == (4, 10)
    lost = "30 of its 30 pixels are outside of the region to inspect; no defect is left of it"
    assert source.outcomes()[5:10] == [("used", lost)] * 5
    assert "of 6 of these rows no defect is left" in summary.warnings
    assert (
        "5 images have no defect pixels that count, and count as good: "
        "bad0.png, bad1.png, bad2.png, …" in summary.warnings
    )


def test_a_region_that_is_the_whole_image_changes_nothing(source, tmp_path):
    source.prepare(roi=f"0,0,{WIDTH},{HEIGHT}")
    with_roi = loaded(source)
    source.prepare()
    assert with_roi.fingerprint == loaded(source).fingerprint
    assert not (source.folder / "dataset" / "scope.csv").exists()
    write_png(tmp_path / "all.png", np.ones((HEIGHT, WIDTH), np.uint8))
    source.prepare(roi=tmp_path / "all.png")
    assert with_roi.fingerprint == loaded(source).fingerprint


def test_the_scope_is_part_of_the_fingerprint_and_an_old_one_is_removed(source):
    prints = set()
    for roi in ("10,0,30,24", "11,0,29,24", None):
        source.prepare(roi=roi)
        prints.add(loaded(source).fingerprint)
    assert len(prints) == 3
    assert not (source.folder / "dataset" / "scope.csv").exists()


def test_a_mask_is_the_region_of_all_images(source, tmp_path):
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[2:20, 4:30] = 255
    mask[5, 6] = 0
    write_png(tmp_path / "roi.png", mask)
    source.prepare(roi=tmp_path / "roi.png")
    for record in loaded(source).records:
        np.testing.assert_array_equal(record.read_scope().counted, mask > 0)
        assert not (record.read_masks(["1"])[0][mask == 0]).any()
    assert len(source.table("scope.csv")) == 1


def test_a_column_gives_each_image_its_own_region(source):
    source.rows[0].append("ROI")
    for index, row in enumerate(source.rows[1:]):
        row.append("" if index == 0 else f"{index},0,20,24")
    summary = source.prepare()
    dataset = loaded(source)
    assert [record.roi for record in dataset.records][:3] == ["", "1,0,20,24", "2,0,20,24"]
    assert len(source.table("scope.csv")) == 9
    assert dataset.common_roi is None
    assert any("1 images have no region to inspect of their own" in w for w in summary.warnings)
    with pytest.raises(DatasetError, match="a column 'ROI', and there is --roi 0,0,9,9. Give one"):
        source.prepare(roi="0,0,9,9")


def test_meta_may_have_the_column(source, tmp_path):
    with (tmp_path / "meta.csv").open("w", newline="") as handle:
        csv.writer(handle).writerows([["ImageId", "roi"], ["bad0.png", "0,0,20,24"]])
    source.prepare(meta=tmp_path / "meta.csv")
    rois = {record.image_id: record.roi for record in loaded(source).records}
    assert (rois["bad0.png"], rois["bad1.png"]) == ("0,0,20,24", "")


def test_a_column_that_means_something_else_is_refused(source):
    source.rows[0].append("roi")
    for row in source.rows[1:]:
        row.append("left camera")
    with pytest.raises(DatasetError, match="has 'left camera' for good0.png.*or rename the column"):
        source.prepare()


def test_masks_of_regions_are_no_images(source):
    for name in [row[0] for row in source.rows[1:]]:
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[:, :30] = 1
        write_png(source.images / "rois" / name, mask)
    summary = source.prepare(roi=source.images / "rois", unlisted="good")
    assert summary.images == 10
    assert loaded(source).common_roi is not None  # all are equal
    (source.images / "rois" / "bad3.png").unlink()
    with pytest.raises(ImageError, match=r"no mask for image bad3.png"):
        source.prepare(roi=source.images / "rois")


def test_a_region_that_does_not_fit_refuses_the_image(source):
    with pytest.raises(LabelError, match="bad0.png: the region to inspect X,Y,W,H = 30,0,20,24 is"):
        source.prepare(roi="30,0,20,24")


def test_a_class_that_is_ignored_is_no_defect(source):
    source.add("bad0.png", "dust", boxes((5, 0, 10, 24)))
    source.image("dusty.png")
    source.add("dusty.png", "dust", boxes((0, 0, 10, 10), (20, 0, 5, 5)))
    text = io.StringIO()
    source.prepare(ignore_class="dust", console=Console(file=text, width=120))
    dataset = loaded(source)
    assert dataset.classes == ("1",)
    records = {record.image_id: record for record in dataset.records}
    assert not records["dusty.png"].defective
    assert records["dusty.png"].ignored == boxes((0, 0, 10, 10), (20, 0, 5, 5))
    # Ignored wins over a defect.
    assert records["bad0.png"].rles == {"1": boxes((3, 4, 2, 5))}
    assert records["bad1.png"].ignored == ""
    outcomes = source.outcomes()
    assert outcomes[5] == ("used", "20 of its 30 pixels are ignored")
    note = "these pixels are ignored; they count neither in training nor in any metric"
    assert outcomes[-2:] == [("used", note)] * 2
    assert "ignored" in text.getvalue()
    assert "in 2 images" in text.getvalue()
    with pytest.raises(DatasetError, match="--ignore-class 'dirt' is no class of the labels. The"):
        source.prepare(ignore_class="dirt")


def test_an_image_of_which_nothing_counts_is_refused(source):
    source.image("covered.png")
    source.add("covered.png", "dust", boxes((0, 0, 20, 24)))
    with pytest.raises(LabelError, match="covered.png: no pixel of the region to inspect is left"):
        source.prepare(ignore_class="dust", roi="0,0,20,24")
    summary = source.prepare(ignore_class="dust", roi="0,0,20,24", skip_bad_rows=True)
    assert (summary.images, summary.rows_refused) == (10, 1)
