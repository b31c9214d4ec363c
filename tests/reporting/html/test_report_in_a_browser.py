"""The scripts of the page must count as Python does, and let every image be reached."""

import json
import time

import numpy as np
import pytest
from browser_page import browser_page

from defectkit.data.images import encode_jpeg
from defectkit.evaluation.image_metrics import image_metrics
from defectkit.evaluation.operating_points import Thresholds
from defectkit.evaluation.rates import clopper_pearson
from defectkit.evaluation.verdicts import judge
from defectkit.files import write_bytes
from defectkit.reporting.html.outlines import outline_path
from defectkit.reporting.html.page_images import PageImage, picture_name
from defectkit.reporting.html.report import ReportedRun, write_report
from defectkit.reporting.html.score_layer import score_layer

EVIL = "</script><img src=x onerror=alert(1)>.png"
SIDE = 48


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    with browser_page(browser.program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def make_report(folder, n=60, low=0.4, high=0.6):
    """Write a report of n images and return its path, the scores and which are defective."""
    rng = np.random.default_rng(0)
    defective = np.arange(n) % 3 == 0
    scores = np.clip(rng.normal(np.where(defective, 0.65, 0.35), 0.2), 0, 1).tolist()
    thresholds = Thresholds(low=low, high=high, rule="f1")
    names = [EVIL, *(f"part {number}.png" for number in range(1, n))]
    rows, drawn = [], {}
    layer = score_layer(np.eye(SIDE, dtype=np.float32))
    outline = outline_path(np.ones((6, 8), np.bool_), left=10, top=12)
    for name, score, truth in zip(names, scores, defective.tolist(), strict=True):
        judgment = judge(score, thresholds, defective=truth)
        rows.append(
            {"image_id": name, "group": f"lot {len(rows) // 20}", "defective": truth,
             "score": score, "verdict": judgment.verdict, "outcome": judgment.outcome}
        )  # fmt: skip
        write_bytes(
            folder / "report_pictures" / picture_name(name),
            encode_jpeg(rng.integers(0, 256, (SIDE, SIDE), np.uint8)),
        )
        region = {"kind": "true", "class": f"{len(rows) % 2}", "box": [10, 12, 8, 6], "area": 48,
                  "found": judgment.outcome == "hit", "coverage": 0.5, "path": outline}  # fmt: skip
        drawn[name] = PageImage(
            width=SIDE, height=SIDE, picture=picture_name(name), left_out=0,
            regions=[region] if truth else [], scores=layer if truth else "",
        )  # fmt: skip
    detection = {"sizes": [10.0, 50.0], "probability": [0.2, 0.9], "low": [0.1, 0.5],
                 "high": [0.6, 1.0], "a90": 40.0}  # fmt: skip
    recall = {"found": 5, "total": 9, **clopper_pearson(5, 9)}
    metrics = {
        "image": image_metrics(scores, defective.tolist(), thresholds),
        "region": {"recall_by_area": {"0-63": recall}},
        "class_confusion": None,
        "detection": {"by_area": {**detection, "n": 9, "a90_95": None, "missing": "too few."}},
    }
    path = write_report(
        folder, metrics=metrics, images=rows, page_images=drawn, run=ReportedRun(title="A run")
    )
    return path, np.array(scores), defective


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return make_report(tmp_path_factory.mktemp("report"))


@pytest.fixture
def opened(page, report):
    page.requested.clear()
    page.errors.clear()
    page.resize(1280, 900)
    page.use()
    page.open(report[0])
    yield page
    assert page.errors == []


def text_of(page, selector):
    return page.run(f"document.querySelector({json.dumps(selector)}).textContent")


def expected_counts(scores, defective, low, high):
    below, above = scores < low, scores >= high
    between = ~below & ~above
    return {
        "escapes": below & defective, "passes": below & ~defective,
        "reviews-defective": between & defective, "reviews-good": between & ~defective,
        "hits": above & defective, "overkills": above & ~defective,
    }  # fmt: skip


def check_counts(page, report):
    """Compare all that the page tells of its thresholds with what Python counts; return them."""
    _, scores, defective = report
    low, high = page.run("[state.low, state.high]")
    counts = {
        name: int(chosen.sum())
        for name, chosen in expected_counts(scores, defective, low, high).items()
    }
    for name, count in counts.items():
        assert text_of(page, f"#cell-{name}") == str(count), name
    reviews = counts["reviews-defective"] + counts["reviews-good"]
    rates = {
        "escapes": (counts["escapes"], int(defective.sum())),
        "overkills": (counts["overkills"], int((~defective).sum())),
        "reviews": (reviews, len(scores)),
    }
    for name, (count, total) in rates.items():
        assert text_of(page, f"#live-{name}") == f"{count} of {total}"
        rate = clopper_pearson(count, total)
        told = text_of(page, f"#live-{name}-rate")
        assert told == (
            f"{100 * rate['value']:.1f} % (95 % interval {100 * rate['low']:.1f} to "
            f"{100 * rate['high']:.1f} %)"
        )
    tabs = {"escape": counts["escapes"], "overkill": counts["overkills"], "review": reviews,
            "rest": counts["hits"] + counts["passes"]}  # fmt: skip
    for name, count in tabs.items():
        assert text_of(page, f"#tab-{name} .count") == str(count)
    return low, high


def test_the_page_opens_without_a_request_and_counts_as_the_files_do(opened, report):
    assert check_counts(opened, report) == (0.4, 0.6)
    assert [url for url in opened.requested if not url.startswith("data:")] == [report[0].as_uri()]
    assert opened.run("document.querySelectorAll('#worst .tile').length") == 12
    assert opened.run("document.querySelectorAll('.charts svg').length") == 5
    assert opened.run("document.querySelectorAll('#chart-size .ribbon, #chart-size .limit').length"
                      ) == 2  # fmt: skip
    assert "Defects of 40 pixels or more are found with 90 %; too few." in text_of(
        opened, "#charts"
    )


@pytest.mark.check(28)
def test_a_hostile_name_is_text_in_every_place(opened):
    assert not opened.run("Boolean(document.querySelector('img[src=x]'))")
    opened.run("openViewer(images, 0)")
    assert text_of(opened, "#viewer-name") == EVIL
    assert opened.errors == []


@pytest.mark.parametrize(("which", "place"), [("low", 0.1), ("low", 0.9), ("high", 0.2),
                                              ("high", 0.95)])  # fmt: skip
def test_dragged_thresholds_count_as_python_does(opened, report, which, place):
    box = opened.box("#histogram")
    before = opened.run(f"document.querySelector('#handle-{which} rect')"
                        ".getBoundingClientRect().toJSON()")  # fmt: skip
    start = before["x"] + before["width"] / 2, before["y"] + before["height"] / 2
    opened.drag(start, (box["x"] + place * box["width"], start[1]))
    low, high = check_counts(opened, report)
    moved = low if which == "low" else high
    assert moved == pytest.approx(place, abs=0.06)
    assert low <= high
    assert not opened.run("document.querySelector('.note.if-moved').hidden")
    opened.click("#reset")
    assert check_counts(opened, report) == (0.4, 0.6)
    assert opened.run("document.querySelector('.note.if-moved').hidden")


def test_each_press_of_an_arrow_key_changes_one_verdict(opened, report):
    _, scores, _ = report
    opened.run("document.getElementById('handle-low').focus()")
    below = (scores < 0.4).sum()
    for key, step in [("ArrowRight", 1), ("ArrowRight", 1), ("ArrowLeft", -1), ("ArrowLeft", -1),
                      ("ArrowLeft", -1)]:  # fmt: skip
        opened.press(key)
        low, _ = check_counts(opened, report)
        below += step
        assert (scores < low).sum() == below
    opened.press("End")
    assert check_counts(opened, report) == (1.0, 1.0)
    opened.press("Home")
    assert check_counts(opened, report) == (0.0, 1.0)


def test_a_threshold_can_be_typed(opened, report):
    opened.run("document.getElementById('field-high').focus()")
    opened.run("document.getElementById('field-high').value = ''")
    for key in "0.75":
        opened.press(key)
    opened.press("Enter")
    assert check_counts(opened, report) == (0.4, 0.75)


def test_intervals_are_those_of_python(opened):
    pairs = [(0, 1), (1, 1), (0, 59), (3, 57), (17, 1000), (999, 1000), (0, 50_000), (500, 50_000),
             (25_000, 50_000), (50_000, 50_000), (0, 0)]  # fmt: skip
    for count, total in pairs:
        told = opened.run(f"clopperPearson({count}, {total})")
        assert told == pytest.approx(clopper_pearson(count, total), abs=1e-9), (count, total)


def names_shown(page):
    return page.run("[...document.querySelectorAll('#tiles .name')].map((one) => one.textContent)")


def choose(page, name, value):
    page.run(f"document.getElementById('{name}').value = {json.dumps(value)}")
    event = "input" if name == "search" else "change"
    page.run(f"document.getElementById('{name}').dispatchEvent(new Event('{event}'))")


def test_images_are_filtered_searched_and_sorted(opened, report):
    _, scores, defective = report
    ids = np.array([EVIL, *(f"part {number}.png" for number in range(1, len(scores)))])
    of = expected_counts(scores, defective, 0.4, 0.6)
    escapes = np.flatnonzero(of["escapes"])
    assert names_shown(opened) == ids[escapes[np.argsort(scores[escapes])]].tolist()
    opened.click("#tab-rest")
    rest = of["hits"] | of["passes"]
    choose(opened, "sort", "descending")
    order = np.argsort(-scores)
    assert names_shown(opened) == ids[order][rest[order]].tolist()
    choose(opened, "filter-group", "=lot 1")
    lot = (np.arange(len(ids)) // 20 == 1) & rest
    assert set(names_shown(opened)) == set(ids[lot])
    choose(opened, "filter-outcome", "hit")
    assert set(names_shown(opened)) == set(ids[lot & of["hits"]])
    choose(opened, "filter-outcome", "")
    choose(opened, "filter-group", "")
    choose(opened, "filter-class", "=1")
    assert set(names_shown(opened)) == set(ids[rest & defective & (np.arange(len(ids)) % 2 == 0)])
    choose(opened, "filter-size", "huge")
    assert names_shown(opened) == []
    assert not opened.run("document.getElementById('none').hidden")
    choose(opened, "filter-size", "any")
    choose(opened, "filter-class", "")
    choose(opened, "search", "PART 1")
    assert set(names_shown(opened)) == {n for n in ids[rest] if n.startswith("part 1")}


def test_an_image_opens_zooms_and_hides_its_outlines(opened):
    opened.click("#tiles .tile")
    assert opened.run("document.getElementById('viewer').open")
    first = text_of(opened, "#viewer-name")
    assert opened.run("document.querySelector('#stage image').getBoundingClientRect().width") > 300
    opened.press("1")
    assert text_of(opened, "#zoom") == "100 %"
    width = opened.run("document.querySelector('#stage image').getBoundingClientRect().width")
    assert width == pytest.approx(SIDE)

    def lines():
        return opened.run("[...document.querySelectorAll('#stage .line')].filter("
                          "(one) => getComputedStyle(one).display !== 'none').length")  # fmt: skip

    assert lines() == 1
    opened.press("t")
    assert lines() == 0
    opened.press("t")
    opened.press("i")
    assert lines() == 0
    opened.press("i")
    assert lines() == 1

    def scores():
        return opened.run("getComputedStyle(document.querySelector('#stage .scores')).display")

    assert scores() == "none"
    opened.press("m")
    assert scores() != "none"
    opened.press("m")
    assert scores() == "none"
    opened.click("#regions tr")
    assert opened.run("document.querySelector('#stage .line').classList.contains('lit')")
    opened.press("ArrowRight")
    assert text_of(opened, "#viewer-name") != first
    opened.press("ArrowLeft")
    assert text_of(opened, "#viewer-name") == first
    opened.press("Escape")
    assert not opened.run("document.getElementById('viewer').open")


def test_a_line_swipes_between_the_image_and_its_marks(opened):
    opened.click("#tiles .tile")

    def shown():
        """Whether the truth is drawn at the left and at the right end of its region."""
        box = opened.run("document.querySelector('#stage .line').getBoundingClientRect().toJSON()")
        middle = box["y"] + box["height"] / 2
        return [
            opened.run(f"Boolean(document.elementFromPoint({x}, {middle})?.closest('.truth'))")
            for x in (box["x"] + 1, box["x"] + box["width"] - 1)
        ]

    def place(share):
        stage = opened.box("#stage")
        handle = opened.box("#stage .swipe.handle line")
        y = stage["y"] + stage["height"] / 2
        opened.drag((handle["x"], y), (stage["x"] + share * stage["width"], y))

    assert shown() == [True, True]
    opened.press("s")
    place(0.02)
    assert shown() == [True, True]
    place(0.98)
    assert shown() == [False, False]
    first = text_of(opened, "#viewer-name")
    for _ in range(48):
        opened.press("ArrowLeft")
    assert opened.run("swipe.share") == pytest.approx(0.02, abs=1e-4)
    assert text_of(opened, "#viewer-name") == first
    assert shown() == [True, True]
    opened.press("s")
    assert shown() == [False, False]  # the truth is to the left of the line now
    place(0.98)
    assert shown() == [True, True]
    opened.press("s")
    assert not opened.run("Boolean(document.querySelector('#stage .swipe'))")
    place_of_image = "document.querySelector('#stage image').getBoundingClientRect().x"
    before = opened.run(place_of_image)
    stage = opened.box("#stage")
    opened.drag((stage["x"] + 50, stage["y"] + 50), (stage["x"] + 90, stage["y"] + 50))
    assert opened.run(place_of_image) == pytest.approx(before + 40)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800])
def test_nothing_reaches_beyond_the_window(opened, width, scheme):
    opened.use(scheme=scheme)
    opened.resize(width, 900)
    assert opened.run("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_and_an_open_image_have_no_fault_of_accessibility(opened, scheme):
    opened.use(scheme=scheme)
    opened.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
    assert opened.accessibility_faults() == []
    opened.click("#tiles .tile")
    assert opened.run("document.getElementById('viewer').open")
    assert opened.accessibility_faults() == []


def test_pictures_beside_the_page_are_shown_too(page, tmp_path, monkeypatch):
    monkeypatch.setattr("defectkit.reporting.html.report.MAX_PAGE_BYTES", 0)
    path, *_ = make_report(tmp_path)
    assert len(list((tmp_path / "report_pictures").iterdir())) == 60
    page.errors.clear()
    page.requested.clear()
    page.open(path)
    page.wait_for("document.querySelectorAll('#tiles .tile').length > 0")
    shown = [url for url in page.requested if "report_pictures" in url]
    assert shown
    assert page.errors == []


def test_of_many_images_some_are_shown_at_first(page, tmp_path):
    path, *_ = make_report(tmp_path, n=300, low=0.5, high=0.5)
    page.open(path)
    page.click("#tab-rest")
    assert page.run("document.querySelectorAll('#tiles .tile').length") == 60
    page.click("#more")
    assert page.run("document.querySelectorAll('#tiles .tile').length") == 120


@pytest.mark.slow
def test_two_thousand_images_open_fast_and_answer_at_once(page, tmp_path):
    path, *_ = make_report(tmp_path, n=2000)
    seconds, ms = [], {}
    for _ in range(3):  # a busy machine is no failure
        start = time.monotonic()
        page.open(path)
        seconds.append(time.monotonic() - start)
    assert min(seconds) < 3
    assert page.run("images.length") == 2000
    for name, script in {
        "move": "move('low', 0.3)", "settle": "settle()", "tab": "selectTab('rest')",
        "sort": "choose('sort', 'name', 'change')", "search": "choose('search', 'part 1', 'input')",
    }.items():  # fmt: skip
        page.run(CHOOSE)
        ms[name] = min(page.run(f"timed(() => {script})") for _ in range(3))
    assert max(ms.values()) < 200, ms


CHOOSE = """
function choose(id, value, event) {
  byId(id).value = value;
  byId(id).dispatchEvent(new Event(event));
}
function timed(action) {
  const start = performance.now();
  action();
  document.body.offsetHeight;
  return performance.now() - start;
}
"""


def test_details_of_an_image_are_read_when_it_is_shown(page, tmp_path):
    path, *_ = make_report(tmp_path, n=300)
    page.open(path)
    page.run(
        "var parsed = 0; JSON.parse = new Proxy(JSON.parse, "
        "{apply: (target, self, given) => { parsed += 1; return target(...given); }})"
    )
    page.run("selectTab('rest')")
    assert page.run("parsed") == 60
