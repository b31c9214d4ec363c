import hashlib
import multiprocessing
from collections import Counter

import numpy as np
import pytest
import torch

from defectkit.approaches import crop_samples as crops
from defectkit.approaches.build import build_approach
from defectkit.approaches.sample_draws import HardPlace
from defectkit.config import load_config
from defectkit.data.dataset import Dataset
from defectkit.errors import WorkerError
from defectkit.training import loader as loading
from defectkit.training.failures import explain_failures
from defectkit.training.loader import EpochLoader, batch_keys, batches_of_one, handed_over

CPU = torch.device("cpu")


def test_an_epoch_holds_whole_batches_and_at_least_one(trial):
    run = trial("train.samples_per_epoch=10")
    config = run.approach.config
    loader = EpochLoader(run.samples, config, workers=0, device=CPU)
    batches = list(loader.epoch(3))
    assert len(loader) == len(batches) == 2
    for number, (inputs, targets) in enumerate(batches):
        assert inputs.shape == (4, 1, 32, 32)
        for place, key in enumerate(batch_keys(3, number, 4)):
            image, masks = run.samples[key]
            assert torch.equal(inputs[place], image)
            assert torch.equal(targets[place], masks)
    few = trial("train.samples_per_epoch=2")
    loader = EpochLoader(few.samples, few.approach.config, workers=0, device=CPU)
    assert [len(inputs) for inputs, _ in loader.epoch(1)] == [4]


@pytest.mark.check(22)
@pytest.mark.parametrize("approach", ["segment", "patch", "box"])
def test_the_same_seed_gives_the_same_samples_with_any_loaders(approach, trial, tally):
    seen = []
    for workers in (0, 0, 1, 4)[:: tally.number(short=2, full=1)]:
        run = trial(f"approach={approach}", "train.batch_size=6", folder=f"{workers}")
        loader = EpochLoader(run.samples, run.approach.config, workers=workers, device=CPU)
        with tally.case(f"{workers} loaders"):
            seen.append([fingerprint(batch) for epoch in (1, 2) for batch in loader.epoch(epoch)])
            assert seen[-1] == seen[0]
    assert len({*seen[0]}) == len(seen[0])


@pytest.mark.check(22)
@pytest.mark.parametrize("approach", ["segment", "box"])
def test_hard_places_reach_all_loaders_in_the_epoch_after_they_were_found(approach, trial):
    seen = []
    for workers in (0, 1, 2):
        settings = ("data.hard_negatives=0.8", "data.injection=0.3", "train.batch_size=6")
        run = trial(f"approach={approach}", *settings, folder=f"{workers}")
        loader = EpochLoader(run.samples, run.approach.config, workers=workers, device=CPU)
        places = [HardPlace(record.image_id, 9, 60, 0.5) for record in run.samples.records[:3]]
        seen.append([
            [fingerprint(batch) for batch in loader.epoch(epoch, hard)]
            for epoch, hard in ((1, ()), (2, places), (3, places[:1]), (3, ()))
        ])  # fmt: skip
        assert seen[-1] == seen[0]
    assert len({tuple(epoch) for epoch in seen[0]}) == 4


def test_the_images_of_a_batch_are_named_hard_places_included(trial):
    run = trial("data.hard_negatives=1", "data.defect_fraction=0")
    loader = EpochLoader(run.samples, run.approach.config, workers=0, device=CPU)
    hard = [HardPlace(run.samples.records[0].image_id, 9, 60, 0.5)]
    assert len(list(loader.epoch(1, hard))) == 3
    assert loader.image_ids(1, 2) == [hard[0].image_id] * 4
    assert len(list(loader.epoch(2))) == 3
    assert len(set(loader.image_ids(2, 2))) == 4


def test_another_seed_takes_other_hard_places(trial):
    taken = []
    for seed in (0, 0, 1):
        settings = ("data.hard_negatives=1", "data.defect_fraction=0", f"seed={seed}")
        run = trial(*settings, folder=f"{len(taken)}")
        loader = EpochLoader(run.samples, run.approach.config, workers=0, device=CPU)
        places = [HardPlace(record.image_id, 9, 60, 0.5) for record in run.samples.records]
        list(loader.epoch(1, places))
        taken.append([loader.image_ids(1, batch) for batch in range(len(loader))])
    assert taken[0] == taken[1] != taken[2]


def fingerprint(batch: object) -> str:
    """The SHA-256 of all tensors in a batch."""
    digest = hashlib.sha256()
    for leaf in torch.utils._pytree.tree_leaves(batch):
        digest.update(leaf.contiguous().numpy().tobytes())
    return digest.hexdigest()


def test_what_is_fitted_gets_the_samples_of_epoch_0_one_by_one(dataset_folder):
    dataset = Dataset.load(dataset_folder)
    settings = ["approach=box", "data.crop=64", "train.samples_per_epoch=5"]
    approach = build_approach(load_config(None, settings), classes=dataset.classes, channels=1)
    samples = approach.samples(dataset, dataset.split("train"))
    batches = list(batches_of_one(samples, CPU))
    assert len(batches) == 5
    for index, (images, targets) in enumerate(batches):
        expected, target = samples[0, index]
        assert torch.equal(images, expected[None])
        assert torch.equal(targets[0]["boxes"], target["boxes"])


# --- augmentation -------------------------------------------------------------------------------

CONTINUOUS = ("augment.affine=1", "augment.brightness_contrast=1")
ORIENTATIONS = ("augment.affine=0", "augment.brightness_contrast=0", "augment.noise=0",
                "augment.blur=0")  # fmt: skip


@pytest.fixture
def augmented(trial, monkeypatch):
    """Give what the augmentations of every sample, over loaders and epochs, make of one image."""
    probe = np.random.default_rng(23).integers(0, 256, (16, 16, 1), np.uint8)
    real = crops.augment

    def of_the_probe(pipeline, image, masks, *, seed):
        masks = (probe.transpose(2, 0, 1) > 127).astype(np.uint8)
        return real(pipeline, probe, masks, seed=seed)

    monkeypatch.setattr(crops, "augment", of_the_probe)  # the loader processes are forked

    def collect(epochs: int, *changes: str) -> list[list[bytes]]:
        run = trial("train.batch_size=16", "train.samples_per_epoch=64", *changes)
        loader = EpochLoader(run.samples, run.approach.config, workers=4, device=CPU)
        return [
            [image.numpy().tobytes() for images, _ in loader.epoch(epoch) for image in images]
            for epoch in range(1, epochs + 1)
        ]

    return collect


@pytest.mark.check(23)
def test_no_change_of_any_size_is_drawn_twice(augmented, tally):
    drawn = [sample for epoch in augmented(tally.number(3, 20), *CONTINUOUS) for sample in epoch]
    for sample, times in Counter(drawn).items():
        with tally.case(sample):
            assert times == 1


@pytest.mark.check(23)
def test_flips_and_turns_repeat_no_more_than_chance(augmented, tally):
    """From epoch to epoch at the same place, and from loader to loader in the same epoch."""
    drawn = np.array(augmented(tally.number(12, 60), *ORIENTATIONS))
    _, drawn = np.unique(drawn, return_inverse=True)
    drawn = drawn.reshape(-1, 4, 16)  # epochs, batches (each of another loader), places
    shares = np.bincount(drawn.ravel()) / drawn.size
    assert len(shares) == 8  # two mirror images of four turns
    chance = (shares**2).sum()
    for pairs in (drawn[1:] == drawn[:-1], drawn[:, 1:] == drawn[:, :-1],
                  drawn[..., 1:] == drawn[..., :-1]):  # fmt: skip
        with tally.case(pairs.shape):
            spread = np.sqrt(chance * (1 - chance) / pairs.size)
            assert abs(pairs.mean() - chance) < 5 * spread


@pytest.mark.check(56)
def test_loader_processes_end_before_their_error_is_dealt_with(trial):
    run = trial("train.samples_per_epoch=16")
    before = multiprocessing.active_children()

    def fail() -> None:
        with EpochLoader(run.samples, run.approach.config, workers=1, device=CPU) as loader:
            for _ in loader.epoch(1):
                raise ValueError("enough")

    with pytest.raises(ValueError, match="enough") as caught:
        fail()
    # The traceback has the loader and its iterator.
    assert caught.tb
    assert multiprocessing.active_children() == before


@pytest.mark.parametrize(("kind", "expected"), [("cpu", 8), ("meta", 23)])
def test_a_gpu_has_more_loader_processes_by_default(kind, expected, trial, monkeypatch):
    monkeypatch.setattr(loading, "usable_processors", lambda: 24)
    monkeypatch.setattr(loading, "allowed_workers", lambda workers, **_: workers)
    run = trial()
    made = EpochLoader(run.samples, run.approach.config, workers=None, device=torch.device(kind))
    assert made.loader.num_workers == expected


@pytest.mark.check(36)
@pytest.mark.parametrize("error", [ConnectionResetError(104, "reset by peer"), EOFError()])
def test_a_process_that_dies_while_it_hands_over_a_batch_is_told_as_others_are(error):
    def batches():
        yield "first"
        raise error

    config = load_config(None, [])
    taken = handed_over(batches())
    assert next(taken) == "first"
    with pytest.raises(WorkerError, match="a loader process died"), explain_failures(config):
        next(taken)


def test_what_a_process_raises_itself_is_left_as_it_is():
    def batches():
        raise EOFError("Caught EOFError in DataLoader worker process 0.")
        yield

    with pytest.raises(EOFError, match="Caught"):
        next(handed_over(batches()))
