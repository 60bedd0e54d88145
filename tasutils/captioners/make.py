"""A captioner from its settings."""

from tasutils.captioners import Captioner
from tasutils.parts import PLAIN, CaptionerConfig, ComposedConfig, ComputeConfig


def make_captioner(
    config: CaptionerConfig | ComposedConfig, device: str = "cpu", compute: ComputeConfig = PLAIN
) -> Captioner:
    """The captioner that `config.kind` names, on `device`.

    Raises TasError when its weights are missing, damaged or of another model.
    """
    if config.kind == "composed":
        from tasutils.captioners.composed import ComposedCaptioner

        return ComposedCaptioner(config, device, compute)
    from tasutils.captioners.image_to_text import ImageToTextCaptioner

    return ImageToTextCaptioner(config, device, compute)
