"""Settings of crops, image-text encoders and captioners."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tasutils.parts.base import Part, Template


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
