"""What a quality manager reads first: whether this model can be used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from defectkit.evaluation.operating_points import FEW_IMAGES
from defectkit.evaluation.promise import ErrorKind, contradicts_rate, least_rate, shows_rate
from defectkit.evaluation.threshold_rule import Promise, promises_of
from defectkit.reporting.metric_tables import format_percent, format_rate

State = Literal["yes", "no", "open"]

UNUSABLE_RATE = 0.25
"""Where no rate was promised: a rate of errors that no line accepts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Whether the model can be used: a sentence, and what supports it.

    ``state`` is ``yes`` if promises were asked for and the images show all, ``no`` if they
    contradict one, or if neither validation nor these images show it. Where no promise was asked
    for it is ``no`` if the images show that more than a quarter of the verdicts on good or on
    defective ones are wrong. Else it is ``open``: the images are too few to tell, or it depends on
    what is accepted.
    """

    state: State
    sentence: str
    support: str


def answer(image: Mapping[str, Any], images: Sequence[Mapping[str, Any]], rule: str) -> Answer:
    """Return the answer.

    Args:
        image: the ``image`` section of ``metrics.json``.
        images: a row per image with ``defective``, ``outcome`` and ``group``.
        rule: by what the thresholds were chosen, as the model has it.
    """
    facts = _facts(image)
    if not image["n_defective"] or not image["n_good"]:
        return Answer(state="open", sentence=facts, support="")
    facts = facts[0].lower() + facts[1:]
    if promises := promises_of(rule):
        return _judge_promises(promises, images, facts)
    for kind, happens in (
        ("escape", "of the defective parts escape"),
        ("overkill", "of the good parts are called defective"),
    ):
        least = image[f"{kind}_rate"]["low"]
        if least > UNUSABLE_RATE:
            return Answer(
                state="no",
                sentence=f"No, at least {format_percent(least)} {happens}: {facts}",
                support=f"That is where the 95 % interval of the {kind} rate begins. A longer "
                "training or more labeled images may lower it.",
            )
    upper = format_percent(image["escape_rate"]["high"])
    if min(image["n_defective"], image["n_good"]) < FEW_IMAGES:
        return Answer(
            state="open",
            sentence=f"Too few images to tell: {facts}",
            support=f"So few images exclude only escape rates above {upper}, and overkill rates "
            f"above {format_percent(image['overkill_rate']['high'])}. No escape rate was promised.",
        )
    return Answer(
        state="open",
        sentence=f"Usable where up to {upper} of the defective parts may escape: {facts}",
        support="No escape rate was promised when the thresholds were chosen. The 95 % interval of "
        f"the escape rate on images like these ends at {upper}.",
    )


def figures(image: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Return (kind, name, large text, small text) of the figures at the top."""
    n_defective, n_good = image["n_defective"], image["n_good"]
    total = n_defective + n_good
    return [
        (
            "escape",
            "Escapes",
            f"{image['escapes']} of {n_defective}",
            f"defective, called good: {format_rate(image['escape_rate'])}",
        ),
        (
            "overkill",
            "Overkills",
            f"{image['overkills']} of {n_good}",
            f"good, called defective: {format_rate(image['overkill_rate'])}",
        ),
        (
            "review",
            "For review",
            f"{image['reviews']} of {total}",
            f"between the thresholds: {format_percent(image['reviews'] / total if total else None)}"
            " go to a person",
        ),
        (
            "images",
            "Images",
            f"{total:,}",
            f"{n_defective:,} defective and {n_good:,} good",
        ),
    ]


@dataclass(frozen=True, slots=True)
class _Judged:
    """What the images say of a promise: the state, how a sentence begins, and the counts."""

    state: State
    claim: str
    support: str


def _judge_promises(
    promises: Sequence[Promise], images: Sequence[Mapping[str, Any]], facts: str
) -> Answer:
    """Return the answer by all promises: that of the worst one, or that all are kept."""
    judged = [_judge_promise(promise, images) for promise in promises]
    support = " ".join(one.support for one in judged)
    for state in ("no", "open"):
        for one in judged:
            if one.state == state:
                return Answer(state=state, sentence=f"{one.claim}: {facts}", support=support)
    accepted = " and ".join(f"{_percent(one.rate)} {one.kind}s" for one in promises)
    return Answer(
        state="yes", sentence=f"Yes, if {accepted} are acceptable: {facts}", support=support
    )


def _judge_promise(promise: Promise, images: Sequence[Mapping[str, Any]]) -> _Judged:
    """Return whether the images show a promised rate, counted over groups."""
    kind, rate, confidence = promise.kind, promise.rate, promise.confidence
    truth = "defective" if kind == "escape" else "good"
    own = [row for row in images if _is_true(row["defective"]) == (kind == "escape")]
    units = {row.get("group", row["image_id"]) for row in own}
    wrong = {row.get("group", row["image_id"]) for row in own if row["outcome"] == kind}
    alone = len(units) == len(own)
    what = f"{truth} images" if alone else f"groups with {truth} images"
    counted = f"{len(wrong) or 'none'} of the {len(units)} {what} {_err(kind, len(wrong), alone)}"
    kept = f"{kind}s at {_percent(rate)} or less"
    terms = f"at most {_percent(rate)} {kind}s, with a confidence of {_percent(confidence)}."
    if shows_rate(len(wrong), len(units), rate, confidence):
        return _Judged("yes", "", f"Promised: {terms} These images show it: {counted}.")
    asked = f"{'Promised' if promise.on_validation else 'Asked for'}: {terms}"
    if contradicts_rate(len(wrong), len(units), rate, confidence):
        happens = "escape" if kind == "escape" else "are called defective"
        claim = f"No, more than {_percent(rate)} of the {truth} parts {happens}"
        return _Judged("no", claim, f"{asked} These images contradict it: {counted}.")
    least = least_rate(len(units), confidence)
    few = f" Even without any {kind}, {len(units)} {what} show no rate below {_percent(least)}."
    few = few if least > rate else ""
    if promise.on_validation:
        claim = f"Promised to keep {kept}, which these images neither show nor contradict"
        return _Judged("open", claim, f"{asked} Validation showed it. Here {counted}.{few}")
    support = f"{asked} Neither validation nor these images show it: {counted}.{few}"
    return _Judged("no", f"Not shown to keep {kept}", support)


def _facts(image: Mapping[str, Any]) -> str:
    n_defective, n_good = image["n_defective"], image["n_good"]
    if not n_defective:
        return "This split has no defective images, so it cannot show escapes."
    if not n_good:
        return "This split has no good images, so it cannot show overkills."
    escapes = _clause(image["escapes"], n_defective, "defective", "good")
    overkills = _clause(image["overkills"], n_good, "good", "defective")
    return f"{escapes[0].upper()}{escapes[1:]}, and {overkills}."


def _clause(count: int, total: int, truth: str, verdict: str) -> str:
    """Return how many images got a wrong verdict, as a clause that starts in lower case."""
    if total == 1:
        return f"the only {truth} image was {'' if count else 'not '}called {verdict}"
    return f"{count or 'none'} of the {total} {truth} images {_were(count)} called {verdict}"


def _err(kind: ErrorKind, count: int, alone: bool) -> str:
    """Return what so many images, or groups of them, did wrong."""
    if alone:
        return "escaped" if kind == "escape" else f"{_were(count)} called defective"
    return f"{'have' if count > 1 else 'has'} an {kind}"


def _were(count: int) -> str:
    return "were" if count > 1 else "was"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _is_true(value: object) -> bool:
    return str(value).lower() in ("1", "true")
