"""Settings of the image-text encoders."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tasutils.config import PLAIN, ComputeConfig, EncoderSettings, Template

if TYPE_CHECKING:
    from tasutils.encoders import ImageTextEncoder


class EncoderConfig(EncoderSettings):
    """Image-text encoder of open_clip; refer() puts the sentence in `template`, nothing is added.

    tokenizer: a vocabulary of our own or, for models whose tokenizer lies on the Hugging Face hub
        (SigLIP), the folder of its files; relative to data/weights. None: the model's own.
    """

    kind: Literal["openclip"] = "openclip"
    model: str
    checkpoint: str | None = None
    tokenizer: str | None = None

    def make(self, device: str = "cpu", compute: ComputeConfig = PLAIN) -> "ImageTextEncoder":
        """See `encoders.openclip.OpenClipEncoder`."""
        from tasutils.encoders.openclip import OpenClipEncoder

        return OpenClipEncoder(self, device, compute)


class AlignConfig(EncoderSettings):
    """ALIGN; `checkpoint` is a folder as written by save_pretrained, see `encoders.align`."""

    kind: Literal["align"] = "align"
    checkpoint: str

    def make(self, device: str = "cpu", compute: ComputeConfig = PLAIN) -> "ImageTextEncoder":
        """See `encoders.align.AlignEncoder`."""
        from tasutils.encoders.align import AlignEncoder

        return AlignEncoder(self, device, compute)


class AlbefConfig(EncoderSettings):
    """ALBEF, see `encoders.albef`; images are seen at `image_size` px, a multiple of the patch.

    checkpoint: ALBEF.pth (trained at 256 px), mscoco.pth or flickr30k.pth (384 px).
    tokenizer: folder with the files of bert-base-uncased's tokenizer.
    """

    kind: Literal["albef"] = "albef"
    checkpoint: str
    tokenizer: str
    image_size: int = Field(default=384, ge=16, multiple_of=16)

    def make(self, device: str = "cpu", compute: ComputeConfig = PLAIN) -> "ImageTextEncoder":
        """See `encoders.albef.AlbefEncoder`."""
        from tasutils.encoders.albef import AlbefEncoder

        return AlbefEncoder(self, device, compute)


class ConseConfig(EncoderSettings):
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

    def make(self, device: str = "cpu", compute: ComputeConfig = PLAIN) -> "ImageTextEncoder":
        """See `encoders.conse.ConseEncoder`."""
        from tasutils.encoders.conse import ConseEncoder

        return ConseEncoder(self, device, compute)
