"""The page must work offline and show each suspect label with its picture, whatever its name."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from defectkit.data.images import write_png
from defectkit.evaluation.suspects import KIND_MEANINGS, Suspect
from defectkit.reporting.html.suspects import suspects_page

EVIL = '<script>alert(1)</script>"><img src=x onerror=alert(1)>{{ 7 * 191 }}</style>'


class Tags(HTMLParser):
    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(content)
        self.text = re.sub(r"\s+", " ", self.text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += f" {data}"


def suspect(**changes) -> Suspect:
    values = {
        "image_id": "a.png", "kind": "tiny", "class_id": "dent", "box_xywh": (3, 4, 2, 1),
        "area": 2, "suspicion": 0.75, "reason": "2 pixels", **changes,
    }  # fmt: skip
    return Suspect(**values)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "a picture?.png"
    write_png(path, np.full((30, 40, 3), 90, np.uint8))
    return path


def page(*entries, title: str = "A title", total: int = 1) -> Tags:
    return Tags(suspects_page(entries, title=title, total=total))


def test_each_suspect_is_shown_with_its_picture_and_its_reason(picture):
    shown = page(
        (picture, "val", [suspect(), suspect(kind="flat", class_id="", reason="looks plain")]),
        (picture, "train", [suspect(image_id="b.png")]),
        total=2,
    )
    assert (
        "1. a.png · validation A labeled region of a few pixels (class dent): 2 pixels. "
        "tiny, suspicion 0.75 Accept: remove this label Dismiss: the label is right "
        "A labeled region that looks like its surroundings : looks plain."
    ) in shown.text
    assert "2. b.png · training" in shown.text
    assert "2 images with suspect labels" in shown.text
    for meaning in KIND_MEANINGS.values():
        assert meaning in shown.text
    images = [attributes for tag, attributes in shown.tags if tag == "img"]
    assert len(images) == 2
    assert all(one["src"].startswith("data:image/jpeg;base64,") for one in images)
    links = [attributes["href"] for tag, attributes in shown.tags if tag == "a"]
    assert links == ["pictures/a%20picture%3F.png"] * 2


def test_it_says_how_many_are_not_shown(picture):
    shown = page((picture, "val", [suspect()]), total=3)
    assert "Shown here: the first 1; suspects.csv has all." in shown.text
    assert "No images with suspect labels" in page(total=0).text


def test_names_are_text_and_nothing_else(picture):
    shown = page((picture, "val", [suspect(image_id=EVIL, class_id=EVIL, reason=EVIL)]), title=EVIL)
    assert shown.text.count(EVIL) >= 4  # title, image, class and reason
    assert not {"iframe", "object", "link"} & {tag for tag, _ in shown.tags}
    scripts = [attributes for tag, attributes in shown.tags if tag == "script"]
    assert scripts == [{"type": "application/json", "id": "data"}, {}]  # the page's own
    assert all("onerror" not in attributes for _, attributes in shown.tags)
    assert "1337" not in shown.text
