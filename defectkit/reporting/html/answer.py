"""What a quality manager reads first: whether this model can be used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from defectkit.evaluation.operating_points import FEW_IMAGES
from defectkit.evaluation.promise import contradicts_rate, least_rate, shows_rate
from defectkit.evaluation.threshold_rule import is_shown, promise_of
from defectkit.reporting.metric_tables import format_percent, format_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Whether the model can be used: a sentence, and what supports it.

    ``state`` is ``yes`` if a promise was asked for and the images show it, ``no`` if they
    contradict it, or if neither validation nor these images show it, and else ``open``: no promise
    was asked for, or the images are too few to tell.
    """

    state: Literal["yes", "no", "open"]
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
    promise = promise_of(rule)
    if promise is not None:
        return _judge_promise(*promise, images, facts, on_validation=is_shown(rule))
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


def _judge_promise(
    rate: float,
    confidence: float,
    images: Sequence[Mapping[str, Any]],
    facts: str,
    *,
    on_validation: bool,
) -> Answer:
    """Return whether the images show a promised escape rate, counted over groups.

    ``on_validation`` says whether validation showed it.
    """
    defective = [row for row in images if _is_true(row["defective"])]
    units = {row.get("group", row["image_id"]) for row in defective}
    escaped = {row.get("group", row["image_id"]) for row in defective if row["outcome"] == "escape"}
    alone = len(units) == len(defective)
    what = "defective images" if alone else "groups with defective images"
    promised, sure = _percent(rate), _percent(confidence)
    counted = f"{len(escaped) or 'none'} of the {len(units)} {what} {_escaped(len(escaped), alone)}"
    if shows_rate(len(escaped), len(units), rate, confidence):
        return Answer(
            state="yes",
            sentence=f"Yes, if {promised} escapes are acceptable: {facts}",
            support=f"Promised: at most {promised} escapes, with a confidence of {sure}. These "
            f"images show it: {counted}.",
        )
    asked = f"{'Promised' if on_validation else 'Asked for'}: at most {promised} escapes, with a "
    asked += f"confidence of {sure}."
    if contradicts_rate(len(escaped), len(units), rate, confidence):
        return Answer(
            state="no",
            sentence=f"No, more than {promised} of the defective parts escape: {facts}",
            support=f"{asked} These images contradict it: {counted}.",
        )
    least = least_rate(len(units), confidence)
    few = (
        f" Even without any escape, {len(units)} {what} show no rate below {_percent(least)}."
        if least > rate
        else ""
    )
    if on_validation:
        return Answer(
            state="open",
            sentence=f"Promised to keep escapes at {promised} or less, which these images neither "
            f"show nor contradict: {facts}",
            support=f"{asked} Validation showed it. Here {counted}.{few}",
        )
    return Answer(
        state="no",
        sentence=f"Not shown to keep escapes at {promised} or less: {facts}",
        support=f"{asked} Neither validation nor these images show it: {counted}.{few}",
    )


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
    were = "were" if count > 1 else "was"
    return f"{count or 'none'} of the {total} {truth} images {were} called {verdict}"


def _escaped(count: int, alone: bool) -> str:
    if alone:
        return "escaped"
    return "have an escape" if count > 1 else "has an escape"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _is_true(value: object) -> bool:
    return str(value).lower() in ("1", "true")
