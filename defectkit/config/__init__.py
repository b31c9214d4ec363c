"""The configuration of a training run: its settings, and how they are read and written."""

from defectkit.config.architectures import ARCHITECTURES, WITHOUT_ENCODER, Architecture
from defectkit.config.load import flatten_settings, load_config, make_config
from defectkit.config.reference import reference
from defectkit.config.save import dump_config, save_config
from defectkit.config.sections import (
    AugmentConfig,
    BoxConfig,
    Config,
    DataConfig,
    InferConfig,
    LossConfig,
    ModelConfig,
    PatchConfig,
    TrainConfig,
)

__all__ = [
    "ARCHITECTURES",
    "WITHOUT_ENCODER",
    "Architecture",
    "AugmentConfig",
    "BoxConfig",
    "Config",
    "DataConfig",
    "InferConfig",
    "LossConfig",
    "ModelConfig",
    "PatchConfig",
    "TrainConfig",
    "dump_config",
    "flatten_settings",
    "load_config",
    "make_config",
    "reference",
    "save_config",
]
