"""Validation during a training: of a part of the images between epochs, of all at the end."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from defectkit.models.network import Network
from defectkit.training.job import TrainingJob
from defectkit.training.loader import batches_of_one
from defectkit.training.schedule import Budget
from defectkit.training.state import EpochResult, TrainState
from defectkit.training.validation import WATCHED_IMAGES, Validation, validate
from defectkit.training.validation_part import choose_part, plan_validation


@dataclass(frozen=True, slots=True, eq=False)
class Validator:
    """Validates ``network``, the one of a job that is saved, while it is trained."""

    job: TrainingJob
    network: Network
    device: torch.device

    @property
    def expected_seconds(self) -> float:
        """The time that the validations after a last epoch are expected to take."""
        return self.job.expected.validation(len(self.job.validation_records))

    def after_epoch(
        self,
        state: TrainState,
        budget: Budget,
        result: EpochResult,
        *,
        on_progress: Callable[[float, str], None],
    ) -> Validation | None:
        """Validate a part of the images, if that is due after the epoch that follows ``state``.

        After the first epoch, whose ``result`` says how long one takes, it is decided how many
        images are validated and how often: ``state.plan``, which is kept in the checkpoint. A
        training that is resumed with other epochs, or another time, decides again.
        """
        job = self.job
        if job.out_of_fold:
            return None
        records, config, epoch = job.validation_records, job.approach.config, state.epoch + 1
        is_last = state.is_last(epoch, config.train, budget)
        limit = config.train.max_time or config.train.epochs
        plan = state.plan
        # Before a resumed session nothing is tried. Checkpoints of earlier versions lack the time.
        image_seconds = job.expected.image or (plan.image_seconds if plan else 0.0)
        if plan is None or (plan.limit != limit and image_seconds):
            plan = plan_validation(
                records,
                image_seconds=image_seconds,
                epoch_seconds=result.seconds,
                epochs=1 if is_last else budget.epochs(result.seconds),
            )
            plan = replace(plan, image_seconds=image_seconds, limit=limit)
            state.take_plan(plan)
        if not (plan.is_due(epoch) or is_last):
            return None
        on_progress(budget.progress(state.steps), f"epoch {epoch}  validation")
        validation = validate(
            job.approach,
            self.network,
            choose_part(records, plan.images, seed=config.seed),
            fitted_to=batches_of_one(job.samples, self.device),
            watch=WATCHED_IMAGES,
        )
        budget.validation_seconds = validation.seconds_to_the_end(len(records))
        return validation

    def at_the_end(self) -> Validation:
        """Validate all images, with the weights that are kept, or out of fold.

        Out of fold nothing was validated before: what is fitted after an epoch is fitted here.
        """
        if self.job.out_of_fold:
            self.network.fit_after_epoch(batches_of_one(self.job.samples, self.device))
            return self.job.out_of_fold()
        return validate(
            self.job.approach, self.network, self.job.validation_records, watch=WATCHED_IMAGES
        )
