"""``Passes``: how images of any size go through a network that takes a limited number of pixels.

It needs no torch, since exported models use it too.
"""

from collections.abc import Callable, Iterator
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from defectkit.approaches.whole_images import (
    Block,
    Scored,
    fits_tile,
    score_blocks,
    score_in_tiles,
)
from defectkit.arrays import ImageBatch, ImageSize
from defectkit.data.images import padded_side, resize_image

Side = Annotated[int, Field(ge=1, le=2**20)]
Pixels = Annotated[int, Field(ge=0, le=2**20)]


class Passes(BaseModel):
    """Whether an image is scored at once, resized, or in blended tiles. All values are in pixels.

    ``model_dump`` and ``model_validate`` write and read it.

    Raises:
        pydantic.ValidationError: a value is out of range, or there is an unknown field.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    tile: Side
    """Side of a tile."""
    overlap: Pixels
    """By how much neighboring tiles overlap."""
    margin: Pixels = 0
    """By how much the network sees an image reflected beyond each border."""
    divisor: Side = 1
    """What divides the sides that the network sees."""
    resize: Side | None = None
    """Side of the square that every image is resized to; None: images keep their size."""

    def score(
        self, run: Callable[[ImageBatch], Scored], batch: ImageBatch, *, n_classes: int
    ) -> Scored:
        """Return the scores of images (B, H, W, C) uint8 of any size.

        Args:
            run: scores images of up to ``tile`` x ``tile`` pixels, or of ``resize`` x ``resize``.
            batch: the images.
            n_classes: number of layers of the score maps.
        """
        if self.resize is None:
            return score_in_tiles(
                run,
                batch,
                n_classes=n_classes,
                tile=self.tile,
                overlap=self.overlap,
                padded=self._padded,
            )
        height, width = batch.shape[1:3]
        small = np.stack([resize_image(image, (self.resize, self.resize)) for image in batch])
        scores, decisions = run(small)
        enlarged = [resize_image(one.transpose(1, 2, 0), (width, height)) for one in scores]
        return np.stack(enlarged).transpose(0, 3, 1, 2), decisions

    def has_tiles(self, size: ImageSize) -> bool:
        """Return whether an image of (height, width) is scored in blended tiles."""
        return self.resize is None and not fits_tile(size, self.tile, self._padded)

    def score_blocks(
        self, run: Callable[[ImageBatch], Scored], batch: ImageBatch, *, n_classes: int
    ) -> Iterator[Block]:
        """Yield block by block what ``score`` returns of images that are scored in tiles."""
        return score_blocks(run, batch, n_classes=n_classes, tile=self.tile, overlap=self.overlap)

    def _padded(self, length: int) -> int:
        return padded_side(length + 2 * self.margin, self.divisor)
