"""Presets: complete, named, frozen configurations; each published constant with its source."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from itertools import accumulate
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import Field, ValidationError, model_validator

from tasutils.errors import TasError
from tasutils.parts import (
    AlbefConfig,
    AlignConfig,
    CaptionerConfig,
    ComposedConfig,
    ComputeConfig,
    ConseConfig,
    CropConfig,
    EncoderConfig,
    FreeSoloConfig,
    LanguageConfig,
    MetricConfig,
    OverlapConfig,
    Part,
    RectifierConfig,
    SamConfig,
    ScoreConfig,
    UnionConfig,
)
from tasutils.paths import content_digest, weights_path

DESCRIBE_VERSION = 2  # raise it when describe() changes its result for the same configuration
_PROSE = ("name", "description", "sources", "assumed", "reasons")
_DESCRIBE_PARTS = ("proposals", "overlap", "crop", "encoder", "captioner")
_DESCRIBE_LANGUAGE = ("spacy_model", "negative_template", "clean_captions", "pronoun_chunks")
_MAX_CHARACTERS, _MAX_BRACKETS = 1 << 16, 50
_WEIGHT_FIELDS = frozenset({"checkpoint", "tokenizer", "text_model"})


class Preset(Part):
    """A complete configuration; `sources` and `assumed` tell where each dotted field is from.

    `peer_encoder` is a second encoder that only the peers of TAS use (`tasutils.baselines`).

    `reasons` tell of a field, for `tas presets diff`, why its value is not the article's and what
    that does to the answers.
    """

    name: str
    description: str
    proposals: Annotated[SamConfig | FreeSoloConfig | UnionConfig, Field(discriminator="kind")]
    overlap: OverlapConfig
    crop: CropConfig
    encoder: Annotated[
        EncoderConfig | ConseConfig | AlignConfig | AlbefConfig, Field(discriminator="kind")
    ]
    captioner: Annotated[CaptionerConfig | ComposedConfig, Field(discriminator="kind")]
    language: LanguageConfig
    scores: ScoreConfig
    rectifier: RectifierConfig
    metrics: MetricConfig = MetricConfig()
    compute: ComputeConfig = ComputeConfig()
    peer_encoder: EncoderConfig | None = None
    sources: dict[str, str] = {}
    assumed: list[str] = []
    reasons: dict[str, str] = {}

    @model_validator(mode="after")
    def _known_fields(self) -> Self:
        known = set(self.leaves())
        strays = sorted((set(self.sources) | set(self.assumed) | set(self.reasons)) - known)
        if strays:
            raise ValueError(f"sources, assumed or reasons name no field of the preset: {strays}")
        return self

    @property
    def photographs(self) -> bool:
        """Whether it is made for photographs, which its encoder tells, not for RefScenes."""
        return self.encoder.kind == "conse"

    def leaves(self) -> dict[str, Any]:
        """Every setting by its dotted name, e.g. {"scores.alpha": 0.1}; prose left out."""
        return leaves_of(self.model_dump())

    def digest(self) -> str:
        """SHA-256 (hex) of the settings as canonical JSON; name and prose do not count."""
        return _sha256(self.model_dump(exclude=set(_PROSE)))

    def weight_paths(self) -> dict[str, Path]:
        """Dotted field -> absolute path of each file or folder of weights that is named."""
        return {
            field: weights_path(value)
            for field, value in self.leaves().items()
            if field.rsplit(".", 1)[-1] in _WEIGHT_FIELDS and value is not None
        }

    def weight_digests(self) -> dict[str, str]:
        """Dotted field -> SHA-256 of the file or folder it names ("missing" when absent)."""
        return {field: content_digest(path) for field, path in self.weight_paths().items()}

    def describe_digest(self) -> str:
        """SHA-256 (hex) of all that describe() depends on, the contents of the weights included."""
        parts: dict[str, Any] = self.model_dump(include=set(_DESCRIBE_PARTS))
        parts["language"] = self.language.model_dump(include=set(_DESCRIBE_LANGUAGE))
        parts["precision"] = self.compute.precision
        parts["version"] = DESCRIBE_VERSION
        weights = self.weight_digests().items()
        parts["weights"] = {k: v for k, v in weights if not k.startswith("peer_encoder.")}
        return _sha256(parts)

    def override(self, changes: Mapping[str, Any]) -> "Preset":
        """A copy with some settings changed, e.g. {"scores.alpha": 0.2}.

        A part may be replaced whole, e.g. {"proposals": {"kind": "freesolo", "size": "tiny"}}.
        The source of a changed setting becomes "override", and the name ends in a star. Raises
        TasError for an unknown dotted name or a value that does not fit.
        """
        data = self.model_dump()
        sources, assumed, reasons = dict(self.sources), list(self.assumed), dict(self.reasons)
        for field, value in changes.items():
            *parents, leaf = field.split(".")
            node: Any = data
            for parent in parents:
                node = node.get(parent) if isinstance(node, dict) else None
            known = isinstance(node, dict) and leaf in node
            known |= parents == ["scores", "lambda_by_dataset"]
            if not parents:
                known &= leaf not in _PROSE and isinstance(value, dict)
            if not known:
                raise TasError(f"preset {self.name} has no setting {field!r}; see `tas presets`")
            node[leaf] = value
            sources = {k: v for k, v in sources.items() if not f"{k}.".startswith(f"{field}.")}
            assumed = [k for k in assumed if not f"{k}.".startswith(f"{field}.")]
            reasons = {k: v for k, v in reasons.items() if not f"{k}.".startswith(f"{field}.")}
            sources |= dict.fromkeys(dict(_flatten({field: value})), "override")
        data |= {"sources": sources, "assumed": assumed, "reasons": reasons}
        changed = _validated(data, self.name)
        if changed.leaves() == self.leaves():
            return changed
        # so that a run of it is never taken for one of the preset itself
        return changed.model_copy(update={"name": self.name.removesuffix("*") + "*"})


def leaves_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """`Preset.leaves` of a preset as a run's record holds it, whatever its version knew."""
    return dict(_flatten({key: value for key, value in config.items() if key not in _PROSE}))


def load_preset(name_or_path: str | Path | Preset) -> Preset:
    """A built-in preset by name, or one from a .yaml file; raises TasError when there is none."""
    if isinstance(name_or_path, Preset):
        return name_or_path
    name = str(name_or_path)
    if name in preset_names():
        text = (files("tasutils") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
        return _validated(yaml.safe_load(text), name)
    if name.endswith((".yaml", ".yml")) and Path(name).expanduser().is_file():
        text = Path(name).expanduser().read_text(encoding="utf-8", errors="replace")
        return _validated(_read_yaml(text, name), name)
    raise TasError(
        f"unknown preset {name!r}; choose one of {', '.join(preset_names())} or a .yaml file"
    )


def preset_names() -> list[str]:
    """Names of the presets that ship with the package, sorted."""
    folder = files("tasutils") / "presets"
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".yaml"))


class _PlainLoader(yaml.SafeLoader):
    """Plain values; an alias of a group of settings, which can nest to any number, is refused."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            name = self.peek_event().anchor
            if isinstance(self.anchors.get(name), yaml.CollectionNode):
                raise yaml.YAMLError(f"*{name} repeats a group of settings; write them out")
        return super().compose_node(parent, index)


def _read_yaml(text: str, name: str) -> Any:
    """The values of a preset's file; TasError unless it is plain YAML of a preset's size."""
    deepest = max(accumulate((c in "[{") - (c in "]}") for c in text), default=0)
    too_much = len(text) > _MAX_CHARACTERS or deepest > _MAX_BRACKETS
    fault = "it is longer, or nested deeper, than any preset" if too_much else ""
    try:
        if not fault:
            return yaml.load(text, _PlainLoader)
    except Exception as error:  # dates and numbers that are none raise half a dozen types
        fault = " ".join(str(error).split()) or type(error).__name__
    raise TasError(f"preset {name} is no valid YAML: {fault}")


def _validated(data: Any, name: str) -> Preset:
    try:
        return Preset.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "preset"
        raise TasError(f"preset {name}: {where}: {first['msg']}; correct this setting") from error


def _flatten(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _sha256(data: Any) -> str:
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
