"""What all networks share: normalization inside, the pretrained encoder, what is fitted to data.

Shapes: B images, C input channels (1 gray, 3 RGB, up to 16), H and W in pixels.
"""

from collections.abc import Iterable
from typing import Any

import torch
from timm.models import FeatureInfo
from torch import nn

from defectkit.errors import NotFiniteError

Batches = Iterable[tuple[torch.Tensor, Any]]
"""Batches of training samples on the network's device: inputs (B, C, H, W), and their targets."""


class Network(nn.Module):
    """A network with its input normalization inside: it takes pixels as they are.

    ``encoder`` is the part that has pretrained weights, or None; ``stage_ends`` names the last
    module of each of its stages, from the input on. Training changes that part little: it learns at
    a lower rate, and its lowest stages not at all.
    """

    size_divisor: int = 1
    """Height and width of the input must be divisible by it."""
    takes_reduced_precision: bool = True
    """Whether it is trained in 16 bit where ``train.amp`` leaves that open."""
    learns: bool = True
    """Whether it learns by gradients; otherwise ``fit_before_training`` is all its training."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self,
        *,
        mean: float,
        std: float,
        features: nn.Module | None = None,
        pretrained: bool = False,
    ) -> None:
        """Keep ``features``, as the encoder where they are ``pretrained``."""
        super().__init__()
        self.stage_ends: tuple[str, ...] = ()
        self._encoder: list[nn.Module | None] = [None]
        if features is not None:
            self.features = features
            self._set_encoder(features if pretrained else None, stage_ends(features))
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def _set_encoder(self, encoder: nn.Module | None, ends: tuple[str, ...]) -> None:
        self._encoder = [encoder]  # in a list, so that it is not registered a second time
        self.stage_ends = ends

    @property
    def encoder(self) -> nn.Module | None:
        """The part that has pretrained weights, or None."""
        return self._encoder[0]

    def lowest_stages(self, count: int) -> list[nn.Module]:
        """Return all modules of the encoder's lowest ``count`` stages, in the order they run."""
        if self.encoder is None or not self.stage_ends or not count:
            return []
        end = self.stage_ends[min(count, len(self.stage_ends)) - 1].replace("_", ".")
        modules = [(name.replace("_", "."), one) for name, one in self.encoder.named_modules()]
        last = max(
            place
            for place, (name, _) in enumerate(modules)
            if name == end or name.startswith(f"{end}.")
        )
        return [one for _, one in modules[: last + 1]]

    def fit_before_training(self, samples: Batches) -> None:
        """Fit what depends on the training data, such as anchors; by default nothing.

        Called once in a run, on the samples of epoch 0, in batches of one.
        """

    def seconds_to_fit(self, size: tuple[int, int], samples: int) -> float:  # noqa: ARG002
        """Return about the seconds of ``fit_before_training`` after its last sample; by default 0.

        Args:
            size: (height, width) of a sample.
            samples: the number of samples like it.
        """
        return 0.0

    def fit_after_epoch(self, samples: Batches) -> None:
        """Fit what is not learned by gradients, before validation; by default nothing.

        Called after every epoch, on the samples of epoch 0, in batches of one.
        """

    def normalize(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) in [0, 255], uint8 or float -> float, as the encoder was trained with."""
        return (images.float() - self.mean) / self.std


def require_finite(*outputs: torch.Tensor) -> None:
    """Check raw outputs of a network in evaluation, before NaN gets lost among thresholds.

    An exported graph has no such check: it cannot raise.

    Raises:
        NotFiniteError: a value is NaN or infinite.
    """
    if torch.compiler.is_exporting():
        return
    if not all(bool(values.isfinite().all()) for values in outputs):
        raise NotFiniteError(
            "the network's scores are not finite: its training has diverged, or fp16 cannot hold "
            "them (infer.amp). Train again with a lower train.lr (--set) or without reduced "
            "precision (--set train.amp=off --set infer.amp=off)."
        )


def stage_ends(encoder: nn.Module) -> tuple[str, ...]:
    """Return the names of the last module of each stage of a timm feature extractor, else none."""
    info = getattr(encoder, "feature_info", None)
    if not isinstance(info, FeatureInfo):
        return ()
    last = info.out_indices[-1]
    return tuple(stage["module"] for stage in info.info[: last + 1])
