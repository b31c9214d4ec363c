"""The report must work offline, run nothing but its own scripts, and hold nothing back."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from defectkit.data.images import encode_jpeg, write_png
from defectkit.files import write_bytes
from defectkit.reporting.drawing.overlay import overlay_name
from defectkit.reporting.html import report as page
from defectkit.reporting.html.page_images import PageImage, picture_name
from defectkit.reporting.html.report import ReportedRun, write_report

RATE = {"value": 0.5, "low": 0.1, "high": 0.9}
HOSTILE = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "' onmouseover='alert(1)",
    "</style><svg onload=alert(1)>",
    "{{ 7 * 191 }}{% raw %}",
    "javascript:alert(1)",
    "</script><img src=x onerror=alert(1)>.png",
    "http://example.com/a.png",
    "../../../etc/passwd",
    "划痕 #1?.png",
    "bad\udcff.png",
]  # fmt: skip


class Tags(HTMLParser):
    """All tags with their attributes, and the text."""

    def __init__(self, path):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        if not self.tags or self.tags[-1][0] != "script":
            self.text += data

    def handle_endtag(self, _):
        self.tags.append(("", {}))  # what follows is no longer within it

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def metrics(**image):
    counts = {"escapes": 1, "overkills": 1, "reviews": 0, "n_defective": 2, "n_good": 2}
    thresholds = {"threshold_low": 0.5, "threshold_high": 0.5}
    rates = {"escape_rate": RATE, "overkill_rate": RATE}
    recall = {"found": 1, "total": 2, **RATE}
    return {
        "image": {"average_precision": 0.75, **thresholds, **counts, **rates, **image},
        "pixel": {"dice": 0.5, "iou_by_class": {"<b>1</b>": 0.5}, "aupro_30": None},
        "region": {"recall": recall, "false_alarms_per_image": 0.5, "recall_by_area": {}},
        "class_confusion": {"classes": ["<b>1</b>", "pit"], "counts": [[3, 1, 0], [0, 0, 0]]},
        "speed": {"ms_per_image_median": 12.5, "device": "cpu"},
    }


def row(image_id, outcome, score, **more):
    verdicts = {"hit": "defective", "overkill": "defective", "review": "review"}
    defective = outcome in ("hit", "escape")
    verdict = verdicts.get(outcome, "good")
    return {"image_id": image_id, "defective": defective, "score": score, "verdict": verdict,
            "outcome": outcome, **more}  # fmt: skip


def draw(folder, rows, side=40):
    """Write overlays and pictures of the rows' images; return what the page needs of these."""
    rng = np.random.default_rng(0)
    entries = {}
    for entry in rows:
        name = entry["image_id"]
        picture = rng.integers(0, 256, (side, 2 * side, 3), np.uint8)
        write_png(folder / "overlays" / overlay_name(name), picture)
        write_bytes(folder / "report_pictures" / picture_name(name), encode_jpeg(picture))
        region = {"kind": "true", "class": name, "box": [1, 1, 2, 2], "area": 4, "found": False,
                  "as": name, "path": "M0.5 0.5l0 3 3 0 0-3z"}  # fmt: skip
        entries[name] = PageImage(
            width=2 * side, height=side, picture=picture_name(name), regions=[region], left_out=0
        )
    return entries


def report(out, rows, *, numbers=None, drawn=None, regions=(), **run):
    return write_report(
        out,
        metrics=metrics() if numbers is None else numbers,
        images=rows,
        regions=regions,
        page_images=drawn,
        run=ReportedRun(**{"title": "A title", "facts": {"seed": 0}, **run}),
    )


def data_of(path):
    """What the scripts of a page are given."""
    found = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL
    )
    return json.loads(found[1])


def test_the_classes_are_a_table_tinted_by_their_share_of_the_row(tmp_path):
    cells = [tag["class"] for tag in Tags(report(tmp_path, [])).all("td") if "heat-" in
             tag.get("class", "")]  # fmt: skip
    assert cells == [
        "number found heat-8 right", "number found heat-3", "number missed heat-0",
        "number found heat-0", "number found heat-0 right", "number missed heat-0",
    ]  # fmt: skip
    text = "".join(Tags(report(tmp_path, [])).text.split())
    assert "labeledclass<b>1</b>pitmissed<b>1</b>31·pit···" in text


def test_one_class_needs_no_table_of_classes(tmp_path):
    one = metrics() | {"class_confusion": {"classes": ["1"], "counts": [[3, 1]]}}
    text = Tags(report(tmp_path, [], numbers=one)).text
    assert "labeled class" not in text
    assert "another class" not in text


def test_defects_that_were_named_as_another_class_are_told_at_the_top(tmp_path):
    text = Tags(report(tmp_path, [])).text
    told = "Named as another class: 1 of 4 found defects, most often class <b>1</b> as class pit."
    assert told in text
    assert text.index(told) < text.index("The worst images")


@pytest.mark.check(28)
def test_hostile_names_are_inert_wherever_they_stand(tmp_path):
    outcomes = ("escape", "overkill", "review", "hit", "pass")
    rows = [row(name, outcomes[n % 5], 0.5, group=name) for n, name in enumerate(HOSTILE)]
    rows += [row(f"{n}", "escape", 0.1, group=HOSTILE[0]) for n in range(2)]
    evil = "".join(HOSTILE[:5])
    numbers = metrics()
    numbers["region"]["recall_by_area"] = {evil: {"found": 0, "total": 0, **RATE}}
    regions = [{"image_id": rows[0]["image_id"], "kind": "true", "class_id": evil, "found": False}]
    run = {
        "title": evil, "rule": evil, "command": evil, "facts": {evil: evil, "x": {evil: [evil]}},
        "warnings": [evil], "settings": {evil: evil},
    }  # fmt: skip
    path = report(
        tmp_path, rows, numbers=numbers, regions=regions, drawn=draw(tmp_path, rows), **run
    )
    tags = Tags(path)
    # A report of tame names has the same tags.
    tame = [row(f"{n}.png", outcomes[n % 5], 0.5, group=f"{n // 2}") for n in range(6)]
    plain = {"rule": "f1", "warnings": ["tame"], "settings": {"tame": "tame"}}
    known = Tags(
        report(
            tmp_path / "tame", tame, regions=[{**regions[0], "image_id": "0.png"}],
            drawn=draw(tmp_path / "tame", tame), **plain,
        )
    ).tags  # fmt: skip
    assert {name for name, _ in tags.tags} == {name for name, _ in known}
    allowed = {key for _, attributes in known for key in attributes}
    assert not {key for key in allowed if key.startswith("on")}
    for _, attributes in tags.tags:
        assert attributes.keys() <= allowed
    assert all(link["href"].startswith("#") for link in tags.all("a") if "href" in link)
    assert "1337" not in tags.text
    for name in HOSTILE[:5]:
        assert name in tags.text
    told = data_of(path)["images"]
    assert told["id"] == [name.replace("\udcff", "\\udcff") for name in [*HOSTILE, "0", "1"]]
    assert all(re.fullmatch(r"[\w.-]+", name) for name in [*told["overlay"], *told["picture"]])


@pytest.mark.check(28)
def test_without_protection_names_run_scripts_and_request_files(tmp_path, browser):
    page = tmp_path / "naked.html"
    names = [name for name in browser.names if "refresh" not in name]  # would leave the page
    page.write_text(f"<!doctype html><html><body>{' '.join(names)}</body></html>")
    ran, requested = browser.open(page)
    assert ran
    assert len(requested) > 1


@pytest.mark.check(28)
def test_a_browser_runs_nothing_and_requests_nothing(tmp_path, browser, tally):
    outcomes = ("escape", "overkill", "review", "hit", "pass")
    rows = [row(name, outcomes[n % 5], 0.5, group=name) for n, name in enumerate(browser.names)]
    drawn = draw(tmp_path, rows)
    numbers = metrics()
    numbers["pixel"]["iou_by_class"] = dict.fromkeys(browser.names, 0.5)
    numbers["region"]["recall_by_area"] = {
        name: {"found": 0, "total": 0, **RATE} for name in browser.names
    }
    evil = "".join(browser.names)
    regions = [
        {"image_id": name, "kind": "true", "class_id": name, "found": True}
        for name in browser.names
    ]
    facts = {evil: evil, **{name: name for name in browser.names}}
    written = report(
        tmp_path, rows, numbers=numbers, regions=regions, drawn=drawn, title=evil, rule=evil,
        facts=facts, warnings=browser.names, settings=facts, command=evil,
    )  # fmt: skip
    ran, requested = browser.open(written)
    for name in browser.names:
        with tally.case(name):
            assert not ran
            assert requested == []


def policy_of(path):
    (policy,) = [
        meta["content"]
        for meta in Tags(path).all("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    ]
    return policy.split("; ")


@pytest.mark.check(28)
def test_nothing_is_requested_from_the_network(tmp_path):
    rows = [row("a.png", "escape", 0.2)]
    path = report(tmp_path, rows, drawn=draw(tmp_path, rows))
    content = path.read_text(encoding="utf-8")
    known = content.replace("http://www.w3.org/2000/svg", "")  # a name, not an address
    assert not re.search(r"https?://|url\((?!#)|@import|<link|<iframe|<object|\bsrc=\"?[^d]", known)
    (script,) = re.findall(r"<script>(.*?)</script>", content, re.DOTALL)
    style = re.search(r"<style>(.*?)</style>", content, re.DOTALL)[1]
    digests = [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        for text in (style, script)
    ]
    assert policy_of(path) == [
        "default-src 'none'",
        "img-src data:",
        f"style-src 'sha256-{digests[0]}'",
        f"script-src 'sha256-{digests[1]}'",
        "base-uri 'none'",
        "form-action 'none'",
    ]


def test_the_scripts_get_what_the_files_say(tmp_path):
    rows = [
        row("lot 7/a.png", "escape", 0.123456789, group="7"),
        row("b", "hit", 0.9, overlay="0001 b.png"),
    ]
    drawn = draw(tmp_path, rows[:1])
    write_png(tmp_path / "overlays" / "0001 b.png", np.zeros((9, 9), np.uint8))
    data = data_of(report(tmp_path, rows, numbers=metrics(threshold_high=0.75), drawn=drawn))
    assert (data["low"], data["high"]) == (0.5, 0.75)
    regions = drawn["lot 7/a.png"].regions
    assert data["images"] == {
        "id": ["lot 7/a.png", "b"], "group": [0, 1], "names": ["7", ""], "defective": [1, 1],
        "score": [0.123456789, 0.9], "width": [80, 0], "height": [40, 0],
        "picture": [picture_name("lot 7/a.png"), ""],
        "overlay": [overlay_name("lot 7/a.png"), "0001 b.png"],
        "classes": [[0], []], "class_names": [regions[0]["class"]],
        "size": [regions[0]["area"], None],
    }  # fmt: skip
    assert [(one["score"], one["count"]) for one in data["reliability"]] == [
        (0.123456789, 1), (0.9, 1),
    ]  # fmt: skip
    # As they come back from images.csv, all text.
    texts = [{key: str(value) for key, value in entry.items()} for entry in rows]
    again = data_of(report(tmp_path, texts, drawn=draw(tmp_path, rows[:1])))
    assert again["images"] == data["images"]


@pytest.mark.parametrize("name", ["../secret.png", "sub/secret.png", "/secret.png", "..", "."])
def test_no_file_outside_of_the_overlays_is_taken(tmp_path, name):
    folder = tmp_path / "evaluation"
    for place in (tmp_path, folder, folder / "overlays" / "sub"):
        write_png(place / "secret.png", np.zeros((9, 9), np.uint8))
    data = data_of(report(folder, [row("a", "escape", 0.1, overlay=name)]))
    assert data["images"]["overlay"] == [""]


def test_pictures_are_within_the_page_the_most_urgent_first_and_else_beside_it(
    tmp_path, monkeypatch
):
    rows = [row(f"{n}.png", "escape", n / 100) for n in range(12)]
    drawn = draw(tmp_path, rows)
    folder = tmp_path / "report_pictures"
    first = (folder / "0.png.jpg").read_bytes()
    sizes = [path.stat().st_size for path in folder.iterdir()]
    path = report(tmp_path, rows, drawn=drawn)
    assert not folder.exists()
    assert base64.b64encode(first).decode() in path.read_text()
    assert "img-src data:" in policy_of(path)

    drawn = draw(tmp_path, rows)
    room = len(json.dumps(data_of(path))) + 5 * max(sizes)
    monkeypatch.setattr(page, "MAX_PAGE_BYTES", room)
    path = report(tmp_path, rows, drawn=drawn)
    inside = {tag["id"].removeprefix("picture:") for tag in Tags(path).all("script")
              if tag.get("id", "").startswith("picture:")}  # fmt: skip
    beside = {one.name for one in folder.iterdir()}
    assert {"0.png.jpg", "1.png.jpg"} <= inside
    assert "11.png.jpg" in beside
    assert inside | beside == {f"{n}.png.jpg" for n in range(12)}
    assert not inside & beside
    assert "img-src data: 'self' file:" in policy_of(path)


def test_numbers_warnings_and_the_run_are_shown(tmp_path):
    rows = [row(f"{n}.png", "hit", 0.9, group=f"{n // 2}") for n in range(3)]
    run = tmp_path / "run"
    write_png(run / "curves.png", np.zeros((9, 9, 3), np.uint8))
    path = report(
        tmp_path,
        rows,
        facts={"learning_rate": 0.0005},
        warnings=["only 2 defective images."],
        rule="cost_ratio=50",
        command="defectkit evaluate 'runs/a run'",
        settings={"Versions": '{"torch": "2.10"}'},
        folder=run,
    )
    tags = Tags(path)
    (picture,) = tags.all("img")
    content = (run / "curves.png").read_bytes()
    assert picture["src"] == "data:image/png;base64," + base64.b64encode(content).decode()
    assert tags.text.count("Only 2 defective images.") == 1
    for text in (
        *("learning rate", "0.0005", "1 of 2", "50.0 % (95 % interval 10.0 to", "12.5"),
        *("Average precision", "0.750", "Dice, pooled", "AUPRO", "chosen by cost_ratio=50"),
        *("defectkit evaluate 'runs/a run' --max-escape-rate 0.05", '{"torch": "2.10"}'),
        *("2 groups of images, and no escape, overkill or review in any", "Too few images to tell"),
    ):
        assert text in tags.text, text


def test_without_warnings_training_or_groups_nothing_is_said_of_them(tmp_path):
    tags = Tags(report(tmp_path, [row("a.png", "hit", 0.9, group="a")]))
    assert "Warnings" not in tags.text
    assert "Training" not in tags.text
    assert "each image is a group of its own" in tags.text
