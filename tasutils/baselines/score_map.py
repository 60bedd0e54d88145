"""Score Map: the cosine of every place of a picture with the sentence."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from tasutils.baselines import Image, Map, base
from tasutils.config import Part
from tasutils.encoders import dense
from tasutils.refer import Expression


class ScoreMapConfig(Part):
    """Switches of Score Map.

    bias_seed: None: the biases of attnpool's projections are the model's own. A number: they are
        drawn at random by this seed, as torch draws those of a new layer; the code of Global-Local
        copies the weights alone. Only with a ResNet.
    """

    square: base.SquareConfig = base.SquareConfig()
    bias_seed: int | None = None


class ScoreMap(base.Activation):
    """Dense features against the text; an encoder with `encode_dense` is needed.

    With CLIP's ResNet: layer4 through attnpool's v_proj and c_proj as 1 x 1 convolutions, L2 over
    the channels, dot the normalised text, bilinear to (H, W), min-max. Of other encoders the dense
    features are theirs, see `encoders.openclip`. Source: Zhou et al. (arXiv 2112.01071), as a
    baseline in Yu, Seo, Son (CVPR 2023).

    Raises TasError for an encoder without dense features.
    """

    Config, prefers, name = ScoreMapConfig, "resnet", "score_map"

    def _setup(self) -> None:
        dense(self.encoder)
        if self.config.bias_seed is not None:
            base.require_tower(self.encoder, "resnet", f"{self.name} with bias_seed")
        self._places = base.Latest(self._features)

    def heatmap(self, image: Image, expression: Expression | str) -> Map:
        """Cosines of the places with the sentence, float32 (H, W) stretched to 0..1."""
        cosines = self._places(image) @ torch.from_numpy(self.texts(expression))  # (h, w)
        return base.min_max(torch.from_numpy(base.over_picture(cosines, image.shape))).numpy()

    def _features(self, image: Image) -> torch.Tensor:
        """Unit features of the places, float32 (h, w, d) on the CPU."""
        crops = base.square_picture(image, self.encoder, self.config.square)
        if self.config.bias_seed is None:
            return torch.from_numpy(self.encoder.encode_dense(crops)[0])
        generator = torch.Generator().manual_seed(self.config.bias_seed)
        visual = self.encoder.model.visual
        with torch.inference_mode():
            x = base.resnet_map(visual, self.encoder.pixel_values(crops))[0].permute(1, 2, 0)
            for layer in (visual.attnpool.v_proj, visual.attnpool.c_proj):
                draws = torch.rand(layer.out_features, generator=generator)
                bias = ((2 * draws - 1) * layer.in_features**-0.5).to(x)
                x = F.linear(x, layer.weight, bias)
            return F.normalize(x, dim=-1).cpu().clone()
