"""What is zoomed or moved in one picture of the comparison moves in all of them."""

import numpy as np
import pytest
from browser_page import browser_page
from comparison_rows import comparison_row as row

from defectkit.files import write_text
from defectkit.reporting.drawing.comparison import ComparedImage, RunFinding
from defectkit.reporting.html.comparison import comparison_page

EVIL = "</script><img src=x onerror=alert(1)>"
SHAPE = (40, 60)


@pytest.fixture(scope="module")
def page(browser, tmp_path_factory):
    with browser_page(browser.program, tmp_path_factory.mktemp("profile")) as opened:
        yield opened


def compared(image_id, kind):
    truth, found = np.zeros((2, *SHAPE), np.bool_)
    truth[5:15, 5:25] = found[25:30, 30:50] = True
    own = [
        RunFinding(predicted=mask, score=score, verdict=verdict, outcome=outcome)
        for mask, score, verdict, outcome in [
            (truth, 0.9, "defective", "hit"), (found, 0.4, "review", "review"),
        ]
    ]  # fmt: skip
    image = np.full((*SHAPE, 1), 120, np.uint8)
    return ComparedImage(image_id=image_id, kind=kind, image=image, truth=truth, findings=own)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("comparison") / "comparison.html"
    examples = [compared(EVIL, "class dent"), compared("b.png", "class dent")]
    write_text(path, comparison_page(
        [row("first"), row(EVIL)], np.zeros((40, 60, 3), np.uint8), title="A title", images=9,
        groups=5, notes=[], examples=examples,
    ))  # fmt: skip
    return path


@pytest.fixture
def opened(page, path):
    page.requested.clear()
    page.errors.clear()
    page.resize(1280, 900)
    page.open(path)
    page.box("#stages")
    yield page
    assert page.errors == []
    assert not page.run("Boolean(document.querySelector('img[src=x]'))")
    assert [url for url in page.requested if not url.startswith("data:")] == [path.as_uri()]


def places(page):
    """Where each picture lies in its own frame, as (left, top, width)."""
    return page.run(
        "[...document.querySelectorAll('.stage')].map((one) => {"
        "const [inner, outer] = [one.querySelector('image'), one].map("
        "(part) => part.getBoundingClientRect());"
        "return [inner.x - outer.x, inner.y - outer.y, inner.width]; })"
    )


def check_linked(page):
    first, *others = places(page)
    for one in others:
        assert one == pytest.approx(first, abs=0.5)
    return first


def test_pictures_are_zoomed_and_moved_together(opened):
    assert len(places(opened)) == 3
    whole = check_linked(opened)
    second = opened.box(".stages figure:nth-child(2) .stage")
    start = second["x"] + 40, second["y"] + 50
    opened.drag(start, (start[0] + 30, start[1] + 20))
    moved = check_linked(opened)
    assert moved[:2] == pytest.approx([whole[0] + 30, whole[1] + 20], abs=1)
    opened.run("document.getElementById('stages').focus()")
    opened.press("+")
    assert check_linked(opened)[2] == pytest.approx(1.25 * whole[2], rel=0.01)
    opened.press("1")
    assert check_linked(opened)[2] == pytest.approx(SHAPE[1])
    opened.click("#fit")
    assert check_linked(opened) == pytest.approx(whole, abs=1)


def test_each_run_shows_its_verdict_and_its_marks(opened):
    told = opened.run(
        "[...document.querySelectorAll('#stages figcaption')].map((one) => one.textContent)"
    )
    assert told == [
        "Imagetruly defective, class dent", "firsthit called defective, score 0.900",
        f"{EVIL}for review score 0.400",
    ]  # fmt: skip

    def kinds(place):
        return opened.run(
            f"[...document.querySelectorAll('#stages figure:nth-child({place}) .line')].filter("
            "(one) => getComputedStyle(one).display !== 'none').map((one) => one.classList[2])"
        )

    assert [kinds(place) for place in (1, 2, 3)] == [[], ["found", "hit"], ["false", "missed"]]
    opened.run("document.getElementById('stages').focus()")
    opened.press("t")
    assert kinds(3) == ["false"]
    opened.press("f")
    assert kinds(3) == []


def test_keys_go_to_the_next_image(opened):
    opened.run("document.getElementById('stages').focus()")
    opened.press("ArrowRight")
    assert opened.run("byId('compared').selectedOptions[0].textContent") == "b.png (class dent)"
    opened.press("ArrowRight")
    assert opened.run("byId('compared').value") == "0"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_has_no_fault_of_accessibility(opened, scheme):
    opened.use(scheme=scheme)
    assert opened.accessibility_faults() == []


@pytest.mark.parametrize("width", [400, 1280])
def test_nothing_reaches_beyond_the_window(opened, width):
    opened.resize(width, 900)
    assert opened.run("document.documentElement.scrollWidth") <= width
