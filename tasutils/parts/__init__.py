"""The parts of a preset: what each room of the pipeline can be told."""

from tasutils.parts.base import Part, Template
from tasutils.parts.masks import FreeConfig, MergeConfig, OverlapConfig, SamConfig, UnionConfig
from tasutils.parts.networks import (
    CaptionerConfig,
    ComposedConfig,
    ConseConfig,
    CropConfig,
    EncoderConfig,
)
from tasutils.parts.reading import LanguageConfig, RectifierConfig, ScoreConfig

__all__ = [
    "CaptionerConfig",
    "ComposedConfig",
    "ConseConfig",
    "CropConfig",
    "EncoderConfig",
    "FreeConfig",
    "LanguageConfig",
    "MergeConfig",
    "OverlapConfig",
    "Part",
    "RectifierConfig",
    "SamConfig",
    "ScoreConfig",
    "Template",
    "UnionConfig",
]
