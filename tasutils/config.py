"""Presets: complete, named, frozen configurations; each published constant with its source."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tasutils.errors import TasError
from tasutils.paths import content_digest, weights_path

DESCRIBE_VERSION = 1  # raise it when describe() changes its result for the same configuration
_PROSE = ("name", "description", "sources", "assumed")
_DESCRIBE_PARTS = ("proposals", "overlap", "crop", "encoder", "captioner")


# a text with one gap, e.g. "a photo of {}"
Template = Annotated[str, Field(pattern=r"^[^{}]*\{\}[^{}]*$")]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ProposalConfig(_Part):
    """SAM's automatic mask generator; `checkpoint` is absolute or relative to data/weights."""

    kind: Literal["sam"] = "sam"
    size: Literal["tiny", "vit_b", "vit_l", "vit_h"]
    checkpoint: str | None = None
    points_per_side: int = Field(ge=1)
    points_per_batch: int = Field(default=64, ge=1)
    pred_iou_thresh: float
    stability_score_thresh: float
    stability_score_offset: float = 1.0
    box_nms_thresh: float = Field(default=0.7, ge=0, le=1)
    crop_n_layers: int = Field(default=0, ge=0)
    min_mask_region_area: int = Field(default=0, ge=0)


class OverlapConfig(_Part):
    """Filter after SAM, see `masks.overlap_filter`; `max_overlap` None: no rule for pairs."""

    min_area_px: int = Field(default=0, ge=0)
    max_overlap: float | None = Field(default=None, ge=0, le=1)


class CropConfig(_Part):
    """How a mask is cut out, see `crops.masked_crops`; `blur_kernel_px` counts picture pixels."""

    fill: Literal["black", "blur", "mean"] = "black"
    pad_square: bool = True
    blur_kernel_px: int = Field(default=75, ge=1)

    @model_validator(mode="after")
    def _odd_kernel(self) -> Self:
        if self.blur_kernel_px % 2 == 0:
            raise ValueError(f"blur_kernel_px must be odd, not {self.blur_kernel_px}")
        return self


class EncoderConfig(_Part):
    """Image-text encoder; refer() puts the sentence in `template`, the encoder adds nothing.

    `tokenizer` names a vocabulary of our own (relative to data/weights); None: the model's own.
    """

    kind: Literal["openclip"] = "openclip"
    model: str
    checkpoint: str | None = None
    tokenizer: str | None = None
    template: Template = "{}"


class CaptionerConfig(_Part):
    """BLIP-2 from a local folder; `crop` is how its input is cut (the article's P-score)."""

    kind: Literal["blip2"] = "blip2"
    checkpoint: str
    crop: CropConfig = CropConfig()
    num_beams: int = Field(default=5, ge=1)
    max_new_tokens: int = Field(default=30, ge=1)
    min_length: int = Field(default=1, ge=0)
    batch_size: int = Field(default=16, ge=1)


class LanguageConfig(_Part):
    """Parsing and negatives; a negative phrase is embedded inside `negative_template`."""

    spacy_model: str = "en_core_web_sm"
    synonym_threshold: float = Field(default=0.9, ge=0, le=1)
    negative_template: Template = "a photo of {}"


class ScoreConfig(_Part):
    """Weights of S = V + alpha P + lambda N; lambda depends on the data set."""

    alpha: float
    lambda_by_dataset: dict[str, float] = {}
    lambda_default: float

    def lambda_for(self, dataset: str | None) -> float:
        """Lambda of a data set; the default for None and for data sets that are not listed."""
        return self.lambda_by_dataset.get(dataset or "", self.lambda_default)


class RectifierConfig(_Part):
    """Direction words: the article's four, the extended list, or no rectifier at all."""

    form: Literal["paper", "extended", "none"] = "extended"


class Preset(_Part):
    """A complete configuration; `sources` and `assumed` tell where each dotted field is from."""

    name: str
    description: str
    proposals: ProposalConfig
    overlap: OverlapConfig
    crop: CropConfig
    encoder: EncoderConfig
    captioner: CaptionerConfig
    language: LanguageConfig
    scores: ScoreConfig
    rectifier: RectifierConfig
    sources: dict[str, str] = {}
    assumed: list[str] = []

    @model_validator(mode="after")
    def _known_fields(self) -> Self:
        known = set(self.leaves())
        strays = sorted((set(self.sources) | set(self.assumed)) - known)
        if strays:
            raise ValueError(f"sources or assumed name no field of the preset: {strays}")
        return self

    def leaves(self) -> dict[str, Any]:
        """Every setting by its dotted name, e.g. {"scores.alpha": 0.1}; prose left out."""
        return dict(_flatten(self.model_dump(exclude=set(_PROSE))))

    def digest(self) -> str:
        """SHA-256 (hex) of the settings as canonical JSON; name and prose do not count."""
        return _sha256(self.model_dump(exclude=set(_PROSE)))

    def weight_paths(self) -> dict[str, Path]:
        """Dotted field -> absolute path of each file or folder of weights that is named."""
        named = {
            "proposals.checkpoint": self.proposals.checkpoint,
            "encoder.checkpoint": self.encoder.checkpoint,
            "encoder.tokenizer": self.encoder.tokenizer,
            "captioner.checkpoint": self.captioner.checkpoint,
        }
        return {field: weights_path(name) for field, name in named.items() if name is not None}

    def weight_digests(self) -> dict[str, str]:
        """Dotted field -> SHA-256 of the file or folder it names ("missing" when absent)."""
        return {field: content_digest(path) for field, path in self.weight_paths().items()}

    def describe_digest(self) -> str:
        """SHA-256 (hex) of all that describe() depends on, the contents of the weights included."""
        parts: dict[str, Any] = self.model_dump(include=set(_DESCRIBE_PARTS))
        parts["language"] = self.language.model_dump(include={"spacy_model", "negative_template"})
        parts["version"] = DESCRIBE_VERSION
        parts["weights"] = self.weight_digests()
        return _sha256(parts)

    def override(self, changes: Mapping[str, Any]) -> "Preset":
        """A copy with some settings changed, e.g. {"scores.alpha": 0.2}.

        The source of a changed setting becomes "override". Raises TasError for an unknown dotted
        name or a value that does not fit.
        """
        data = self.model_dump()
        sources, assumed = dict(self.sources), list(self.assumed)
        for field, value in changes.items():
            *parents, leaf = field.split(".")
            node: Any = data
            for parent in parents:
                node = node.get(parent) if isinstance(node, dict) else None
            known = isinstance(node, dict) and leaf in node
            if not parents or not (known or parents == ["scores", "lambda_by_dataset"]):
                raise TasError(f"preset {self.name} has no setting {field!r}; see `tas presets`")
            node[leaf] = value
            sources = {k: v for k, v in sources.items() if not f"{k}.".startswith(f"{field}.")}
            assumed = [k for k in assumed if not f"{k}.".startswith(f"{field}.")]
            sources |= dict.fromkeys(dict(_flatten({field: value})), "override")
        data |= {"sources": sources, "assumed": assumed}
        return _validated(data, self.name)


def load_preset(name_or_path: str | Path | Preset) -> Preset:
    """A built-in preset by name, or one from a .yaml file; raises TasError when there is none."""
    if isinstance(name_or_path, Preset):
        return name_or_path
    name = str(name_or_path)
    path = Path(name).expanduser()
    if name in preset_names():
        text = (files("tasutils") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
    elif path.suffix in {".yaml", ".yml"} and path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
    else:
        raise TasError(
            f"unknown preset {name!r}; choose one of {', '.join(preset_names())} or a .yaml file"
        )
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise TasError(f"preset {name} is no valid YAML: {' '.join(str(error).split())}") from error
    return _validated(data, name)


def preset_names() -> list[str]:
    """Names of the presets that ship with the package, sorted."""
    folder = files("tasutils") / "presets"
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".yaml"))


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
