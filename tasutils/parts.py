"""The parts of a preset: what each room of the pipeline can be told."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

# a text with one gap, e.g. "a photo of {}"
Template = Annotated[str, Field(pattern=r"^[^{}]*\{\}[^{}]*$")]


class Part(BaseModel):
    """A frozen group of settings; a setting it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SamConfig(Part):
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


class FreeConfig(Part):
    """Free masks from dense ImageNet features, as FreeSOLO makes them; no mask is learned.

    `stride` and `longest_side_px` set how fine the feature map is, `query_scales` which shares of
    its size it is pooled to for the queries; `sharpen` snaps a mask to superpixels.
    """

    kind: Literal["free"] = "free"
    checkpoint: str
    longest_side_px: int = Field(default=768, ge=32)
    stride: Literal[8, 16, 32] = 32
    query_scales: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        default=(1.0, 0.5), min_length=1
    )
    mask_thresh: float = Field(default=0.6, gt=0, lt=1)
    nms_thresh: float = Field(default=0.7, ge=0, le=1)
    sharpen: bool = True
    max_masks: int = Field(default=60, ge=1)


class MergeConfig(Part):
    """Hierarchical merging of superpixels by colour, texture, size and fill (selective search).

    `scale` and `min_size_px` are felzenszwalb's, at `longest_side_px`; every colour space gives a
    hierarchy of its own.
    """

    kind: Literal["merge"] = "merge"
    longest_side_px: int = Field(default=320, ge=8)
    color_spaces: tuple[Literal["lab", "hsv"], ...] = Field(default=("lab", "hsv"), min_length=1)
    scale: float = Field(default=50, gt=0)
    min_size_px: int = Field(default=40, ge=1)
    nms_thresh: float = Field(default=0.8, ge=0, le=1)
    max_masks: int = Field(default=60, ge=1)


class UnionConfig(Part):
    """Masks of several makers in one list, the later ones' doubles dropped; None leaves one out.

    The makers take turns, each giving its best mask first: sam, merge, free, sam again, and on.
    """

    kind: Literal["union"] = "union"
    sam: SamConfig | None = None
    free: FreeConfig | None = None
    merge: MergeConfig | None = None
    mask_nms_thresh: float = Field(default=0.8, ge=0, le=1)
    max_masks: int = Field(default=60, ge=1)

    @model_validator(mode="after")
    def _not_empty(self) -> Self:
        if self.sam is None and self.free is None and self.merge is None:
            raise ValueError("a union needs at least one of sam, free and merge")
        return self


class OverlapConfig(Part):
    """Filter after SAM, see `masks.overlap_filter`; `max_overlap` None: no rule for pairs."""

    min_area_px: int = Field(default=0, ge=0)
    max_overlap: float | None = Field(default=None, ge=0, le=1)


class CropConfig(Part):
    """How a mask is cut out, see `crops.masked_crops`; `blur_kernel_px` counts picture pixels."""

    fill: Literal["black", "blur", "mean"] = "black"
    pad_square: bool = True
    blur_kernel_px: int = Field(default=75, ge=1)

    @model_validator(mode="after")
    def _odd_kernel(self) -> Self:
        if self.blur_kernel_px % 2 == 0:
            raise ValueError(f"blur_kernel_px must be odd, not {self.blur_kernel_px}")
        return self


class EncoderConfig(Part):
    """Image-text encoder; refer() puts the sentence in `template`, the encoder adds nothing.

    `tokenizer` names a vocabulary of our own (relative to data/weights); None: the model's own.
    """

    kind: Literal["openclip"] = "openclip"
    model: str
    checkpoint: str | None = None
    tokenizer: str | None = None
    template: Template = "{}"


class ConseConfig(Part):
    """Image-text encoder of an ImageNet classifier and a sentence encoder, see `encoders.conse`.

    checkpoint, text_model: file of the classifier and folder of the sentence encoder.
    top_k: likeliest classes that are averaged.
    kinds: how many hypernyms follow a class's name in `name_template`.
    color_weight: weight of the colour words read from the pixels; 0 leaves them out.
    """

    kind: Literal["conse"] = "conse"
    checkpoint: str
    text_model: str
    top_k: int = Field(default=50, ge=1, le=1000)
    kinds: int = Field(default=2, ge=0)
    color_weight: float = Field(default=0.3, ge=0)
    name_template: Template = "a photo of a {}"
    template: Template = "{}"


class CaptionerConfig(Part):
    """BLIP-2 from a local folder; `crop` is how its input is cut (the article's P-score)."""

    kind: Literal["blip2"] = "blip2"
    checkpoint: str
    crop: CropConfig = CropConfig()
    num_beams: int = Field(default=5, ge=1)
    max_new_tokens: int = Field(default=30, ge=1)
    min_length: int = Field(default=1, ge=0)
    batch_size: int = Field(default=16, ge=1)


class ComposedConfig(Part):
    """Captions composed from the classifier's answer and from colours; no language model.

    A thing is called by its class when that is likelier than `least_class`, else by the narrowest
    everyday word that is likelier than `least_word`; a colour is named from `least_color` of the
    pixels on. In a whole picture what is named must be likelier than `least_seen`.
    """

    kind: Literal["composed"] = "composed"
    checkpoint: str
    crop: CropConfig = CropConfig()
    least_class: float = Field(default=0.3, ge=0, le=1)
    least_word: float = Field(default=0.4, ge=0, le=1)
    least_color: float = Field(default=0.5, gt=0, le=1)
    least_seen: float = Field(default=0.4, ge=0, le=1)


class LanguageConfig(Part):
    """Parsing and negatives; a negative phrase is embedded inside `negative_template`."""

    spacy_model: str = "en_core_web_sm"
    synonym_threshold: float = Field(default=0.9, ge=0, le=1)
    negative_template: Template = "a photo of {}"


class ScoreConfig(Part):
    """Weights of S = V + alpha P + lambda N; lambda depends on the data set."""

    alpha: float
    lambda_by_dataset: dict[str, float] = {}
    lambda_default: float

    def lambda_for(self, dataset: str | None) -> float:
        """Lambda of a data set; the default for None and for data sets that are not listed."""
        return self.lambda_by_dataset.get(dataset or "", self.lambda_default)


class RectifierConfig(Part):
    """Direction words: the article's four, the extended list, or no rectifier at all."""

    form: Literal["paper", "extended", "none"] = "extended"
