"""``prepare --relabel`` changes what it says it changes, and nothing else."""

import json

import numpy as np
import pandas as pd
import pytest
from small_sources import make_source

from defectkit.labels.corrections import CORRECTION_COLUMNS


@pytest.fixture
def source(tmp_path):
    return make_source(tmp_path, count=12)


def masks(out):
    table = pd.read_csv(out / "masks.csv", dtype=str)
    return {(row.image_id, row.class_id): row.rle for row in table.itertuples()}


def region(out, image_id):
    table = pd.read_csv(out / "defects.csv", dtype={"class_id": str})
    (row,) = table[table["image_id"] == image_id].to_dict("records")
    return row["class_id"], ",".join(str(row[name]) for name in ("x", "y", "width", "height"))


@pytest.fixture
def before(source, cli):
    out = source.parent / "before"
    assert cli("prepare", source, "--out", out).code == 0
    return out


def relabel(cli, source, *rows):
    path = source.parent / "relabel.csv"
    path.write_text("\n".join([",".join(CORRECTION_COLUMNS), *rows]) + "\n", encoding="utf-8")
    return cli("prepare", source, "--out", source.parent / "after", "--relabel", path)


def test_labels_are_dropped_changed_ignored_and_images_left_out(source, before, cli):
    first, other = (region(before, name) for name in ("part-00.png", "part-02.png"))
    assert (first[0], other[0]) == ("1", "2")
    done = relabel(
        cli,
        source,
        f"part-00.png,1,{first[1]},drop-label,",
        f"part-02.png,2,{other[1]},set-class,1",
        "part-01.png,,5,6,7,8,ignore,",
        "part-04.png,,,,,,mark-good,",
        "part-06.png,,,,,,leave-out,",
        "part-03.png,,,,,,leave-out,",
        "part-08.png,,,,,,keep,",
    )
    assert done.code == 0, done.err
    assert (
        "relabel.csv: 1 label dropped, 1 label given another class, 1 box ignored, "
        "1 image marked good, 2 images left out, 1 label kept."
    ) in done.err
    out = source.parent / "after"
    old, new = masks(before), masks(out)
    assert new == {
        **{key: value for key, value in old.items()
           if key[0] not in {f"part-0{n}.png" for n in (0, 2, 4, 6)}},
        ("part-02.png", "1"): old["part-02.png", "2"],
    }  # fmt: skip
    images = pd.read_csv(out / "images.csv").set_index("image_id")
    assert set(pd.read_csv(before / "images.csv")["image_id"]) - set(images.index) == {
        "part-03.png", "part-06.png",
    }  # fmt: skip
    assert images.loc[["part-00.png", "part-02.png", "part-04.png"], "defective"].tolist() == [
        0, 1, 0,
    ]  # fmt: skip
    scope = pd.read_csv(out / "scope.csv")
    assert scope[["image_id", "kind"]].to_numpy().tolist() == [["part-01.png", "ignored"]]
    ledger = pd.read_csv(out / "ledger.csv").set_index("image_id")
    assert "changed by --relabel, line 2" in ledger.loc["part-00.png", "reason"]
    assert ledger.loc["part-06.png", "reason"] == "left out by --relabel, line 6"
    info = json.loads((out / "dataset.json").read_text())
    assert info["relabel"]["path"] == "../relabel.csv"
    assert len(info["relabel"]["sha256"]) == 64


def test_an_ignored_box_takes_no_labeled_pixel(source, before, cli):
    _, box = region(before, "part-00.png")
    x, y, width, height = map(int, box.split(","))
    done = relabel(cli, source, f"part-00.png,,{x - 2},{y},{width},{height},ignore,")
    assert done.code == 0, done.err
    out = source.parent / "after"
    assert masks(out) == masks(before)
    from defectkit.data.dataset import Dataset

    (record,) = [one for one in Dataset.load(out).records if one.image_id == "part-00.png"]
    counted = record.read_scope().counted
    assert np.count_nonzero(~counted) == 2 * height


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("nowhere.png,,,,,,keep,", "no image has the id 'nowhere.png'"),
        ("part-00.png,1,1,1,2,2,drop-label,", "no region of class '1' has the box 1,1,2,2: its"),
        ("part-00.png,2,1,1,2,2,drop-label,", "has the box 1,1,2,2: it has none"),
        ("part-00.png,1,1,1,2,2,set-class,dnet", "'dnet' is none of the classes 1, 2"),
        ("part-01.png,,90,90,20,2,ignore,", "reaches beyond its 96 x 96 pixels"),
        ("part-01.png,,0,0,96,96,ignore,", "no pixel would be left that counts; use leave-out"),
    ],
)
def test_rows_that_fit_nothing_are_refused_and_nothing_is_written(source, cli, row, reason):
    done = relabel(cli, source, "part-02.png,,,,,,keep,", row)
    assert done.code == 2
    assert "relabel.csv:3: " in done.err
    assert reason in done.err
    assert "run 'defectkit suspects' again" in done.err
    assert not (source.parent / "after" / "dataset.json").exists()


def test_a_label_is_dropped_once(source, before, cli):
    class_id, box = region(before, "part-00.png")
    row = f"part-00.png,{class_id},{box},drop-label,"
    done = relabel(cli, source, row, row)
    assert "relabel.csv:3: image 'part-00.png': no region of class '1' has the box" in done.err
