"""Settings that follow from the facts of a dataset: each rule gives a value and its reason.

After the experiment planning of nnU-Net (Isensee et al. 2021). A rule is asked only where its
setting is not given, in the order of ``RULES``, and sees what was given and planned before.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from defectkit.approaches.sample_draws import shows_whole_images
from defectkit.config import Config, flatten_settings, make_config
from defectkit.data.dataset_facts import DatasetFacts
from defectkit.vocabulary import ApproachName

CROP = 256
"""Side in pixels of the crops where nothing asks for another one."""
MIN_CROP, MAX_CROP = 64, 512
"""Bounds of planned crops."""
DIVISOR, DIVISOR_OF_PAN = 32, 128
"""What the sides of crops are divisible by, as networks that reduce to 1/32 need, and `pan`."""
PIXELS_PER_STEP = 8 * CROP**2
"""Number of pixels of a training step, so that a step takes as long whatever the crop."""
MIN_BATCH, MAX_BATCH = 4, 32
"""Number of crops of a planned batch; of fewer, batch normalization learns little."""
SURROUNDINGS = 2
"""Side of a crop, as a multiple of that of the largest defects."""
SHARE_OF_DEFECTS = 0.5
"""Share of the crops that are to show a defect."""
MIN_DEFECT_FRACTION = 0.4
"""Of crops taken anywhere many show the rim of a defect only."""
THIN = 4.0
"""In pixels: thinner defects are lost in a map of scores at half the resolution."""
FULL_RESOLUTION = (96, 48, 32, 24, 16)
"""Channels of a decoder whose scores have the resolution of the image."""
PASSES = 60
"""Number of crops per training image in a training without a time limit."""
MIN_SAMPLES, MAX_SAMPLES = 30 * 128, 120_000
"""Number of crops of such a training in all."""


class Choice(NamedTuple):
    """The value of a setting, and its reason in a sentence."""

    value: Any
    reason: str


class Basis(NamedTuple):
    """What a rule decides on: the facts, and the settings so far with the keys of those given."""

    facts: DatasetFacts
    config: Config
    given: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSetting:
    """A setting that follows from the data: its key, value and default, and the reason."""

    key: str
    value: Any
    default: Any
    reason: str

    @property
    def is_changed(self) -> bool:
        """Whether the value is not the default."""
        return bool(self.value != self.default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A training planned from data.

    Attributes:
        facts: what was measured of the dataset.
        settings: those that follow from it.
        config: the complete configuration, given, planned and by default.
    """

    facts: DatasetFacts
    settings: tuple[PlannedSetting, ...]
    config: Config


def make_plan(facts: DatasetFacts, config: Config) -> Plan:
    """Plan the settings that are not given in ``config``; none where its ``plan`` is false.

    A setting is given if it was set when ``config`` was made, be it to its default.
    """
    planned = []
    for key, rule in RULES[config.approach].items() if config.plan else ():
        content = config.model_dump(mode="json", exclude_unset=True)
        given = flatten_settings(content)
        if key in given or (choice := rule(Basis(facts, config, given))) is None:
            continue
        section, _, name = key.partition(".")
        default = flatten_settings(config.model_dump(mode="json"))[key]
        planned.append(
            PlannedSetting(key=key, value=choice.value, default=default, reason=choice.reason)
        )
        content[section] = {**content.get(section, {}), name: choice.value}
        config = make_config(content, name="plan")
    return Plan(facts=facts, settings=tuple(planned), config=config)


def plan_crop(basis: Basis) -> Choice | None:
    """Plan ``data.crop``: defects with their surroundings, or where parts are aligned the most."""
    facts, config, given = basis
    if shows_whole_images(config) or facts.defects is None:
        return None
    reduction = config.model.input_reduction
    divisor = (DIVISOR_OF_PAN if config.model.architecture == "pan" else DIVISOR) * reduction
    shorter_side = min(facts.height.p50, facts.width.p50)
    fitting = max(_round_up(shorter_side, divisor), MIN_CROP)
    batch = given.get("train.batch_size", MIN_BATCH)
    affordable = max(CROP, divisor * int(reduction * math.sqrt(PIXELS_PER_STEP / batch) // divisor))
    largest = min(fitting, affordable, MAX_CROP)
    defect_side = facts.defects.side.p95
    wanted = _round_up(SURROUNDINGS * defect_side, divisor)
    if fitting <= CROP:
        return Choice(fitting, f"half of the images have a side of at most {shorter_side:.0f} px")
    if facts.aligned:
        return Choice(largest, "images are aligned, so the surroundings tell how a place should be")
    if wanted > largest:
        bound = (
            f"half of the images have a side of at most {shorter_side:.0f} px"
            if largest == fitting
            else "larger crops would make a step too slow"
        )
        return Choice(largest, f"defects are up to {defect_side:.0f} px long; {bound}")
    return Choice(
        max(wanted, CROP),
        f"defects are up to {defect_side:.0f} px long; a crop has at least {SURROUNDINGS} times "
        "their side",
    )


def plan_batch_size(basis: Basis) -> Choice | None:
    """Plan ``train.batch_size``: a step has about as many pixels whatever the crop."""
    data = basis.config.data
    side = data.resize or data.crop
    if data.resize is None and shows_whole_images(basis.config):
        return None
    side //= basis.config.model.input_reduction
    batch = min(max(round(PIXELS_PER_STEP / side**2), MIN_BATCH), MAX_BATCH)
    reason = f"a step has about as many pixels as 8 crops of {CROP}x{CROP}"
    if basis.config.model.input_reduction > 1:
        reason += ", as the network sees them"
    return Choice(batch, reason)


def plan_defect_fraction(basis: Basis) -> Choice | None:
    """Plan ``data.defect_fraction``: that about half of all crops show a defect."""
    facts, config, _ = basis
    train = facts.splits["train"]
    if facts.defects is None:
        return None
    anywhere = train.defective / train.images
    if not shows_whole_images(config):
        missed = 1 - _chance_of_region(facts, config.data.crop)
        anywhere *= 1 - missed ** (facts.defects.regions / train.defective)
    wanted = (SHARE_OF_DEFECTS - anywhere) / max(1 - anywhere, 1e-9)
    fraction = min(max(wanted, MIN_DEFECT_FRACTION), SHARE_OF_DEFECTS)
    return Choice(
        round(20 * fraction) / 20,
        f"of crops taken anywhere, about {100 * anywhere:.0f} % show a defect",
    )


def plan_decoder(basis: Basis) -> Choice | None:
    """Plan ``model.decoder_channels``: scores at full resolution where a class is thin."""
    facts, config, _ = basis
    thicknesses = {name: one.thickness.p50 for name, one in facts.defects_by_class.items()}
    if config.model.architecture not in ("unet", "manet") or not thicknesses:
        return None
    thinnest = min(thicknesses, key=thicknesses.__getitem__)
    told = f"defects of class {thinnest}, the thinnest, are {thicknesses[thinnest]:.1f} px thick"
    reduction = config.model.input_reduction
    coarse = f"a map at 1/{2 * reduction}"
    if thicknesses[thinnest] >= THIN * reduction:
        return Choice([*config.model.decoder_channels], f"{told}: {coarse} shows them")
    return Choice([*FULL_RESOLUTION], f"{told}: {coarse} would lose them")


def plan_epochs(basis: Basis) -> Choice | None:
    """Plan ``train.epochs``: a bounded number of crops in all, not of passes over any data."""
    facts, config, _ = basis
    if config.train.max_time is not None:
        return None
    images = facts.splits["train"].images
    samples = samples_in_all(images)
    epoch = config.train.samples_per_epoch or max(2 * images, 128)
    return Choice(
        max(1, round(samples / epoch)),
        f"{samples:,} crops in all, {epoch:,} per epoch, for {images:,} training images",
    )


def samples_in_all(images: int) -> int:
    """Return the number of crops of so many training images in a training without a time limit."""
    return min(max(PASSES * images, MIN_SAMPLES), MAX_SAMPLES)


Rule = Callable[[Basis], Choice | None]
OF_CROPS: Mapping[str, Rule] = {
    "data.crop": plan_crop,
    "train.batch_size": plan_batch_size,
    "data.defect_fraction": plan_defect_fraction,
    "train.epochs": plan_epochs,
}
RULES: Mapping[ApproachName, Mapping[str, Rule]] = {
    "segment": {**OF_CROPS, "model.decoder_channels": plan_decoder},
    "box": OF_CROPS,
    "patch": {},
    "novelty": {},
}
"""The settings that are planned, by approach; for tiles no rule is clear enough, and `novelty` has
nothing to plan."""


def _round_up(side: float, divisor: int) -> int:
    return divisor * math.ceil(side / divisor)


def _chance_of_region(facts: DatasetFacts, crop: int) -> float:
    """Return the chance that a crop taken anywhere in an image shows a part of a given region.

    Crops exceed the image by up to a quarter of their side at each side.
    """
    assert facts.defects is not None
    reach = crop + facts.defects.side.p50
    ranges = (max(length - crop / 2, 1.0) for length in (facts.height.p50, facts.width.p50))
    return math.prod(min(1.0, reach / one) for one in ranges)
