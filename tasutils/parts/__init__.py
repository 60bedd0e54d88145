"""The parts of a preset: what each room of the pipeline can be told."""

from tasutils.parts.base import Part, Template
from tasutils.parts.compute import PLAIN, ComputeConfig, Precision
from tasutils.parts.masks import (
    FreeConfig,
    FreeSoloConfig,
    MergeConfig,
    OverlapConfig,
    SamConfig,
    UnionConfig,
)
from tasutils.parts.networks import (
    AlbefConfig,
    AlignConfig,
    CaptionerConfig,
    ComposedConfig,
    ConseConfig,
    CropConfig,
    EncoderConfig,
)
from tasutils.parts.reading import LanguageConfig, MetricConfig, RectifierConfig, ScoreConfig

__all__ = [
    "PLAIN",
    "AlbefConfig",
    "AlignConfig",
    "CaptionerConfig",
    "ComposedConfig",
    "ComputeConfig",
    "ConseConfig",
    "CropConfig",
    "EncoderConfig",
    "FreeConfig",
    "FreeSoloConfig",
    "LanguageConfig",
    "MergeConfig",
    "MetricConfig",
    "OverlapConfig",
    "Part",
    "Precision",
    "RectifierConfig",
    "SamConfig",
    "ScoreConfig",
    "Template",
    "UnionConfig",
]
