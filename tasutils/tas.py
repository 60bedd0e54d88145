"""load(): a preset made into a working `TAS`, its parts built only when first needed."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.config import Preset, load_preset
from tasutils.errors import TasError
from tasutils.images import read_image
from tasutils.models import remedy

if TYPE_CHECKING:
    from tasutils.captioners import Captioner
    from tasutils.encoders import ImageTextEncoder
    from tasutils.language.parse import Parser
    from tasutils.proposals import Proposer
    from tasutils.refer import TasAnswer
    from tasutils.scene import Scene

Picture = Any  # what read_image takes: a path, a PIL picture or an array


class TAS:
    """A preset with its four parts; describe() an image once, refer() to it many times.

    A part that is None is built from the preset on first use, so that refer() over a stored scene
    loads neither SAM nor BLIP-2. device: "cpu", "cuda:1", ...; None takes CUDA when there is one.
    """

    def __init__(
        self,
        preset: Preset,
        proposer: "Proposer | None" = None,
        encoder: "ImageTextEncoder | None" = None,
        captioner: "Captioner | None" = None,
        language: "Parser | None" = None,
        device: str | None = None,
    ) -> None:
        self.preset, self.wanted_device = preset, device
        parts = {
            "proposer": proposer, "encoder": encoder, "captioner": captioner, "language": language,
        }  # fmt: skip
        self._given: dict[str, Any] = {k: part for k, part in parts.items() if part is not None}
        # a cached_property yields to an entry of its name in the instance's __dict__
        self.__dict__.update(self._given)

    def unbuilt(self, device: str | None = None) -> "TAS":
        """The same preset and given parts, for `device`, without what was built from the preset."""
        return TAS(self.preset, **self._given, device=device)

    @cached_property
    def device(self) -> str:
        """Where the networks run."""
        return pick_device(self.wanted_device)

    @cached_property
    def proposer(self) -> "Proposer":
        """The preset's maker of masks with its overlap filter."""
        return self._made("proposals", self.preset.overlap)

    @cached_property
    def encoder(self) -> "ImageTextEncoder":
        """The preset's image-text encoder."""
        return self._made("encoder")

    @cached_property
    def peer_encoder(self) -> "ImageTextEncoder":
        """The preset's second encoder, which only peers use; raises TasError if it has none."""
        if self.preset.peer_encoder is None:
            raise TasError(f"preset {self.preset.name} has no peer_encoder; name one in it")
        return self._made("peer_encoder")

    @cached_property
    def captioner(self) -> "Captioner":
        """The preset's captioner."""
        return self._made("captioner")

    def _made(self, part: str, *given: Any) -> Any:
        try:
            return getattr(self.preset, part).make(*given, self.device, self.preset.compute)
        except TasError:  # a hub name has no folder of ours, so look only when loading failed
            require_weights(self.preset, f"{part}.")
            raise

    @cached_property
    def language(self) -> "Parser":
        """The parser of captions and sentences."""
        from tasutils.language.parse import Parser

        return Parser(self.preset.language.spacy_model)

    def describe(self, image: Picture, image_id: str = "", masks: Any = None) -> "Scene":
        """The scene of a picture (path, PIL picture or array, see `images.read_image`).

        masks: bool (n, H, W) of one's own, in place of the proposer's.
        """
        if masks is None:
            return self.describe_all([image], [image_id])[0]
        own = TAS(self.preset, lambda _: masks, self.encoder, self.captioner, self.language)
        return own.describe_all([image], [image_id])[0]

    def describe_all(
        self, images: Sequence[Picture], image_ids: Sequence[str] = ()
    ) -> "list[Scene]":
        """The scenes of several pictures, the networks' work done together; see `describe_all`."""
        from tasutils.describe import describe_all

        names = ("proposer", "encoder", "captioner", "language", "preset")
        parts: Any = {name: getattr(self, name) for name in names}
        return describe_all([read_image(i) for i in images], image_ids=image_ids, **parts)

    def refer(
        self,
        scene: "Scene",
        sentence: str,
        dataset: str | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> "TasAnswer":
        """The answer to one sentence; `dataset` picks the weights, `weights` overrides some."""
        from tasutils.refer import refer

        return refer(scene, sentence, self.encoder, self.language, self.preset, dataset, weights)

    def segment(self, image: Picture, sentence: str) -> "TasAnswer":
        """describe() and refer() in one go."""
        return self.refer(self.describe(image), sentence)


def load(preset: str | Path | Preset = "tiny", device: str | None = None, **parts: Any) -> TAS:
    """A `TAS` of a preset (name, .yaml file or `Preset`); raises TasError for unknown ones.

    parts: a proposer, encoder, captioner or language of one's own, see `TAS`.
    """
    if device is not None:
        device = pick_device(device)
    return TAS(load_preset(preset), device=device, **parts)


def segment(
    image: Picture, sentence: str, preset: str | Path | Preset | None = None
) -> "TasAnswer":
    """The answer for one picture and one sentence; for several, use load() and keep the scene.

    Without a preset, `preset_for` picks one.
    """
    pixels = read_image(image)
    return load(preset_for(pixels) if preset is None else preset).segment(pixels, sentence)


def preset_for(pixels: NDArray[np.uint8]) -> str:
    """`tiny` for uint8 (240, 320, 3), the size of every scene of RefScenes, else `photo`."""
    return "tiny" if pixels.shape[:2] == (240, 320) else "photo"


def pick_device(name: str | None) -> str:
    """A usable torch device; None is "cuda" if there is one, else "cpu". Raises TasError."""
    import torch

    if name is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except Exception as error:  # torch raises a different type for every backend
        usable = "cpu or cuda" if torch.cuda.is_available() else "cpu"
        raise TasError(f"device {name!r} cannot be used here; choose {usable}") from error
    if device.type == "meta":
        raise TasError("device 'meta' holds no numbers; choose cpu")
    return str(device)


def require_weights(preset: Preset, part: str) -> None:
    """Raise TasError if a file that the preset names under `part` ("encoder.", ...) is missing."""
    for field, path in preset.weight_paths().items():
        if field.startswith(part) and not path.exists():
            source = preset.sources.get(field)
            what = f" ({source})" if source else ""
            raise TasError(f"preset {preset.name}: {field} is not at {path}{what}; {remedy(path)}")
