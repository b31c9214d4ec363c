from defectkit.models.detection.rcnn.build import build_rcnn
from defectkit.models.detection.rcnn.fast_rcnn import FastRCNN
from defectkit.models.detection.rcnn.rcnn import RCNN


def build(architecture):
    return build_rcnn(
        architecture=architecture, encoder="resnet18", in_channels=1, n_classes=2, state=None,
        nms_iou=1.0, score_threshold=0.0, max_detections=10_000,
    )  # fmt: skip


def test_the_pair_is_built_by_name():
    assert isinstance(build("fast_rcnn"), FastRCNN)
    assert isinstance(build("rcnn"), RCNN)
    assert build("fast_rcnn").size_divisor == 16
    assert build("rcnn").size_divisor == 1
