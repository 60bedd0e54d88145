"""An image-text encoder from its settings."""

from tasutils.encoders import ImageTextEncoder
from tasutils.parts import AlbefConfig, AlignConfig, ConseConfig, EncoderConfig


def make_encoder(
    config: EncoderConfig | ConseConfig | AlignConfig | AlbefConfig, device: str = "cpu"
) -> ImageTextEncoder:
    """The encoder that `config.kind` names, on `device`.

    Raises TasError when its weights are missing, damaged or of another model.
    """
    if config.kind == "conse":
        from tasutils.encoders.conse import ConseEncoder

        return ConseEncoder(config, device)
    if config.kind == "align":
        from tasutils.encoders.align import AlignEncoder

        return AlignEncoder(config, device)
    if config.kind == "albef":
        from tasutils.encoders.albef import AlbefEncoder

        return AlbefEncoder(config, device)
    from tasutils.encoders.openclip import OpenClipEncoder

    return OpenClipEncoder(config, device)
