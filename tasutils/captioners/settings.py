"""Settings of the captioners."""

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from tasutils.config import PLAIN, CaptionerSettings, ComputeConfig

if TYPE_CHECKING:
    from tasutils.captioners import Captioner


class CaptionerConfig(CaptionerSettings):
    """An image-to-text model from a local folder; `crop` is how its input is cut (the P-score)."""

    kind: Literal["image_to_text"] = "image_to_text"
    checkpoint: str
    num_beams: int = Field(default=5, ge=1)
    max_new_tokens: int = Field(default=30, ge=1)
    min_length: int = Field(default=1, ge=0)

    def make(self, device: str = "cpu", compute: ComputeConfig = PLAIN) -> "Captioner":
        """See `captioners.image_to_text.ImageToTextCaptioner`."""
        from tasutils.captioners.image_to_text import ImageToTextCaptioner

        return ImageToTextCaptioner(self, device, compute)


class ComposedConfig(CaptionerSettings):
    """Captions composed from the classifier's answer and from colours; no language model.

    A thing is called by its class when that is likelier than `least_class`, else by the narrowest
    everyday word that is likelier than `least_word`; a colour is named from `least_color` of the
    pixels on. In a whole picture what is named must be likelier than `least_seen`.
    """

    kind: Literal["composed"] = "composed"
    checkpoint: str
    least_class: float = Field(default=0.3, ge=0, le=1)
    least_word: float = Field(default=0.4, ge=0, le=1)
    least_color: float = Field(default=0.5, gt=0, le=1)
    least_seen: float = Field(default=0.4, ge=0, le=1)

    def make(self, device: str = "cpu", compute: ComputeConfig = PLAIN) -> "Captioner":
        """See `captioners.composed.ComposedCaptioner`."""
        from tasutils.captioners.composed import ComposedCaptioner

        return ComposedCaptioner(self, device, compute)
