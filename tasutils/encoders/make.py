"""An image-text encoder from its settings."""

from tasutils.encoders import ImageTextEncoder
from tasutils.parts import (
    PLAIN,
    AlbefConfig,
    AlignConfig,
    ComputeConfig,
    ConseConfig,
    EncoderConfig,
)


def make_encoder(
    config: EncoderConfig | ConseConfig | AlignConfig | AlbefConfig,
    device: str = "cpu",
    compute: ComputeConfig = PLAIN,
) -> ImageTextEncoder:
    """The encoder that `config.kind` names, on `device`.

    Raises TasError when its weights are missing, damaged or of another model.
    """
    if config.kind == "conse":
        from tasutils.encoders.conse import ConseEncoder

        return ConseEncoder(config, device, compute)
    if config.kind == "align":
        from tasutils.encoders.align import AlignEncoder

        return AlignEncoder(config, device, compute)
    if config.kind == "albef":
        from tasutils.encoders.albef import AlbefEncoder

        return AlbefEncoder(config, device, compute)
    from tasutils.encoders.openclip import OpenClipEncoder

    return OpenClipEncoder(config, device, compute)
