"""Marks stay in the browser, and what is saved is what ``prepare --relabel`` takes."""

import csv
import io
import time

import numpy as np
import pytest
from browser_page import browser_page
from small_sources import draw_image, make_source

from defectkit.csv_cells import read_cell
from defectkit.data.images import write_png
from defectkit.evaluation.suspects import Suspect
from defectkit.files import read_csv, write_text
from defectkit.labels.corrections import read_corrections
from defectkit.reporting.html.suspects import suspects_page

EVIL = "</script><img src=x onerror=alert(1)>\u202e,\"'=1.png"


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    with browser_page(browser.program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def suspect(image_id, kind, class_id="", box=None, **more):
    return Suspect(image_id=image_id, kind=kind, class_id=class_id, box_xywh=box, area=4,
                   suspicion=0.9, reason="a reason", **more)  # fmt: skip


def write_page(folder, *suspects):
    picture = folder / "pictures" / "a.png"
    write_png(picture, np.full((30, 40), 90, np.uint8))
    path = folder / "suspects.html"
    entries = [(picture, "train", [one]) for one in suspects]
    write_text(path, suspects_page(entries, title="Suspects", total=len(entries)))
    return path


def open_page(page, path):
    page.errors.clear()
    page.requested.clear()
    page.open(path)


def rows_of(page):
    """The rows that would be saved."""
    lines = csv.reader(io.StringIO(page.run("marksAsCsv()"), newline=""))
    return [[read_cell(cell) for cell in line] for line in lines][1:]


ALL_KINDS = (
    suspect(EVIL, "unlabeled", "dent", (1, 2, 3, 4)),
    suspect("b.png", "missed", "dent", (5, 6, 7, 8)),
    suspect("c.png", "class", "dent", (5, 6, 7, 8), found_class="scratch"),
    suspect("d.png", "copies"),
)


def test_marks_are_kept_and_say_what_to_do(page, tmp_path):
    path = write_page(tmp_path, *ALL_KINDS)
    open_page(page, path)
    assert page.run("byId('save').disabled")
    for place in range(4):
        page.click(f"#suspect-{place} .accept")
    accepted = [
        [EVIL, "dent", "1", "2", "3", "4", "ignore", ""],
        ["b.png", "dent", "5", "6", "7", "8", "drop-label", ""],
        ["c.png", "dent", "5", "6", "7", "8", "set-class", "scratch"],
        ["d.png", "", "", "", "", "", "leave-out", ""],
    ]
    assert rows_of(page) == accepted
    page.click("#suspect-2 .dismiss")
    page.click("#suspect-1 .accept")  # takes the mark back
    open_page(page, path)
    assert rows_of(page) == [
        accepted[0], ["c.png", "dent", "5", "6", "7", "8", "keep", ""], accepted[3],
    ]  # fmt: skip
    told = page.run("byId('decided').textContent")
    assert told == "3 of 4 decided: 2 accepted, 1 dismissed."
    page.click("#open-only")
    assert page.run("[...document.querySelectorAll('figure')].map((one) => one.hidden)") == [
        True, False, True, True,
    ]  # fmt: skip
    page.click("#clear")
    open_page(page, path)
    assert rows_of(page) == []
    assert not page.run("Boolean(document.querySelector('img[src=x]'))")
    assert [url for url in page.requested if not url.startswith("data:")] == [path.as_uri()]
    assert page.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_no_fault_of_accessibility(page, tmp_path, scheme):
    open_page(page, write_page(tmp_path, *ALL_KINDS))
    page.use(scheme=scheme)
    page.run("byId('suspect-0').focus()")
    page.press("a")
    assert page.accessibility_faults() == []


def test_keys_mark_and_go_on(page, tmp_path):
    open_page(page, write_page(tmp_path, *ALL_KINDS[1:]))
    page.run("byId('clear').click()")
    page.run("byId('suspect-0').focus()")
    for key in ("a", "d", "ArrowUp", "ArrowUp", "d"):
        page.press(key)
    assert [row[6] for row in rows_of(page)] == ["keep", "keep"]
    assert page.run("document.activeElement.id") == "suspect-1"


def test_marks_of_another_list_are_not_taken(page, tmp_path):
    open_page(page, write_page(tmp_path, *ALL_KINDS))
    page.run("localStorage.clear()")
    page.click("#suspect-0 .accept")
    open_page(page, write_page(tmp_path, *ALL_KINDS[1:]))
    assert rows_of(page) == []


@pytest.mark.parametrize("kept", ["{", "7", '{"9": "accept", "0": "delete", "x": "accept"}', "[]"])
def test_what_else_is_stored_is_not_taken(page, tmp_path, kept):
    path = write_page(tmp_path, *ALL_KINDS)
    open_page(page, path)
    page.run(f"localStorage.setItem(KEY, {kept!r})")
    open_page(page, path)
    assert rows_of(page) == []
    assert page.run("byId('decided').textContent").startswith("0 of 4 decided")
    assert page.errors == []
    page.run("localStorage.removeItem(KEY)")


NOTE_STATES = """
statesOfUse = [];
const storage = Object.getOwnPropertyDescriptor(window, "localStorage");
Object.defineProperty(window, "localStorage", {
  get() { statesOfUse.push(document.readyState); return storage.get.call(window); },
});
"""


def test_storage_is_used_once_the_page_is_loaded(browser, tmp_path):
    with browser_page(browser.program, tmp_path / "profile") as page:
        page.send("Page.addScriptToEvaluateOnNewDocument", source=NOTE_STATES)
        open_page(page, write_page(tmp_path, *ALL_KINDS))
        page.click("#suspect-0 .accept")
        assert page.run("statesOfUse") == ["complete", "complete"]


def test_prepare_takes_the_file_that_the_page_saves(page, tmp_path, cli):
    source = make_source(tmp_path / "source", count=12)
    _, masks = draw_image(0)
    top, left = (int(axis.min()) for axis in np.nonzero(masks["1"]))
    folder = tmp_path / "suspects"
    open_page(page, write_page(
        folder,
        suspect("part-00.png", "missed", "1", (left, top, 18, 22)),
        suspect("part-01.png", "unlabeled", "1", (3, 4, 9, 9)),
        suspect("part-03.png", "copies"),
    ))  # fmt: skip
    page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    for place in range(3):
        page.click(f"#suspect-{place} .{'dismiss' if place == 2 else 'accept'}")
    page.click("#save")
    saved = folder / "relabel.csv"
    end = time.monotonic() + 30
    while not saved.exists() and time.monotonic() < end:
        time.sleep(0.1)
    assert [one.action for one in read_corrections(saved)] == ["drop-label", "ignore", "keep"]
    out = tmp_path / "dataset"
    done = cli("prepare", source, "--out", out, "--relabel", saved)
    assert done.code == 0, done.err
    assert "1 label dropped, 1 box ignored, 1 label kept." in done.err
    defective = {row["image_id"]: row["defective"] for row in read_csv(out / "images.csv")}
    assert defective["part-00.png"] == "0"
