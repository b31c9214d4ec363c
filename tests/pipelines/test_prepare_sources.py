"""Every ``--format`` with every kind of source: a dataset, or words about what is wrong."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest
from label_forms import BOX_FORMS, FORMS, prepared, write_images

from defectkit.data.dataset import Dataset
from defectkit.errors import DefectkitError, LabelError
from defectkit.vocabulary import LabelFormatOption

FORMATS = get_args(LabelFormatOption)
OPTIONS = (
    {"skip_bad_rows": True}, {}, {"mask_threshold": 128}, {"invert": True, "clip": True},
    {"boxes": True}, {"rle_base": "1", "rle_order": "row"}, {"polygons": "points"},
)  # fmt: skip
"""Options of which most belong to some formats alone."""
TEXTS = {"empty": b"", "words": b"hello world\n", "bytes": bytes(range(256))}
SUFFIXES = (".csv", ".json", ".xml", ".txt", ".yaml", ".png", "")


def forms(folder: Path) -> Iterator[Path]:
    """What has labels in each form: what is to be named, its folder, and its first files."""
    for number, write in enumerate([*(write for _, write in FORMS.values()), *BOX_FORMS.values()]):
        top = folder / f"form {number}"
        write_images(top)
        yield from (write(top), top)
        files = sorted(path for path in top.rglob("*") if path.is_file())
        yield from {path.suffix: path for path in files if path.parent.name != "images"}.values()


def odd_sources(folder: Path) -> Iterator[Path]:
    """What is no label file, and what there is not."""
    for suffix in SUFFIXES:
        for name, content in TEXTS.items():
            path = folder / f"{name}{suffix or ' without'}" / f"labels{suffix}"
            path.parent.mkdir()
            path.write_bytes(content)
            yield path
        yield from (folder / f"missing{suffix}", folder / "missing" / f"deeper{suffix}")
    (folder / "links").mkdir()
    (folder / "links" / "self.csv").symlink_to("self.csv")
    (folder / "links" / "dead.csv").symlink_to("nowhere")
    yield from ((folder / "links" / "self.csv"), (folder / "links" / "dead.csv"))
    (folder / "folder.csv").mkdir()
    yield folder / "folder.csv"
    if hasattr(os, "mkfifo"):
        (folder / "pipe").mkdir()
        os.mkfifo(folder / "pipe" / "labels.csv")
        yield folder / "pipe" / "labels.csv"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("sources")
    (folder / "odd").mkdir()
    return [*forms(folder), *odd_sources(folder / "odd")]


@pytest.mark.check(62)
@pytest.mark.filterwarnings("ignore::defectkit.errors.DefectkitWarning")
@pytest.mark.parametrize("label_format", FORMATS)
def test_every_format_of_every_source_is_a_dataset_or_refused(
    label_format, sources, tmp_path, tally
):
    first, step = FORMATS.index(label_format), tally.number(short=3, full=1)
    for number, source in list(enumerate(sources))[first % step :: step]:
        options = OPTIONS[(number + first) % len(OPTIONS)]
        with tally.case((source, options)):
            try:
                out = prepared(source, tmp_path / f"{number}", label_format=label_format, **options)
            except DefectkitError:
                continue
            assert Dataset.load(out).records


@pytest.mark.parametrize("label_format", FORMATS)
def test_a_source_that_is_missing_is_said(label_format, tmp_path):
    for name in ("gone.csv", "gone/deeper", "gone.png", "nul\0"):
        with pytest.raises(LabelError, match=r"cannot read .*Check the path\."):
            prepared(tmp_path / name, tmp_path / "out", label_format=label_format)


@pytest.mark.check(62)
def test_masks_are_in_a_folder(tmp_path):
    (tmp_path / "train.csv").write_text("ImageId,EncodedPixels\na.png,1 2\n")
    with pytest.raises(LabelError, match=r"train\.csv is one file\. Name the folder of the masks"):
        prepared(tmp_path / "train.csv", tmp_path / "out", label_format="masks")
