from pathlib import Path

import numpy as np

from defectkit.data.dataset import Dataset
from defectkit.data.images import write_png
from defectkit.files import read_csv
from defectkit.preparation.image_facts import ImageFacts
from defectkit.preparation.prepared_image import PreparedImage
from defectkit.preparation.write_dataset import (
    write_info,
    write_ledger,
    write_tables,
)


def prepared(folder, *names: str) -> list[PreparedImage]:
    images = []
    for name in names:
        path = folder / name
        write_png(path, np.zeros((4, 6), np.uint8))
        facts = ImageFacts(image_id=name, path=path, height=4, width=6, channels=1, sha256="0")
        images.append(PreparedImage(facts, name, "train"))
    return images


def write(out, images: list[PreparedImage]) -> None:
    write_ledger(out, [])
    write_tables(out, images, [], [], out=out)
    write_info(out, {"classes": []})


def paths(out) -> list[str]:
    return [row["path"] for row in read_csv(out / "images.csv")]


def test_paths_hold_wherever_the_process_stands(tmp_path, monkeypatch):
    images = prepared(tmp_path / "Train", "a.png", "line 2/b.png")
    for place, expected in (("one", "../../Train"), ("two/deep", "../../../Train")):
        (tmp_path / place).mkdir(parents=True)
        monkeypatch.chdir(tmp_path / place)
        write(Path("out"), images)
        assert paths(tmp_path / place / "out") == [f"{expected}/a.png", f"{expected}/line 2/b.png"]


def test_a_path_leads_out_of_what_a_link_points_to(tmp_path):
    images = prepared(tmp_path / "Train", "a.png")
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "far" / "away")
    write(tmp_path / "out", images)
    assert paths(tmp_path / "out") == ["../../Train/a.png"]
    assert Dataset.load(tmp_path / "out").records[0].path.samefile(images[0].facts.path)
