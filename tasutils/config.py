"""Presets: complete, named, frozen configurations; each published constant with its source.

A variant of a part is looked up by its `kind` in the dict of its door (`lookup`), so that this file
imports none of them.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from pkgutil import resolve_name
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple, Self

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SerializeAsAny,
    ValidationError,
    field_validator,
    model_validator,
)

from tasutils.errors import TasError
from tasutils.paths import content_digest, weights_path

if TYPE_CHECKING:
    from tasutils.captioners import Captioner
    from tasutils.encoders import ImageTextEncoder
    from tasutils.proposals import Proposer

DESCRIBE_VERSION = 3  # raise it when describe() changes its result for the same configuration
_PROSE = ("name", "description", "sources", "assumed", "reasons")
_DESCRIBE_PARTS = ("proposals", "overlap", "crop", "encoder", "captioner")
_DESCRIBE_LANGUAGE = ("spacy_model", "negative_template", "clean_captions", "pronoun_chunks")
_MAX_CHARACTERS = 1 << 16
_TERMS = "tasutils.terms:TERMS"
_WEIGHT_FIELDS = frozenset({"checkpoint", "tokenizer", "text_model"})

# a text with one gap, e.g. "a photo of {}"
Template = Annotated[str, Field(pattern=r"^[^{}]*\{\}[^{}]*$")]
Precision = Literal["float32", "float16", "bfloat16"]


def entries(door: str) -> dict[str, Any]:
    """All of a door, e.g. entries("tasutils.encoders:ENCODERS"): objects, or "module:Name"."""
    home, _, name = door.partition(":")
    found: dict[str, Any] = getattr(import_module(home), name)
    return found


def lookup(door: str, kind: str) -> Any:
    """The entry of a door, e.g. lookup("tasutils.encoders:ENCODERS", "openclip").

    An entry "module:Name" is imported now; so is a `kind` of that form, which names a variant of
    one's own that stands in no door. Raises TasError for any other unknown kind.
    """
    known = entries(door)
    entry = known.get(kind, kind if ":" in kind else None)
    if entry is None:
        name = door.partition(":")[2]
        raise TasError(f"{kind!r} is none of {name}: choose {', '.join(known)}, or module:Name")
    if not isinstance(entry, str):
        return entry
    module, _, attribute = entry.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise TasError(f"{entry} cannot be imported: {error}") from error


def _entry_of(door: str) -> AfterValidator:
    return AfterValidator(lambda kind: kind if lookup(door, kind) else kind)


class Part(BaseModel):
    """A frozen group of settings; a setting it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Variant(Part):
    """Settings of one variant of a door, whose entry this class is; `kind` names it.

    maker: "module:Class", imported by `make`, of what is made of the settings and its arguments.
    """

    kind: str
    maker: ClassVar[str]

    if TYPE_CHECKING:  # each variant has settings of its own

        def __getattr__(self, name: str) -> Any: ...


class ComputeConfig(Part):
    """How the networks run; but for `precision`, no result changes beyond rounding.

    precision: float type of the networks' arithmetic; the captioner's weights are in it, too (but
        for what transformers keeps in float32), of the others what autocast puts into it.
    channels_last: whether the image towers keep their channels innermost in memory.
    compile: whether torch.compile makes the image towers' forward pass.
    *_batch: pictures that are described together; crops and texts at a time through the encoder,
        pictures through the captioner. Each is halved when memory does not suffice.
    """

    precision: Precision = "float32"
    channels_last: bool = False
    compile: bool = False
    image_batch: int = Field(default=8, ge=1)
    crop_batch: int = Field(default=64, ge=1)
    caption_batch: int = Field(default=16, ge=1)
    text_batch: int = Field(default=64, ge=1)


PLAIN = ComputeConfig()


class CropConfig(Part):
    """How a mask is cut out, see `crops.masked_crops`; `blur_kernel_px` counts picture pixels.

    geometry: the mask's `exact` box in an exact square, or the `released` code's, which lacks the
        box's last row and column, and a pixel of the square where the padding is odd.
    resize: `float`: antialiased bicubic to the square; `clip`: Pillow's bicubic on whole numbers of
        the shorter side, then the middle square; `blip`: the same stretched to the square.
    """

    fill: Literal["black", "blur", "mean"] = "black"
    pad_square: bool = True
    blur_kernel_px: int = Field(default=75, ge=1)
    geometry: Literal["exact", "released"] = "exact"
    resize: Literal["float", "clip", "blip"] = "float"

    @model_validator(mode="after")
    def _odd_kernel(self) -> Self:
        if self.blur_kernel_px % 2 == 0:
            raise ValueError(f"blur_kernel_px must be odd, not {self.blur_kernel_px}")
        return self


class OverlapConfig(Part):
    """Filter after SAM, see `masks.overlap_filter`; `max_overlap` None: no rule for pairs.

    greedy: whether a mask that was dropped no longer drops others.
    """

    min_area_px: int = Field(default=0, ge=0)
    max_overlap: float | None = Field(default=None, ge=0, le=1)
    greedy: bool = False


class ProposerSettings(Variant):
    """Base of the settings in `tasutils.proposals.PROPOSERS`."""

    def make(
        self, overlap: OverlapConfig, device: str = "cpu", compute: ComputeConfig = PLAIN
    ) -> Proposer:
        """The maker of masks with its overlap filter; TasError if its weights are missing."""
        return resolve_name(self.maker)(self, overlap, device, compute)  # type: ignore[no-any-return]


class EncoderSettings(Variant):
    """Base of the settings in `tasutils.encoders.ENCODERS`.

    template: what a sentence is put in before it is embedded; nothing else is added.
    """

    template: Template = "{}"

    def make(self, device: str = "cpu", compute: ComputeConfig = PLAIN) -> ImageTextEncoder:
        """The encoder; TasError if its weights are missing, damaged or of another model."""
        return resolve_name(self.maker)(self, device, compute)  # type: ignore[no-any-return]


class CaptionerSettings(Variant):
    """Base of the settings in `tasutils.captioners.CAPTIONERS`; crop: how its input is cut."""

    crop: CropConfig = CropConfig()

    def make(self, device: str = "cpu", compute: ComputeConfig = PLAIN) -> Captioner:
        """The captioner; TasError if its weights are missing, damaged or of another model."""
        return resolve_name(self.maker)(self, device, compute)  # type: ignore[no-any-return]


class LanguageConfig(Part):
    """Parsing and negatives; a negative phrase is embedded inside `negative_template`.

    field: what a data set's sentence is read from: `sent`, its tidied form, or `raw`.
    lowercase: whether the sentence is lower-cased before anything reads it.
    head_rule: how the head phrase is found: by `reading` from left to right (`language.parse`), or
        as the noun chunk of the parse's `root` (`language.released`).
    clean_captions: whether captions lose their stutter, and empty ones score 0; else as generated.
    pronoun_chunks: whether noun chunks led by a pronoun are candidates for negatives.
    synonym_rule: one of `language.SYNONYM_RULES`. `nearest`: any pair of noun senses with path
        similarity >= `synonym_threshold` decides; `three_pairs`: three pairs of senses of any part
        of speech above it do.
    """

    spacy_model: str = "en_core_web_sm"
    field: Literal["sent", "raw"] = "sent"
    lowercase: bool = False
    head_rule: Literal["reading", "root"] = "reading"
    clean_captions: bool = True
    pronoun_chunks: bool = False
    synonym_rule: Annotated[str, _entry_of("tasutils.language:SYNONYM_RULES")] = "nearest"
    synonym_threshold: float = Field(default=0.9, ge=0, le=1)
    negative_template: Template = "a photo of {}"


class RectifierConfig(Part):
    """Which direction words count, when, and where the picture is cut.

    form: one of `rectifier.RECTIFIERS`, words and what they do.
    matching: whether a word counts as a whole `token`, or also inside one ("top" in "laptop").
    gate: whether words count only where the released parser finds either relations or
        superlatives, see `language.released`. Without it, form `official` asks the words alone.
    centers: where a mask is: the `mean` of its pixels, or that rounded down to whole pixels.
    cut: where the picture is divided: at its `middle`, or at the `median` of the centres.
    """

    form: Annotated[str, _entry_of("tasutils.rectifier:RECTIFIERS")] = "extended"
    matching: Literal["token", "substring"] = "token"
    gate: bool = False
    centers: Literal["mean", "floor"] = "mean"
    cut: Literal["middle", "median"] = "middle"


class MetricConfig(Part):
    """How answers are scored: IoU = I / (U + `epsilon`), in px."""

    epsilon: float = Field(default=0.0, ge=0)


class ScoreConfig(Part):
    """What becomes of the terms and of their sum.

    logit_scale: whether each term is multiplied by the encoder's own scale (CLIP: 100).
    normalise: what becomes of the sums S of a sentence; see `terms.min_max_softmax`.
    strict_official: without negatives, and where the sums do not differ, NaN as in the released
        code, so that mask 0 wins; else N is 0, and the first of equal sums wins.
    unsure_below: an answer whose total is lower is told as "not sure"; None: none is.
    """

    logit_scale: bool = False
    normalise: Literal["none", "min_max_softmax"] = "none"
    strict_official: bool = False
    unsure_below: float | None = None


class DecideConfig(Part):
    """How many masks are meant; without this part always one, the best.

    A sentence that speaks of several things ("the cat and all dogs") is asked for each by itself.
    least: a total below which nothing is meant. margin: how far below the best total a mask is
    still meant, where the sentence means every such thing.
    """

    least: float
    margin: float = Field(default=0.0, ge=0)


class TermConfig(Part):
    """A term's weight, one number or one a data set beside a `default`; and its own settings."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)
    weight: float | dict[str, float]

    @field_validator("weight")
    @classmethod
    def _has_default(cls, weight: float | dict[str, float]) -> float | dict[str, float]:
        if isinstance(weight, dict) and "default" not in weight:
            raise ValueError("weights by data set need a default beside them")
        return weight

    def weight_for(self, dataset: str | None) -> float:
        """The weight for a data set; the default for None and for those that are not listed."""
        if not isinstance(self.weight, dict):
            return self.weight
        return self.weight.get(dataset or "", self.weight["default"])


def _variant_of(door: str, base: type[Variant]) -> Any:
    def build(value: Any) -> Variant:
        if isinstance(value, base):
            return value
        if not isinstance(value, Mapping) or not isinstance(value.get("kind"), str):
            raise ValueError("name a kind")
        found = lookup(door, value["kind"])
        if not (isinstance(found, type) and issubclass(found, base)):
            raise ValueError(f"{value['kind']} must derive from {base.__name__}")
        try:
            return found.model_validate(dict(value))
        except ValidationError as error:
            raise ValueError(first_fault(error)) from error

    return BeforeValidator(build)


AnyTerm = Annotated[
    TermConfig, BeforeValidator(lambda v: {"weight": v} if isinstance(v, int | float) else v)
]
AnyProposer = Annotated[
    SerializeAsAny[ProposerSettings], _variant_of("tasutils.proposals:PROPOSERS", ProposerSettings)
]
AnyEncoder = Annotated[
    SerializeAsAny[EncoderSettings], _variant_of("tasutils.encoders:ENCODERS", EncoderSettings)
]
AnyCaptioner = Annotated[
    SerializeAsAny[CaptionerSettings],
    _variant_of("tasutils.captioners:CAPTIONERS", CaptionerSettings),
]


class Preset(Part):
    """A complete configuration; `sources` and `assumed` tell where each dotted field is from.

    terms: the named scores in the sum, see `tasutils.terms`; a number is short for its weight.
    peer_encoder: a second encoder that only the peers of TAS use (`tasutils.baselines`).
    reasons: why a field's value is not the article's, and what that does to the answers.
    """

    name: str
    description: str
    proposals: AnyProposer
    overlap: OverlapConfig
    crop: CropConfig
    encoder: AnyEncoder
    captioner: AnyCaptioner
    language: LanguageConfig
    terms: dict[str, AnyTerm]
    scores: ScoreConfig = ScoreConfig()
    rectifier: RectifierConfig
    decide: DecideConfig | None = Field(default=None, exclude_if=lambda value: value is None)
    metrics: MetricConfig = MetricConfig()
    compute: ComputeConfig = ComputeConfig()
    peer_encoder: AnyEncoder | None = None
    sources: dict[str, str] = {}
    assumed: list[str] = []
    reasons: dict[str, str] = {}
    _folder: str = PrivateAttr(default="")  # of its file, where modules of its own may lie
    _settings: dict[str, Part] = PrivateAttr(default_factory=dict)  # of its terms, made once

    @model_validator(mode="after")
    def _known_fields(self) -> Self:
        known = set(self.leaves())
        strays = sorted((set(self.sources) | set(self.assumed) | set(self.reasons)) - known)
        if strays:
            raise ValueError(f"sources, assumed or reasons name no field of the preset: {strays}")
        for name in self.terms:
            self.term_settings(name)
        return self

    def __reduce__(self) -> Any:
        return _validated, (self.model_dump(), self.name, self._folder)

    def term_settings(self, name: str) -> Part:
        """A term's own settings; raises TasError where there is no such term or setting."""
        if name not in self._settings:
            own = self.terms[name].model_extra if name in self.terms else {}
            try:
                self._settings[name] = lookup(_TERMS, name).settings(**own or {})
            except ValidationError as error:
                fault = f"term {name}: {first_fault(error)}; correct this setting"
                raise TasError(fault) from error
        return self._settings[name]

    def weights(
        self, dataset: str | None = None, changes: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """The weight of each term for a data set, some of them changed, in the order of `TERMS`.

        Raises TasError for a change of a term that there is not.
        """
        order = entries(_TERMS)
        unknown = set(changes or {}) - set(order) - set(self.terms)
        if unknown:
            raise TasError(f"no term {min(unknown)!r}; there are {', '.join(order)}")
        own = {name: term.weight_for(dataset) for name, term in self.terms.items()}
        own |= {name: float(weight) for name, weight in (changes or {}).items()}
        return {name: own[name] for name in [*order, *own] if name in own}

    @property
    def photographs(self) -> bool:
        """Whether it is made for photographs, which its encoder tells, not for RefScenes."""
        return self.encoder.kind == "conse"

    def views(self) -> list[str]:
        """Names of the views of a mask (`crops.VIEWS`) that describe() makes for the terms."""
        wanted = [view for t in self.terms for view in lookup(_TERMS, t).views]
        return list(dict.fromkeys(["crop", *wanted]))

    def leaves(self) -> dict[str, Any]:
        """Every setting by its dotted name, e.g. {"terms.p.weight": 0.1}; prose left out."""
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
        parts["views"] = self.views()
        weights = self.weight_digests().items()
        parts["weights"] = {k: v for k, v in weights if not k.startswith("peer_encoder.")}
        return _sha256(parts)

    def override(self, changes: Mapping[str, Any]) -> Preset:
        """A copy with some settings changed, e.g. {"terms.p.weight": 0.2}.

        A part or a term may be replaced whole, e.g. {"proposals": {"kind": "freesolo", ...}} or
        {"terms.p": 0.2}. The source of a changed setting becomes "override", and the name ends in
        a star. Raises TasError for an unknown dotted name or a value that does not fit.
        """
        data: dict[str, Any] = self.model_dump()
        for field, value in changes.items():
            *parents, leaf = field.split(".")
            node: Any = data
            for parent in parents:
                node = node.get(parent) if isinstance(node, dict) else None
            some = Preset.model_fields if node is data else node  # a part may be absent
            known = isinstance(node, dict) and (leaf in some or parents[:1] == ["terms"])
            if not known or (not parents and (leaf in _PROSE or not isinstance(value, dict))):
                raise TasError(f"preset {self.name} has no setting {field!r}; see `tas presets`")
            node[leaf] = value

        def new(field: str) -> bool:
            return any(f"{field}.".startswith(f"{change}.") for change in changes)

        for told in ("sources", "reasons"):
            data[told] = {field: why for field, why in data[told].items() if not new(field)}
        data["assumed"] = [field for field in data["assumed"] if not new(field)]
        changed = _validated(data, self.name, self._folder)
        if changed.leaves() == self.leaves():
            return self
        overridden = dict.fromkeys(filter(new, changed.leaves()), "override")
        # the star, so that a run of it is never taken for one of the preset itself
        name = self.name.removesuffix("*") + "*"
        sources = changed.sources | overridden
        return changed.model_copy(update={"name": name, "sources": sources})


def leaves_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """`Preset.leaves` of a preset as a run's record holds it, whatever its version knew."""

    def flat(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in node.items():
            if isinstance(value, dict) and value:
                yield from flat(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    return dict(flat({key: value for key, value in config.items() if key not in _PROSE}, ""))


def load_preset(name_or_path: str | Path | Preset) -> Preset:
    """A built-in preset by name, or one from a .yaml file; raises TasError when there is none.

    A `kind: module:Name` of a file is looked for in the folder of the file, too. With `extends`
    (a name or a file) a preset says only what differs.
    """
    if isinstance(name_or_path, Preset):
        return name_or_path
    name = str(name_or_path)
    if name in preset_names():
        text = (files("tasutils") / "presets" / f"{name}.yaml").read_text(encoding="utf-8")
        return _validated(yaml.safe_load(text), name)
    path = Path(name).expanduser()
    if name.endswith((".yaml", ".yml")) and path.is_file():
        text = path.read_text(encoding="utf-8", errors="replace")
        if len(text) > _MAX_CHARACTERS:
            raise TasError(f"preset {path} is longer than any preset; name another file")
        try:
            data = yaml.safe_load(text)
        except Exception as error:  # dates, numbers, nesting that are none raise half a dozen types
            fault = " ".join(str(error).split()) or type(error).__name__
            raise TasError(f"preset {path} is no valid YAML: {fault}") from error
        return _validated(data, name, str(path.resolve().parent))
    raise TasError(
        f"unknown preset {name!r}; choose one of {', '.join(preset_names())} or a .yaml file"
    )


def preset_names() -> list[str]:
    """Names of the presets that ship with the package, sorted."""
    folder = files("tasutils") / "presets"
    return sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".yaml"))


class Difference(NamedTuple):
    """A setting by its dotted name, its two values ("-" for one that is not there), and why."""

    name: str
    first: Any
    second: Any
    why: list[str]


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[Difference]:
    """Settings with different values; one, other: `Preset.model_dump()`, or a run's config.

    Each comes with the reason that one of the presets gives, or with where its values are from.
    """
    first, second = leaves_of(one), leaves_of(other)
    names = dict.fromkeys([*first, *second])
    rows = [(name, first.get(name, "-"), second.get(name, "-")) for name in names]
    return [Difference(*row, _notes(one, other, row[0])) for row in rows if row[1] != row[2]]


def difference_lines(rows: list[Difference], names: tuple[str, str]) -> list[str]:
    """Differences as aligned lines, each with its reasons below; names: of the two presets."""
    cells = [("setting", *names), *((row.name, str(row.first), str(row.second)) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines: list[str] = []
    above: list[str] = []
    for row, notes in zip(cells, [[], *(row.why for row in rows)], strict=True):
        lines.append("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).strip())
        for note in ["as above"] if notes and notes == above else notes:
            lines.append(fill(note, 110, initial_indent="    ", subsequent_indent="    "))
        above = notes
    return [line if line.isprintable() else str(TasError(line)) for line in lines]


def source_of(preset: Mapping[str, Any], field: str) -> str:
    """Where a setting's value is from; "assumed" where no source states it."""
    source = str(preset.get("sources", {}).get(field, ""))
    if field not in preset.get("assumed", ()):
        return source
    return f"assumed: {source}" if source else "assumed"


def _notes(one: Mapping[str, Any], other: Mapping[str, Any], field: str) -> list[str]:
    for preset in (other, one):
        if field in preset.get("reasons", {}):
            return [preset["reasons"][field]]
    told = ((preset["name"], source_of(preset, field)) for preset in (one, other))
    return [f"{name}: {source}" for name, source in told if source]


def _validated(data: Any, name: str, folder: str = "") -> Preset:
    if folder and folder not in sys.path:
        sys.path.append(folder)
    if isinstance(data, dict) and "extends" in data:
        data = _extended(data)
    try:
        preset = Preset.model_validate(data)
    except ValidationError as error:
        raise TasError(f"preset {name}: {first_fault(error)}; correct this setting") from error
    preset._folder = folder
    return preset


def _extended(data: dict[str, Any]) -> dict[str, Any]:
    """A preset's settings from what it says beside those of the preset that it extends."""
    changes: dict[str, Any] = {}
    extended = load_preset(str(data["extends"]))
    there = extended.model_dump()
    for part, value in data.items():
        if part not in {*_PROSE, "extends"}:
            deep = leaves_of({part: value})
            if part == "terms":  # each is whole
                deep = {f"terms.{name}": term for name, term in value.items()}
            whole = f"{part}.kind" in deep or (part in Preset.model_fields and part not in there)
            changes |= {part: value} if whole else deep
    base = extended.override(changes).model_dump()
    prose = {key: data[key] for key in _PROSE if key in data}
    prose["sources"] = base["sources"] | prose.get("sources", {})
    prose["assumed"] = [*base["assumed"], *prose.get("assumed", [])]
    return base | prose


def first_fault(error: ValidationError, whole: str = "preset") -> str:
    """The first thing that is wrong, by its dotted name; whole: how all of it is called."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"])) or whole
    return f"{where}: {first['msg'].removeprefix('Value error, ')}"


def _sha256(data: Any) -> str:
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
