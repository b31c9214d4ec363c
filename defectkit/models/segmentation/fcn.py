"""The fully convolutional network of torchvision.

Shapes: B images, C input channels (1 gray, 3 RGB, up to 16), K output channels.
"""

from typing import cast

import torch
from torch import nn
from torchvision.models.segmentation import fcn_resnet50, fcn_resnet101

from defectkit.errors import ModelError
from defectkit.models.encoders import StateDict, load_into_encoder, normalization
from defectkit.models.segmentation.segmenter import Segmenter

STRIDE = 8
BODIES = {"resnet50": fcn_resnet50, "resnet101": fcn_resnet101}


class TransposedFcn(nn.Module):
    """An FCN whose last upsampling is a transposed convolution that learns.

    It starts as bilinear interpolation, as in Long, Shelhamer and Darrell (2015).
    """

    def __init__(self, backbone: nn.Module, classifier: nn.Module, *, out_channels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.classifier = classifier
        self.up = nn.ConvTranspose2d(
            out_channels,
            out_channels,
            2 * STRIDE,
            stride=STRIDE,
            padding=STRIDE // 2,
        )
        places = torch.arange(2 * STRIDE)
        ramp = 1 - (places - (STRIDE - 0.5)).abs() / STRIDE
        with torch.no_grad():
            self.up.weight.zero_()
            for channel in range(out_channels):
                self.up.weight[channel, channel] = ramp[:, None] * ramp[None, :]
            nn.init.zeros_(cast(torch.Tensor, self.up.bias))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) float, H and W divisible by 8 -> logits (B, K, H, W)."""
        return cast(torch.Tensor, self.up(self.classifier(self.backbone(images)["out"])))


def build_fcn(
    *,
    encoder: str,
    in_channels: int,
    out_channels: int,
    state: StateDict | None,
    transposed: bool = False,
) -> Segmenter:
    """The fully convolutional network of torchvision (Long, Shelhamer and Darrell, 2015).

    Its scores at 1/8 of the image's size are upsampled by bilinear interpolation, or by a
    ``transposed`` convolution.

    Raises:
        ModelError: the encoder is not one that torchvision's FCN has.
    """
    if encoder not in BODIES:
        raise ModelError(
            f"fcn has no encoder '{encoder}'. Set model.encoder to one of: {', '.join(BODIES)}."
        )
    body = BODIES[encoder](weights=None, weights_backbone=None, num_classes=out_channels)
    if in_channels != 3:
        body.backbone.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
    if state is not None:
        load_into_encoder(body.backbone, state)
    if transposed:
        body = TransposedFcn(body.backbone, body.classifier, out_channels=out_channels)
    mean, std = normalization(encoder)
    return Segmenter(
        body,
        size_divisor=STRIDE,
        mean=mean,
        std=std,
        encoder=body.backbone if state else None,
        stage_ends=("relu", "layer1", "layer2", "layer3", "layer4"),
    )
