"""HybridGL (CVPR 2025): two views of a mask mixed in CLIP's last blocks, relations, GEM's map."""

from __future__ import annotations

from functools import lru_cache, partial
from operator import itemgetter
from typing import Any, Literal, NamedTuple, Self

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import softmax
from torch import Tensor
from torch.nn import functional as F

from tasutils import terms
from tasutils.baselines import base
from tasutils.baselines.base import Image, Map, Scores
from tasutils.baselines.maps import gem_places, min_max
from tasutils.config import Part
from tasutils.crops import CLIP_MEAN_RGB
from tasutils.language.parse import read_doc
from tasutils.language.reading import words
from tasutils.refer import Expression
from tasutils.scene import Scene

Fault = Literal["released", "mended"]
#: How a mask stands to another, and the words that say so.
RELATIONS = {
    "left": words("left west"),
    "right": words("right east"),
    "up": words("above north top back behind"),
    "down": words("below south under front"),
    "big": words("bigger larger closer"),
    "small": words("smaller tinier further smallest"),
    "within": words("inside within contained"),
}
#: Where in the picture the target lies; of these only left, right and middle weigh the map.
PLACES = {
    "left": {"left"}, "right": {"right"}, "middle": {"middle", "between"},
    "up": {"up", "top", "above"}, "down": {"down", "under", "bottom", "low"},
}  # fmt: skip
_PARTS = words("part image side picture half region section photo")
_NO_LANDMARKS = words("who what which middle").union(*RELATIONS.values()) - {"smallest"}
_OUTSIDE = {"big": 1.95, "small": 1.5}  # weight of the map outside a mask, by relation; else 1.8


class HybridGLConfig(Part):
    """Switches of HybridGL; the defaults are the released code's but for the statistics, and where
    an answer would hang on other pictures or be no number.

    square: as released, bilinear without antialiasing, also for soft masks; ImageNet's statistics.
    fusion: which stream takes in the other (the article's choice is not known).
    masked_blocks, gem_blocks: how many of the ViT's last blocks mix the streams, and have GEM's
        second path; None: a quarter and half of them, the released 3 and 6 of 12.
    likeliest, landmarks: how many masks the sentence, and its other phrases, pick.
    coherence: weight of the map; the relation has the rest.
    right: released: "right" and "east" state no relation, being compared with a set.
    article: released: GEM reads "a photo of a the red car."; mended: "a photo of a red car."
    few_masks: released: a picture with fewer masks lowers `likeliest` and `landmarks` for good.
    full_mask: released: outside a mask over all the map is NaN, which wins; mended: its mean.
    spacy_model: without it the preset's (released code: en_core_web_lg).
    """

    square: base.SquareConfig = base.SquareConfig(interpolation="bilinear", antialias=False)
    fusion: Literal["G2L", "L2G", "G2L&L2G"] = "G2L"
    masked_blocks: int | None = Field(default=None, ge=1)
    gem_blocks: int | None = Field(default=None, ge=1)
    likeliest: int = Field(default=3, ge=1)
    landmarks: int = Field(default=6, ge=1)
    coherence: float = Field(default=0.6, ge=0, le=1)
    right: Fault = "released"
    article: Fault = "released"
    few_masks: Fault = "mended"
    full_mask: Fault = "mended"
    spacy_model: str = "en_core_web_sm"


class Wording(NamedTuple):
    """A sentence's parts, tokens apart; a name in `RELATIONS` and one in `PLACES`, or "none"."""

    sentence: str
    phrase: str
    others: tuple[str, ...]
    relation: str
    place: str


@lru_cache(maxsize=16384)
def read(spacy_model: str, text: str, phrase: str, right: Fault = "released") -> Wording:
    """The wording of a sentence with this head phrase; both are lower-cased."""
    sentence, phrase = (" ".join(t.text for t in read_doc(spacy_model, s)) for s in (text, phrase))
    doc = read_doc(spacy_model, sentence)

    def first(groups: Any) -> str:  # the group of the word whose head comes first
        named = ((t.head.i, name) for t in doc for name, known in groups.items() if t.text in known)
        return min(named, key=itemgetter(0), default=(0, "none"))[1]

    rest = [c for c in doc.noun_chunks if c.text != phrase and c.root.text not in _NO_LANDMARKS]
    told = RELATIONS if right == "mended" else RELATIONS | {"right": frozenset()}
    relation = "none" if any(c.root.text in _PARTS for c in rest) else first(told)
    return Wording(sentence, phrase, tuple(c.text for c in rest), relation, first(PLACES))


class HybridGL(base.Peer):
    """0.4 relation + 0.6 coherence of the 3 masks that are likeliest for a sentence.

    Likelihood: two views of a mask, all else one colour (local) or blurred (global), run through
    CLIP's ViT. In its last blocks the global class token sees the mask alone, and the local stream
    takes in twice the global one, whose patches are multiplied by the soft mask (G2L); cosine with
    half sentence, half head phrase, softmax over the masks. Relation: how a mask stands to the 6
    that are likeliest for the other phrases. Coherence: GEM's map of the head phrase, inside
    against outside. The head phrase is the preset's (released: `language.head_rule: root`).
    Source: the code of 2025-06-27, GEM's package. TasError without a CLIP with such a ViT.
    """

    Config, prefers, name, field = HybridGLConfig, "vit", "hybridgl", "raw"

    def _setup(self) -> None:
        self._visual = base.require_tower(self.encoder, "vit", self.name)
        layers = len(self._visual.transformer.resblocks)
        self._masked = self.config.masked_blocks or max(1, round(layers / 4))
        gem_blocks = self.config.gem_blocks or max(1, layers // 2)
        self._most = [self.config.likeliest, self.config.landmarks]
        self._places = base.Latest(partial(gem_places, self.encoder, blocks=gem_blocks))
        self._mixed = base.Latest(self._embed_masks)

    @classmethod
    def make(cls, name: str, tas: Any, dataset: str | None = None, **switches: Any) -> Self:
        """As `Peer.make`; without a `spacy_model` it is the preset's."""
        parser = {"spacy_model": tas.preset.language.spacy_model}
        return super().make(name, tas, dataset, **parser | switches)

    def score(self, scene: Scene, expression: Expression, image: Image) -> Scores:
        """Float64 (n,); masks not among the likeliest follow more than 1 below these, by p."""
        if len(scene.proposals) == 0:
            return np.zeros(0)
        relation = self._read(expression).relation
        sentence, phrase, _, *others = self.texts(expression)
        p = q = self._likelihood(image, scene, (sentence + phrase) / 2)
        most = [min(most, len(p)) for most in self._most]
        if self.config.few_masks == "released":
            self._most = most
        i = j = np.argsort(-p, kind="stable")[: most[0]]
        if others:
            q = self._likelihood(image, scene, np.mean(others, axis=0))
            j = np.argsort(-q, kind="stable")[: most[1]]
        stands = np.tile(p[i, None], len(j))  # (i, j)
        if relation != "none":
            boxes = scene.proposals.boxes_xyxy.astype(np.float64)
            stands *= q[j] * stand(relation, boxes[i, None], boxes[j])
        coherence, weight = self._coherence(scene, i, expression, image), self.config.coherence
        found = (1 - weight) * softmax(stands.sum(axis=1)) + weight * coherence
        found[np.isnan(found)] = np.nanmax(found, initial=0.0) + 1
        total = found.min() - 2 + p
        total[i] = found
        return np.asarray(total)

    def heat(self, image: Image, expression: Expression) -> Map:
        """GEM's map of the head phrase times the ramp of its place, float32 (H, W) in 0..1."""
        text = F.normalize(torch.from_numpy(self.texts(expression)[2]), dim=0)
        cosines = (self._places(image) @ text)[None, None]  # (1, 1, h, w)
        square = F.interpolate(cosines, (2 * self.encoder.image_size,) * 2, mode="bilinear")
        heat = F.interpolate(square, image.shape[:2], mode="bilinear", antialias=True)[0, 0]
        width, half = image.shape[1], image.shape[1] // 2
        up = torch.linspace(0, 1, width)
        tent = torch.cat([torch.linspace(0, 1, half), torch.linspace(1, 0, width - half)])
        ramps = {"left": up.flip(0), "right": up, "middle": tent}
        return (min_max(heat) * ramps.get(self._read(expression).place, torch.ones(()))).numpy()

    def _coherence(self, scene: Scene, some: Any, expression: Expression, image: Image) -> Scores:
        heat = self.heat(image, expression).astype(np.float64)
        heat /= heat.mean() or 1
        beyond = np.nan if self.config.full_mask == "released" else heat.mean()
        b = _OUTSIDE.get(self._read(expression).relation, 1.8)
        masks = scene.proposals.take(some).masks()
        inside = np.array([heat[m].mean() if m.any() else 0.0 for m in masks])
        outside = np.array([beyond if m.all() else heat[~m].mean() for m in masks])
        return np.asarray((2 - b) * inside - b * outside)

    def _likelihood(self, image: Image, scene: Scene, text: NDArray[Any]) -> Scores:
        cosines = terms.v_score(self._mixed(image, scene), text)
        return np.asarray(softmax(self.encoder.logit_scale * cosines))

    def _read(self, expression: Expression) -> Wording:
        config = self.config
        return read(config.spacy_model, expression.text, expression.phrase, config.right)

    def _written(self, expression: Any) -> tuple[str, ...]:
        said = self._read(expression)
        first, _, rest = said.phrase.partition(" ")
        own = self.config.article == "mended" and first in ("a", "an", "the")
        prompt = f"a photo of a {rest if own and rest else said.phrase}."
        return (said.sentence, said.phrase, prompt, *(f"a photo of {o}" for o in said.others))

    def _embed(self, texts: list[str]) -> NDArray[np.float32]:
        return np.asarray(base.text_features(self.encoder, texts).numpy())

    def _embed_masks(self, image: Image, scene: Scene) -> NDArray[np.float32]:
        found = self.encoder.crop_batches(scene.proposals.masks(), partial(self._mix, image))
        return np.asarray(torch.cat(found).float().cpu().numpy())  # (n, d)

    def _mix(self, image: Image, masks: NDArray[np.bool_]) -> Tensor:
        visual, config = self._visual, self.config
        how = {"mode": "bilinear", "antialias": config.square.antialias}
        soft = base.masks_on_grid(masks, visual.grid_size, self.encoder.device, **how).flatten(1)
        stencil = F.pad(soft, (1, 0), value=1.0)  # (n, 1 + p): the class token stays, sees itself
        sees = soft.new_zeros(*stencil.shape, stencil.shape[1])  # rows ask, columns are asked
        sees[:, 0] = torch.where(stencil > 0, 0.0, -torch.inf)
        stencil = stencil[..., None]
        x = base.vit_tokens(visual, self.encoder.pixel_values(self._views(image, masks)))
        blocks = visual.transformer.resblocks
        for block in blocks[: -self._masked]:
            x = block(x)
        sees, found = sees.repeat_interleave(blocks[0].attn.num_heads, dim=0), []
        for way in config.fusion.split("&"):
            local, around = x.chunk(2)  # of which the one is mixed, and the other stays pure
            for block in blocks[-self._masked :]:
                if way == "G2L":
                    local = block(local + 2 * stencil * around)
                    around = block(around, attn_mask=sees)
                else:
                    around, local = block(local + 2 * around, attn_mask=sees), block(local)
            found.append(visual.ln_post((local if way == "G2L" else around)[:, 0]) @ visual.proj)
        return torch.stack(found).sum(dim=0)

    def _views(self, image: Image, masks: NDArray[np.bool_]) -> Tensor:
        """Masks on CLIP's mean, laid in after normalising, then on the blur: (2 n, 3, s, s)."""
        encoder, square = self.encoder, self.config.square
        picture, blurred = base.planes(image, encoder.device), cv2.GaussianBlur(image, (15, 15), 0)
        colour = base.colour_outside(CLIP_MEAN_RGB, True, encoder, square)
        grounds = colour, base.planes(np.asarray(blurred, np.uint8), encoder.device)
        stencils = torch.from_numpy(masks).to(encoder.device)
        views = (torch.where(mask, picture, ground) for ground in grounds for mask in stencils)
        crops = torch.stack([base.resampled(v, encoder.image_size, square) for v in views])
        return base.restandardised(crops, encoder, square)


def stand(relation: str, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far boxes a (i, 1, 4) stand so to boxes b (j, 4), x0, y0, x1, y1 each: (i, j)."""
    area, other = ((c[..., 2:] - c[..., :2]).prod(axis=-1) for c in (a, b))
    if relation == "within":
        sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
        return np.asarray(sides.clip(0).prod(axis=-1) / area.clip(1))
    x, y = np.moveaxis(a[..., :2] + a[..., 2:] - b[..., :2] - b[..., 2:], -1, 0)  # of the centres
    size = area - other
    more = {"left": -x, "right": x, "up": -y, "down": y, "big": size, "small": -size}
    return np.asarray(more[relation] > 0, dtype=np.float64)
