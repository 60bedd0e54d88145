"""Settings of the image-text encoders."""

from pkgutil import resolve_name
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from tasutils.config import PLAIN, ComputeConfig, EncoderSettings, Template

if TYPE_CHECKING:
    from tasutils.encoders import ImageTextEncoder


class _Settings(EncoderSettings):
    maker: ClassVar[str]

    def make(self, device: str = "cpu", compute: ComputeConfig = PLAIN) -> "ImageTextEncoder":
        """The encoder, by the class that `maker` names."""
        return resolve_name(self.maker)(self, device, compute)


class EncoderConfig(_Settings):
    """Image-text encoder of open_clip; refer() puts the sentence in `template`, nothing is added.

    tokenizer: a vocabulary of our own or, for a tokenizer from the Hugging Face hub (SigLIP), the
        folder of its files; relative to data/weights. None: the model's own.
    """

    maker = "tasutils.encoders.openclip:OpenClipEncoder"
    kind: Literal["openclip"] = "openclip"
    model: str
    checkpoint: str | None = None
    tokenizer: str | None = None


class AlignConfig(_Settings):
    """ALIGN; `checkpoint` is a folder as written by save_pretrained, see `encoders.align`."""

    maker = "tasutils.encoders.align:AlignEncoder"
    kind: Literal["align"] = "align"
    checkpoint: str


class AlbefConfig(_Settings):
    """ALBEF, see `encoders.albef`; images are seen at `image_size` px, a multiple of the patch.

    checkpoint: ALBEF.pth (trained at 256 px), mscoco.pth or flickr30k.pth (384 px).
    tokenizer: folder with the files of bert-base-uncased's tokenizer.
    """

    maker = "tasutils.encoders.albef:AlbefEncoder"
    kind: Literal["albef"] = "albef"
    checkpoint: str
    tokenizer: str
    image_size: int = Field(default=384, ge=16, multiple_of=16)


class ConseConfig(_Settings):
    """Image-text encoder of an ImageNet classifier and a sentence encoder, see `encoders.conse`.

    checkpoint, text_model: file of the classifier and folder of the sentence encoder.
    top_k: likeliest classes that are averaged.
    kinds: how many hypernyms follow a class's name in `name_template`.
    color_weight: weight of the colour words read from the pixels; 0 leaves them out.
    """

    maker = "tasutils.encoders.conse:ConseEncoder"
    kind: Literal["conse"] = "conse"
    checkpoint: str
    text_model: str
    top_k: int = Field(default=50, ge=1, le=1000)
    kinds: int = Field(default=2, ge=0)
    color_weight: float = Field(default=0.3, ge=0)
    name_template: Template = "a photo of a {}"
