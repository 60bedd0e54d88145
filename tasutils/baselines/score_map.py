"""Score Map: the cosine of every place of a picture with the sentence."""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.baselines.activation import Activation
from tasutils.baselines.memory import Latest
from tasutils.baselines.square import SquareConfig, min_max, over_picture, square_picture
from tasutils.baselines.towers import require_tower, resnet_map
from tasutils.encoders import ImageTextEncoder, dense
from tasutils.parts import Part

if TYPE_CHECKING:
    import torch

    from tasutils.expression import Expression


class ScoreMapConfig(Part):
    """Switches of Score Map.

    bias_seed: None: the biases of attnpool's projections are the model's own. A number: they are
        drawn at random by this seed, as torch draws those of a new layer; the code of Global-Local
        copies the weights alone. Only with a ResNet.
    """

    square: SquareConfig = SquareConfig()
    bias_seed: int | None = None


class ScoreMap(Activation):
    """Dense features against the text; an encoder with `encode_dense` is needed.

    With CLIP's ResNet: layer4 through attnpool's v_proj and c_proj as 1 x 1 convolutions, L2 over
    the channels, dot the normalised text, bilinear to (H, W), min-max. Of other encoders the dense
    features are theirs, see `encoders.places`. Source: Zhou et al. (arXiv 2112.01071), as a
    baseline in Yu, Seo, Son (CVPR 2023).

    Raises TasError for an encoder without dense features.
    """

    def __init__(
        self,
        encoder: ImageTextEncoder,
        config: ScoreMapConfig | None = None,
        name: str = "score_map",
    ) -> None:
        self.config = config or ScoreMapConfig()
        super().__init__(name, encoder, self.config)
        self._encoder: Any = dense(encoder)
        if self.config.bias_seed is not None:
            require_tower(encoder, "resnet", f"{name} with bias_seed")
        self._places = Latest(self._features)

    def heatmap(self, image: NDArray[np.uint8], expression: "Expression") -> NDArray[np.float32]:
        """Cosines of the places with the sentence, float32 (H, W) stretched to 0..1."""
        import torch

        cosines = self._places(image) @ torch.from_numpy(self._texts(expression))  # (h, w)
        large = over_picture(cosines, (image.shape[0], image.shape[1]))
        return min_max(torch.from_numpy(large)).numpy()

    def _features(self, image: NDArray[np.uint8]) -> "torch.Tensor":
        """Unit features of the places, float32 (h, w, d) on the CPU."""
        import torch

        crops = square_picture(image, self.encoder, self.config.square)
        if self.config.bias_seed is None:
            return torch.from_numpy(self._encoder.encode_dense(crops)[0])
        return self._with_random_biases(crops, self.config.bias_seed)

    def _with_random_biases(self, crops: "torch.Tensor", seed: int) -> "torch.Tensor":
        import torch
        from torch.nn import functional

        generator = torch.Generator().manual_seed(seed)
        visual = self._encoder.model.visual
        with torch.inference_mode():
            x = resnet_map(visual, self._encoder.pixel_values(crops))[0].permute(1, 2, 0)
            for layer in (visual.attnpool.v_proj, visual.attnpool.c_proj):
                bound = layer.in_features**-0.5
                draws = torch.rand(layer.out_features, generator=generator)
                bias = ((2 * draws - 1) * bound).to(x)
                x = functional.linear(x, layer.weight, bias)
            return functional.normalize(x, dim=-1).cpu().clone()
