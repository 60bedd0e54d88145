"""TSEG: patches assigned to expressions by a network that learned from pictures and sentences."""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from tasutils.baselines.activation import Activation
from tasutils.baselines.memory import Latest
from tasutils.baselines.square import over_picture
from tasutils.baselines.towers import encoder_name, tower_kind
from tasutils.baselines.tseg_net import assign, build_tseg, tiny_maps
from tasutils.checkpoints import load_strict, read_state_dict
from tasutils.encoders import ImageTextEncoder
from tasutils.errors import TasError
from tasutils.parts import Part
from tasutils.paths import weights_path

if TYPE_CHECKING:
    from tasutils.expression import Expression


class TsegConfig(Part):
    """Settings of TSEG.

    checkpoint: TSEG's own parts, relative to data/weights; None gives random weights.
    """

    checkpoint: str | None = "tiny/tseg.safetensors"


class Tseg(Activation):
    """Which share of each patch belongs to the sentence and not to "none", learned without masks.

    The map is absolute: where the sentence names nothing of the picture it is low everywhere, so it
    is not stretched. It knows what is there, not where: see the card of the weights for what an
    image-level sentence cannot teach. Source: Strudel, Laptev, Schmid (arXiv 2205.04725); the parts
    that the abstract leaves open are described in `tseg_net`.

    Args:
        encoder: tiny-RN, whose frozen towers the weights ride on.

    Raises TasError for another encoder and for missing, damaged or unfit weights.
    """

    def __init__(
        self, encoder: ImageTextEncoder, config: TsegConfig | None = None, name: str = "tseg"
    ) -> None:
        self.config = config or TsegConfig()
        super().__init__(name, encoder, self.config)
        self._tower: Any = _tower(encoder, name)
        self.net = build_tseg("tiny")
        if self.config.checkpoint is not None:
            state = read_state_dict(weights_path(self.config.checkpoint))
            load_strict(self.net, state, self.config.checkpoint)
        self.net.eval().to(encoder.device)
        self._patches = Latest(self._tokens)

    def heatmap(self, image: NDArray[np.uint8], expression: "Expression") -> NDArray[np.float32]:
        """Share of each pixel that belongs to the sentence, float32 (H, W) in 0..1."""
        with torch.inference_mode():
            text = torch.from_numpy(self._texts(expression)).to(self.encoder.device)
            margins = self.net.margins(self._patches(image), self.net.texts(text[None]))
            grid = assign(margins)[0, ..., 0]
        large = over_picture(grid, (image.shape[0], image.shape[1]))
        return large.clip(0, 1)  # bilinear weights may sum to a little more than one

    def _tokens(self, image: NDArray[np.uint8]) -> torch.Tensor:
        """Patch tokens (1, h, w, width) of a picture."""
        with torch.inference_mode():
            pictures = torch.from_numpy(image[None].copy()).to(self.encoder.device)
            return self.net.patches(*tiny_maps(self._tower, pictures))


def _tower(encoder: ImageTextEncoder, name: str) -> Any:
    """The CLIP model of an encoder; TasError unless its maps are as wide as tiny-RN's."""
    model: Any = getattr(encoder, "model", None)
    if tower_kind(encoder) == "resnet":
        visual = model.visual
        if (visual.attnpool.c_proj.out_features, visual.layer4[0].conv1.in_channels) == (128, 256):
            return model
    raise TasError(
        f"{name} cannot use encoder {encoder_name(encoder)}; its weights ride on tiny-RN; give it "
        "that as encoder or peer_encoder of the preset"
    )
