import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from label_source import HEIGHT, WIDTH, Source, mask_of, reversed_pairs

from defectkit.data.images import read_image, write_png
from defectkit.errors import LabelError
from defectkit.files import read_json
from defectkit.labels import rle


def test_base_0_shows_itself_and_is_kept_when_given(source):
    source.image("zero.png")
    source.add("zero.png", "1", "0 3 30 2")
    source.prepare()
    info = read_json(source.folder / "dataset" / "dataset.json")
    assert info["rle"]["base"] == 0
    assert info["rle"]["how_decided"].startswith("base 0: a run in line 21 starts at 0;")
    assert source.table("masks.csv")[-1]["rle"] == "1 3 31 2"
    with pytest.raises(LabelError, match=r"1 of 20 rows .*(?s:.*)zero\.png"):
        source.prepare(rle_base="1")


def test_runs_that_count_from_0_and_from_1_stop_and_name_the_flag(source):
    for name, text in (("zero", "0 3"), ("full", f"{HEIGHT * WIDTH - 1} 2")):
        source.image(f"{name}.png")
        source.add(f"{name}.png", "1", text)
    with pytest.raises(
        LabelError,
        match=r"both from 0 and from 1: base 0: a run in line 21 starts at 0.*line 22 ends at 960.*"
        r"--rle-base 0 or --rle-base 1",
    ):
        source.prepare(skip_bad_rows=True)
    assert source.prepare(rle_base="0", skip_bad_rows=True).rows_refused == 1


def blobs(count: int, seed: int = 0) -> list[np.ndarray]:
    """Masks of HEIGHT x WIDTH with an ellipse each; in turn they touch one of the borders."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    masks = []
    for index in range(count):
        half_y, half_x = rng.uniform(4, HEIGHT / 4), rng.uniform(4, WIDTH / 4)
        y, x = rng.uniform(half_y, HEIGHT - half_y), rng.uniform(half_x, WIDTH - half_x)
        y, x = [(y, x), (0, x), (HEIGHT - 1, x), (y, 0), (y, WIDTH - 1)][index % 5]
        ellipse = ((rows - y) / half_y) ** 2 + ((columns - x) / half_x) ** 2 <= 1
        masks.append(ellipse.astype(np.uint8))
    return masks


def convention_source(folder: Path, masks: Sequence[np.ndarray], base: int, order: str) -> Source:
    source = Source(folder)
    source.good(6)
    for index, mask in enumerate(masks):
        source.image(f"{index}.png")
        source.add(f"{index}.png", str(index % 2 + 1), rle.encode(mask, base=base, order=order))
    return source


def rewritten(source: Source, form: str) -> list[list[str]]:
    """The same rows in another form of table: what they say does not change."""
    header, *rows = source.rows
    match form:
        case "no header, -1 for none":
            return [[name, class_id or "1", text or "-1"] for name, class_id, text in rows]
        case "a row per image and class":
            told = {f"{name}_{class_id}": text for name, class_id, text in rows}
            keys = [f"{row[0]}_{class_id}" for row in rows for class_id in "12"]
            return [["ImageId_ClassId", "EncodedPixels"], *([k, told.get(k, "")] for k in keys)]
        case "unsorted and in pieces":
            return [header, *([a, b, " ".join(in_pieces(text))] for a, b, text in rows)]
        case _:
            return source.rows


def in_pieces(text: str) -> list[str]:
    """Each run in two, the last run first."""
    pieces = []
    for start, length in (map(int, pair.split()) for pair in reversed_pairs(text)):
        half = length // 2
        pieces += [f"{start + half} {length - half}"] + ([f"{start} {half}"] if half else [])
    return pieces


CONVENTIONS = [
    (1, "column", "a row per image and class"),
    (0, "column", "no header, -1 for none"),
    (1, "row", "unsorted and in pieces"),
    (0, "row", "as it is"),
    (1, "column", "as it is"),
]


@pytest.mark.check(19)
def test_one_truth_in_five_conventions_gives_the_same_masks(tmp_path, tally):
    for seed in range(tally.number(short=1, full=20)):
        masks = blobs(10, seed)
        found = {}
        for index, (base, order, form) in enumerate(CONVENTIONS):
            with tally.case((seed, base, order, form)):
                source = convention_source(tmp_path / f"{seed}-{index}", masks, base, order)
                source.rows = rewritten(source, form)
                source.prepare()
                out = source.folder / "dataset"
                info = read_json(out / "dataset.json")["rle"]
                assert (info["base"], info["order"]) == (base, order), info
                assert "assumed" not in info["how_decided"]
                found[base, order, form] = (out / "masks.csv").read_bytes()
                assert found[base, order, form] == next(iter(found.values()))
        rows = source.table("masks.csv")
        for mask, row in zip(masks, rows, strict=True):
            np.testing.assert_array_equal(mask_of(row["rle"]), mask)


@pytest.mark.check(9)
@pytest.mark.parametrize(
    ("base", "order", "given", "flag"),
    [
        (1, "column", {"rle_order": "row"}, "--rle-order row contradicts .* 10 of 10 .*column"),
        (0, "row", {"rle_order": "column"}, "--rle-order column contradicts .* 10 of 10 .*row"),
        (1, "column", {"rle_base": "0"}, "--rle-base 0 contradicts .*Give --rle-base 1"),
        (0, "column", {"rle_base": "1"}, "--rle-base 1 contradicts .*Give --rle-base 0"),
        (0, "row", {"rle_base": "1"}, "--rle-base 1 contradicts .* end of a row .*--rle-base 0"),
    ],
)
def test_a_convention_that_the_data_contradict_stops_and_names_the_flag(
    tmp_path, cli, base, order, given, flag
):
    source = convention_source(tmp_path, blobs(10), base, order)
    source.prepare()
    shutil.rmtree(tmp_path / "dataset")
    flags = [part for key, value in given.items() for part in (f"--{key.replace('_', '-')}", value)]
    ended = cli("prepare", source.csv, "--out", tmp_path / "dataset", *flags)
    assert ended.code == 2
    assert re.search(flag, ended.err), ended.err
    assert not (tmp_path / "dataset" / "dataset.json").exists()


@pytest.mark.check(9)
def test_turned_images_stop_and_the_flag_is_named(tmp_path):
    source = convention_source(tmp_path, blobs(10), 1, "column")
    for index in range(0, 10, 2):
        path = source.images / f"{index}.png"
        write_png(path, np.ascontiguousarray(read_image(path).T))
    with pytest.raises(LabelError, match=r"Height and width of some images .*--rle-order column"):
        source.prepare()


@pytest.mark.check(9)
def test_a_row_that_fits_the_other_base_alone_names_the_flag(source):
    source.image("last.png")
    source.add("last.png", "1", f"{HEIGHT * WIDTH} 1")
    with pytest.raises(LabelError, match=r"ends at pixel 960, past the last, 959: .*--rle-base 1"):
        source.prepare(rle_base="0")
