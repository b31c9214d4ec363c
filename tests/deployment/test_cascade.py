import numpy as np
import pytest
from exported_models import write_exported
from found_sparsely import assert_same
from hypothesis import given, settings
from hypothesis import strategies as st
from resealing import reseal

import defectkit
from defectkit.deployment import runtime
from defectkit.deployment.cascade import (
    FIRST,
    SHARE_OF_LOOK,
    Cascade,
    CutChoice,
    check_first,
    describe_first,
    warn_of_first,
)
from defectkit.deployment.runtime import ExportedModel
from defectkit.errors import ExportError, ModelError
from defectkit.evaluation.thresholds import Thresholds
from defectkit.evaluation.verdicts import verdict
from defectkit.files import read_json
from defectkit.labels.scope import Scope
from defectkit.watching import watching

THRESHOLDS = Thresholds(low=0.5, high=0.5, rule="f1")


def gray(value: int) -> np.ndarray:
    """An image whose score by the full model is value / 255, by the first one half of that."""
    return np.full((20, 30, 3), value, np.uint8)


@pytest.fixture
def cascade(tmp_path):
    """A cascade whose first model passes what has less than 0.2: values below 102."""
    folder = write_exported(tmp_path / "line")
    write_exported(folder / FIRST, scale=0.5 / 255)
    seal = read_json(folder / FIRST / "model.json")["seal"]
    entry = {"seal": seal, "cut": 0.2, "ceiling": 0.5, "measured": {}}
    exported = read_json(folder / "model.json")["exported"]
    reseal(folder / "model.json", exported={**exported, "first": entry})
    return folder


@pytest.mark.check(21)
def test_what_is_surely_good_is_passed_and_all_else_is_judged_by_the_full_model(cascade):
    model, full = defectkit.load(cascade), ExportedModel.load(cascade)
    assert isinstance(model, Cascade)
    assert model.parallel == full.parallel > 0
    assert model.exported_as == "f32 cascade"
    images = [gray(value) for value in (0, 60, 101, 103, 127, 200)]
    for image, finding in zip(images, model.find_all(images), strict=True):
        alone = full.find(image)
        if image[0, 0, 0] > 102:
            assert finding.score == alone.score
            np.testing.assert_array_equal(finding.score_map, alone.score_map)
            assert finding.regions == alone.regions
        else:
            assert finding.score == pytest.approx(0.5 * (image[0, 0, 0] / 510) / 0.2)
            assert verdict(finding.score, model.thresholds) == "good"
            assert not finding.score_map.any()
            assert finding.regions == ()
        assert finding.score_map.shape == alone.score_map.shape


def test_the_full_model_sees_only_what_is_not_passed(cascade, monkeypatch):
    model, seen = defectkit.load(cascade), []
    engine = type(model.full.engine)
    monkeypatch.setattr(
        ExportedModel,
        "_run",
        lambda self, batch, run=ExportedModel._run: (
            seen.append((self.folder.name, len(batch))) or run(self, batch)
        ),
    )
    assert engine
    model.find_all([gray(10), gray(200), gray(20)])
    assert seen == [(FIRST, 3), ("line", 1)]
    seen.clear()
    model.find(gray(10))
    assert seen == [(FIRST, 1)]


@settings(deadline=None)
@given(st.floats(1e-7, 1.0), st.floats(1e-7, 1.0), st.floats(0.0, 1.0))
def test_what_is_passed_is_good_whatever_its_score(cut, ceiling, share):
    model = Cascade(first=None, full=FakeFull(), cut=cut, ceiling=ceiling)
    score = cut * share
    if score < cut:
        assert model._pass(gray(0), score).score < ceiling


class FakeFull:
    found_classes = ("scratch",)


def test_other_thresholds_are_those_of_the_full_model(cascade):
    model = defectkit.load(cascade)
    other = model.with_thresholds(Thresholds(low=0.9, high=0.9, rule="f1"), model.info)
    assert other.thresholds.low == 0.9
    assert other.find(gray(101)).score == model.find(gray(101)).score


def test_models_that_do_not_belong_together_are_refused(cascade):
    reseal(cascade / FIRST / "model.json", epoch=2)
    with pytest.raises(ModelError, match="its first/ is that of another model"):
        defectkit.load(cascade)


def test_a_first_model_that_is_missing_or_damaged_is_refused(cascade):
    (cascade / FIRST / "model.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"first/model\.bin is damaged"):
        defectkit.load(cascade)
    (cascade / FIRST / "model.json").unlink()
    with pytest.raises(ModelError, match="first"):
        defectkit.load(cascade)


@pytest.mark.parametrize("entry", [{"cut": 0.0}, {"ceiling": 0.0}, {"cut": 1.5}, {"seal": 1}])
def test_senseless_entries_are_refused(cascade, entry):
    exported = read_json(cascade / "model.json")["exported"]
    reseal(cascade / "model.json", exported={**exported, "first": {**exported["first"], **entry}})
    with pytest.raises(ModelError, match=r"exported\.first\."):
        defectkit.load(cascade)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": "other"}, "was trained on other data"),
        ({"channels": 1}, "takes other channels"),
        (
            {"pixels": {"window": [0, 4095], "pages": "first", "shown": None}},
            "reads pixels otherwise",
        ),
        ({"roi": {"shape": "0,0,9,9", "height": 20, "width": 30}}, "has another region"),
        ({"out_of_fold": {"scores": [], "defective": []}}, "trained with folds"),
    ],
)
def test_a_first_model_made_for_other_images_is_refused(tmp_path, changes, message):
    full = ExportedModel.load(write_exported(tmp_path / "full"))
    first = ExportedModel.load(write_exported(tmp_path / "first", **changes))
    with pytest.raises(ExportError, match=message):
        check_first(first, full, "runs/first")
    with pytest.raises(ExportError, match=message):
        check_first(full, first, "runs/first")


def test_the_first_model_of_a_cascade_is_no_model_of_its_own(cascade):
    exported = read_json(cascade / FIRST / "model.json")["exported"]
    reseal(cascade / FIRST / "model.json", exported={**exported, "looks": True})
    with pytest.raises(ModelError, match=rf"tells what is surely good\. Give {cascade}\."):
        defectkit.load(cascade / FIRST)


def collect(rows):
    """The choice from (score by the first, score by the full one, whether defective)."""
    choice = CutChoice(thresholds=THRESHOLDS)
    for number, (look, full, defective) in enumerate(rows):
        choice.update(
            look=look, full=full, defective=defective, group=f"{number}", seconds=(0.01, 0.04)
        )
    return choice


SCORES = st.one_of(st.floats(0, 1), st.integers(0, 10).map(lambda n: n / 10))


@pytest.mark.check(21)
@settings(deadline=None)
@given(st.lists(st.tuples(SCORES, SCORES, st.booleans()), max_size=30))
def test_no_defective_image_that_the_full_model_finds_is_passed(rows):
    try:
        first = collect(rows).choose("seal")
    except ExportError:
        caught = [look for look, full, defective in rows if defective and full >= 0.5]
        good = [look for look, _, defective in rows if not defective]
        assert not caught or not good or min(good) >= min(caught)
        return
    assert all(look >= first.cut for look, full, bad in rows if bad and full >= 0.5)
    passed = sum(look < first.cut for look, _, bad in rows if not bad)
    assert passed == first.measured["good_passed"] > 0
    lowest = min(look for look, full, bad in rows if bad and full >= 0.5)
    assert all(look < first.cut for look, _, _ in rows if look < lowest)


def test_what_the_first_model_does_is_told():
    rows = [(0.1, 0.1, False)] * 8 + [(0.9, 0.2, False)] * 2
    rows += [(0.3, 0.9, True)] * 20 + [(0.05, 0.2, True)]  # the last escapes from both
    first = collect(rows).choose("seal")
    assert first.seal == "seal"
    assert first.ceiling == 0.5
    assert 0.1 < first.cut < 0.3
    assert describe_first(first) == (
        "the first model passes 8 of 10 good validation images and none of the 20 defective ones "
        "that the full model finds: with a confidence of 95 % it adds at most 14 % escapes; 10 "
        "and 40 ms an image: good images go 2.2 times as fast"
    )
    assert warn_of_first(first) is None
    rows[:8] = [(0.35, 0.1, False)] * 8  # those that are passed are too few
    assert "not faster" in warn_of_first(collect([*rows, (0.1, 0.1, False)]).choose("seal"))


def test_a_first_model_that_can_pass_nothing_is_refused():
    with pytest.raises(ExportError, match="nothing tells which images the first model may pass"):
        collect([(0.1, 0.1, False), (0.5, 0.2, True)]).choose("seal")
    with pytest.raises(ExportError, match="it can pass none"):
        collect([(0.4, 0.1, False), (0.3, 0.9, True)]).choose("seal")


@pytest.mark.parametrize(("value", "told"), [(60, SHARE_OF_LOOK), (150, 1.0)])
def test_a_large_image_goes_through_both_models_without_a_score_map(
    cascade, monkeypatch, value, told
):
    for folder in (cascade / FIRST, cascade):
        exported = read_json(folder / "model.json")["exported"]
        passes = {**exported["passes"], "tile": 16, "overlap": 4}
        if "first" in exported:
            seal = read_json(cascade / FIRST / "model.json")["seal"]
            exported["first"] = {**exported["first"], "seal": seal}
        reseal(folder / "model.json", exported={**exported, "passes": passes})
    monkeypatch.setattr(runtime, "LARGE_PIXELS", 100)
    model, image = defectkit.load(cascade), gray(value)
    looked = []
    monkeypatch.setattr(ExportedModel, "look", lambda *_: looked.append(1))
    shares: list[float] = []
    with watching(shares.append):
        found = model.find_sparsely(image, Scope())
    assert_same(found, model.find(image))
    assert not looked
    assert shares == sorted(shares)
    assert (len(shares) > 2, shares[-1]) == (True, told)
