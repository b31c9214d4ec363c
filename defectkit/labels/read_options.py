"""What the user says of how labels are to be read, where the files alone do not tell."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """Options of reading labels, each off by default.

    Attributes:
        mask_threshold: values of mask images from this one on are defects, the others none; the
            masks then have one class.
        invert: in mask images, the defects are 0.
        clip: cut outlines at the border of the image, however far they reach beyond it.
        boxes: read every label as its bounding box.
        ignore_class: the class whose pixels are ignored, no defects.
    """

    mask_threshold: int | None = None
    invert: bool = False
    clip: bool = False
    boxes: bool = False
    ignore_class: str | None = None


DEFAULT_OPTIONS = ReadOptions()
