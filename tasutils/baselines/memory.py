"""What a method keeps between calls: the last picture's features, and texts that it has read."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tasutils.errors import TasError

if TYPE_CHECKING:
    from tasutils.expression import Expression
    from tasutils.scene import Scene

T = TypeVar("T")
_MOST_TEXTS = 4096


class Latest(Generic[T]):
    """What was computed of the last picture, or of the last scene with its picture."""

    def __init__(self, compute: Callable[..., T]) -> None:
        self._compute = compute
        self._image: NDArray[np.uint8] | None = None
        self._scene: Scene | None = None
        self._value: T

    def __call__(self, image: NDArray[np.uint8], scene: "Scene | None" = None) -> T:
        """compute(image), or compute(image, scene), made anew only for other ones."""
        known = self._image is not None and scene is self._scene
        if not (known and np.array_equal(image, self._image)):  # type: ignore[arg-type]
            self._value = self._compute(image) if scene is None else self._compute(image, scene)
            self._image, self._scene = image.copy(), scene  # a caller may draw on its array
        return self._value


class Texts:
    """Embeddings of expressions, each text embedded once.

    embed: texts -> float32 (n, d); write: the text of an expression that is embedded.
    """

    def __init__(
        self,
        embed: Callable[[list[str]], NDArray[np.float32]],
        write: "Callable[[Expression], str]",
    ) -> None:
        self._embed, self._write = embed, write
        self._known: dict[str, NDArray[np.float32]] = {}

    def prepare(self, expressions: "Iterable[Expression]") -> None:
        """Embed the texts of several expressions in one batch."""
        wanted = {self._write(expression) for expression in expressions}
        new = sorted(wanted - self._known.keys())
        if len(self._known) + len(new) > _MOST_TEXTS:
            self._known.clear()
            new = sorted(wanted)
        if new:
            self._known.update(zip(new, self._embed(new), strict=True))

    def __call__(self, expression: "Expression") -> NDArray[np.float32]:
        """The embedding of one expression, float32 (d,)."""
        self.prepare([expression])
        return self._known[self._write(expression)]


class Insides:
    """The pixels inside each mask of a scene."""

    def __init__(self, scene: "Scene") -> None:
        flat = scene.proposals.masks().reshape(len(scene.proposals), -1)
        self._pixels = csr_array(flat.astype(np.float64))  # (n, H * W)
        self._areas = np.maximum(flat.sum(axis=1), 1)

    def means(self, heatmap: NDArray[np.floating]) -> NDArray[np.float64]:
        """Mean of a map (H, W) inside each mask, float64 (n,); 0 for an empty mask.

        Each mask is summed alone, so the others change no bit of its mean.
        """
        return (self._pixels @ heatmap.ravel().astype(np.float64)) / self._areas


def check_picture(scene: "Scene", image: NDArray[Any]) -> None:
    """Raise TasError when a picture has not the size of the scene."""
    if tuple(image.shape) != (*scene.size_hw, 3):
        raise TasError(
            f"the picture is {tuple(image.shape)}, the scene {scene.size_hw} (H, W); "
            "give the uint8 (H, W, 3) picture that was described"
        )
