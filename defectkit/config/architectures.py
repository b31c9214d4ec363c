"""The names of the networks, by approach."""

from typing import Literal, get_args

from defectkit.vocabulary import ApproachName

PatchArchitecture = Literal["classifier", "all_conv", "lenet"]
BoxArchitecture = Literal[
    "yolo_grid", "localizer", "faster_rcnn", "mask_rcnn", "ssd", "retinanet", "fcos",
    "fast_rcnn", "rcnn",
]  # fmt: skip
SegmentArchitecture = Literal[
    "unet", "unetplusplus", "manet", "linknet", "fpn", "pspnet", "pan",
    "deeplabv3", "deeplabv3plus", "upernet", "segformer", "dpt", "fcn", "segnet", "pixel_net",
]  # fmt: skip
NoveltyArchitecture = Literal["patch_core"]
Architecture = Literal[PatchArchitecture, BoxArchitecture, SegmentArchitecture, NoveltyArchitecture]
ARCHITECTURES: dict[ApproachName, tuple[str, ...]] = {
    "patch": get_args(PatchArchitecture),
    "box": get_args(BoxArchitecture),
    "segment": get_args(SegmentArchitecture),
    "novelty": get_args(NoveltyArchitecture),
}
"""The networks of each approach; the first is its default."""
WITHOUT_ENCODER = ("segnet", "pixel_net", "all_conv", "lenet")
"""Nothing in these networks is pretrained: ``model.encoder`` has no effect on them."""
