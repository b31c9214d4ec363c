"""A trained network beside one that knows good surfaces."""

from defectkit.models.network import Batches, Network
from defectkit.models.novelty.patch_core import PatchCore


class FusedNetwork(Network):
    """Both networks as one, so that both are saved, moved and loaded together.

    Only ``novelty`` is fitted; ``trained`` stays as it was taken over. (Saved models know these
    names.)
    """

    learns = False

    def __init__(self, *, trained: Network, novelty: PatchCore) -> None:
        super().__init__(mean=0.0, std=1.0)  # each has its own normalization inside
        self.trained = trained
        self.novelty = novelty
        self._set_encoder(novelty.encoder, novelty.stage_ends)

    def fit_before_training(self, samples: Batches) -> None:
        """Fill the bank from good images, as ``PatchCore`` does."""
        self.novelty.fit_before_training(samples)

    def seconds_to_fit(self, size: tuple[int, int], samples: int) -> float:
        """Return about the seconds of choosing the bank, as ``PatchCore`` does."""
        return self.novelty.seconds_to_fit(size, samples)
