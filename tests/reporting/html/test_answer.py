import pytest

from defectkit.evaluation.rates import counted_rate
from defectkit.reporting.html.answer import answer, figures


def image(escapes=2, n_defective=57, overkills=11, n_good=400, reviews=0):
    return {
        "escapes": escapes, "overkills": overkills, "reviews": reviews,
        "n_defective": n_defective, "n_good": n_good,
        "escape_rate": counted_rate(escapes, n_defective),
        "overkill_rate": counted_rate(overkills, n_good),
    }  # fmt: skip


def rows(escapes, n_defective, per_group=1):
    return [
        {"image_id": f"{n}", "group": f"{n // per_group}", "defective": True,
         "outcome": "escape" if n < escapes else "hit"}
        for n in range(n_defective)
    ] + [{"image_id": "good", "group": "0", "defective": False, "outcome": "pass"}]  # fmt: skip


def test_without_a_promise_the_interval_is_what_may_be_expected():
    told = answer(image(), rows(2, 57), "f1")
    assert told.state == "open"
    assert told.sentence == (
        "Usable where up to 12.1 % of the defective parts may escape: 2 of the 57 defective images "
        "were called good, and 11 of the 400 good images were called defective."
    )
    assert "No escape rate was promised" in told.support


def test_few_images_tell_little():
    told = answer(image(escapes=0, n_defective=4), rows(0, 4), "f1")
    assert told.state == "open"
    assert told.sentence.startswith("Too few images to tell: none of the 4 defective images was")
    assert "exclude only escape rates above 60.2 %" in told.support


def test_a_model_whose_verdicts_are_mostly_wrong_cannot_be_used():
    told = answer(image(escapes=0, n_defective=9, overkills=9, n_good=11), rows(0, 9), "f1")
    assert told.state == "no"
    assert told.sentence.startswith("No, at least 48.2 % of the good parts are called defective: ")
    assert "where the 95 % interval of the overkill rate begins" in told.support
    told = answer(image(escapes=30, n_defective=57), rows(30, 57), "f1")
    assert told.sentence.startswith("No, at least 39.0 % of the defective parts escape: 30 of")
    assert answer(image(escapes=4, n_defective=9), rows(4, 9), "f1").state == "open"


SHOWN, NOT_SHOWN = (
    "max_escape_rate=0.05, confidence=0.95",
    "max_escape_rate=0.05, confidence=0.95, not shown",
)


@pytest.mark.parametrize(
    ("rule", "escapes", "n", "state", "sentence", "support"),
    [
        (SHOWN, 0, 59, "yes", "Yes, if 5 % escapes are acceptable: ",
         "show it: none of the 59 defective images escaped."),
        (SHOWN, 2, 150, "yes", "Yes, if 5 %", "2 of the 150 defective images escaped."),
        (NOT_SHOWN, 0, 59, "yes", "Yes, if 5 %", "none of the 59 defective images escaped."),
        (SHOWN, 1, 59, "open", "which these images neither show nor contradict: 1 of the 59",
         "Validation showed it. Here 1 of the 59 defective images escaped."),
        (SHOWN, 0, 20, "open", "Promised to keep escapes at 5 % or less, which",
         "Even without any escape, 20 defective images show no rate below 13.9 %."),
        (NOT_SHOWN, 1, 59, "no", "Not shown to keep escapes at 5 % or less: ",
         "Neither validation nor these images show it: 1 of the 59"),
        (SHOWN, 7, 59, "no", "No, more than 5 % of the defective parts escape: 7 of",
         "Promised: at most 5 % escapes, with a confidence of 95 %. These images contradict it"),
        (NOT_SHOWN, 7, 59, "no", "No, more than 5 %", "Asked for: at most 5 % escapes"),
    ],
)  # fmt: skip
def test_a_promise_is_shown_contradicted_or_neither(rule, escapes, n, state, sentence, support):
    told = answer(image(escapes=escapes, n_defective=n), rows(escapes, n), rule)
    assert told.state == state
    assert sentence in told.sentence
    assert support in told.support


BOTH = "max_escape_rate=0.05, confidence=0.95, max_overkill_rate=0.1"


@pytest.mark.parametrize(
    ("rule", "escapes", "overkills", "state", "sentence", "support"),
    [
        (BOTH, 0, 0, "yes", "Yes, if 5 % escapes and 10 % overkills are acceptable: none of the 59",
         "Promised: at most 10 % overkills, with a confidence of 95 %. These images show it: none "
         "of the 40 good images was called defective."),
        (BOTH, 0, 3, "open", "Promised to keep overkills at 10 % or less, which these images",
         "Validation showed it. Here 3 of the 40 good images were called defective."),
        (BOTH, 0, 15, "no", "No, more than 10 % of the good parts are called defective: ",
         "These images contradict it: 15 of the 40 good images were called defective."),
        (BOTH + ", not shown", 0, 3, "no", "Not shown to keep overkills at 10 % or less: ",
         "Asked for: at most 10 % overkills, with a confidence of 95 %. Neither"),
        (BOTH, 7, 15, "no", "No, more than 5 % of the defective parts escape: ",
         "15 of the 40 good images were called defective."),
        (BOTH, 1, 15, "no", "No, more than 10 % of the good parts are", "Validation showed it."),
    ],
)  # fmt: skip
def test_both_promises_are_judged(rule, escapes, overkills, state, sentence, support):
    of_good = [
        {"image_id": f"good {n}", "group": f"good {n}", "defective": False,
         "outcome": "overkill" if n < overkills else "pass"}
        for n in range(40)
    ]  # fmt: skip
    counts = image(escapes=escapes, n_defective=59, overkills=overkills, n_good=40)
    told = answer(counts, rows(escapes, 59)[:-1] + of_good, rule)
    assert told.state == state
    assert sentence in told.sentence
    assert support in told.support


def test_a_promise_is_counted_over_groups():
    rule = "max_escape_rate=0.05, confidence=0.95"
    told = answer(image(escapes=4, n_defective=400), rows(4, 400, per_group=4), rule)
    assert told.state == "yes"
    assert "1 of the 100 groups with defective images has an escape" in told.support


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n_good": 0, "overkills": 0}, "no good images, so it cannot show overkills."),
        ({"n_defective": 0, "escapes": 0}, "no defective images, so it cannot show escapes."),
        (
            {"n_defective": 1, "escapes": 1, "n_good": 1, "overkills": 0},
            "the only defective image was called good, and the only good image was not called",
        ),
    ],
)
def test_what_a_split_cannot_show_is_said(changes, sentence):
    told = answer(image(**changes), [], "f1")
    assert told.state == "open"
    assert sentence in told.sentence


def test_the_figures_have_their_counts_and_intervals():
    (escapes, overkills, review, images) = figures(image(reviews=5))
    assert escapes[1:3] == ("Escapes", "2 of 57")
    assert "3.5 % (95 % interval 0.4 to 12.1 %)" in escapes[3]
    assert overkills[1:3] == ("Overkills", "11 of 400")
    assert review[2] == "5 of 457"
    assert "1.1 % go to a person" in review[3]
    assert images[2:] == ("457", "57 defective and 400 good")
    assert figures(image(n_good=0, n_defective=0, escapes=0, overkills=0))[2][2] == "0 of 0"
