"""Settings of crops, image-text encoders and captioners."""

from typing import Literal, Self

from pydantic import Field, model_validator

from tasutils.parts.base import Part, Template


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


class EncoderConfig(Part):
    """Image-text encoder of open_clip; refer() puts the sentence in `template`, nothing is added.

    tokenizer: a vocabulary of our own or, for models whose tokenizer lies on the Hugging Face hub
        (SigLIP), the folder of its files; relative to data/weights. None: the model's own.
    """

    kind: Literal["openclip"] = "openclip"
    model: str
    checkpoint: str | None = None
    tokenizer: str | None = None
    template: Template = "{}"


class AlignConfig(Part):
    """ALIGN; `checkpoint` is a folder as written by save_pretrained, see `encoders.align`."""

    kind: Literal["align"] = "align"
    checkpoint: str
    template: Template = "{}"


class AlbefConfig(Part):
    """ALBEF, see `encoders.albef`; images are seen at `image_size` px, a multiple of the patch.

    checkpoint: ALBEF.pth (trained at 256 px), mscoco.pth or flickr30k.pth (384 px).
    tokenizer: folder with the files of bert-base-uncased's tokenizer.
    """

    kind: Literal["albef"] = "albef"
    checkpoint: str
    tokenizer: str
    image_size: int = Field(default=384, ge=16, multiple_of=16)
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
    """An image-to-text model from a local folder; `crop` is how its input is cut (the P-score)."""

    kind: Literal["image_to_text"] = "image_to_text"
    checkpoint: str
    crop: CropConfig = CropConfig()
    num_beams: int = Field(default=5, ge=1)
    max_new_tokens: int = Field(default=30, ge=1)
    min_length: int = Field(default=1, ge=0)


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
