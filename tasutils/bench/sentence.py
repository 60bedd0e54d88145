"""Section sentence: one more sentence on a scene that is there already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tasutils.bench.describe import TOLERANCE
from tasutils.bench.equal import all_of, equal_answers
from tasutils.bench.plan import DATASET, Plan, drawn_images
from tasutils.bench.released_loop import (
    Outside,
    choose,
    embed_one,
    embed_text,
    embed_words,
    require_plain,
    templated,
)
from tasutils.bench.rows import Row, Target
from tasutils.bench.timing import alternate
from tasutils.errors import TasError
from tasutils.tas import TAS

if TYPE_CHECKING:
    from tasutils.refer import TasAnswer
    from tasutils.scene import Scene

AT_ONCE = 4  # sentences of one timing, none of them seen before
Choices = list[tuple[int | None, NDArray[np.float64]]]


def rows(plan: Plan) -> list[Row]:
    """With the text tower and the parser, then with both known, so that arithmetic is left."""
    require_plain(plan.preset)
    image = drawn_images(1)[0]
    scene = plan.tas.describe(image)
    chunks = new_sentences(2 * plan.repeats + 1)
    known = with_known_texts(plan.tas, chunks[0])
    return [
        _row(plan, scene, _Answering(plan.tas, scene, chunks), 0.02, image),
        _row(plan, scene, _Answering(known, scene, chunks[:1]), 0.001, None),
    ]


def _row(
    plan: Plan, scene: Scene, answering: _Answering, most_s: float, image: NDArray[np.uint8] | None
) -> Row:
    words = "known sentence: text tower and parser excluded"
    timed = alternate(
        answering.ours,
        lambda: answering.plain(image),
        answering.same,
        plan.repeats,
        AT_ONCE,
        plan.settle,
    )
    return Row(
        section="sentence",
        what="new sentence: text tower and parser included" if image is not None else words,
        per="sentence",
        measures={"masks": float(len(scene.proposals)), "phrases": float(len(scene.phrases))},
        target=Target(number="ours_s", at_most=most_s),
        **timed.fields(),
    )


class _Answering:
    """Both ways to answer; each call takes the next sentences, the first call of both the same."""

    def __init__(self, tas: TAS, scene: Scene, chunks: Sequence[list[str]]) -> None:
        self.tas, self.scene, self.masks = tas, scene, scene.proposals.masks()
        again = chunks if len(chunks) == 1 else []
        self._ours = _cycle(chunks, again)
        self._plain = _cycle([chunks[0], *reversed(chunks[1:])], again)

    def ours(self) -> list[TasAnswer]:
        """By `refer`, one after another."""
        return [self.tas.refer(self.scene, text, dataset=DATASET) for text in next(self._ours)]

    def plain(self, image: NDArray[np.uint8] | None) -> Choices:
        """By the loop: with a picture CLIP sees every crop and every caption again, as released."""
        scene, tas = self.scene, self.tas
        found = []
        for text in next(self._plain):
            crops, words = scene.crop_embeddings, scene.caption_embeddings
            negatives = list(scene.phrase_embeddings)
            if image is not None:
                outside = Outside.of(image, tas.preset)
                crops = np.array([embed_one(image, mask, outside, tas) for mask in self.masks])
                words = np.array([embed_words(caption, tas) for caption in scene.captions])
                negatives = [embed_text(phrase, tas) for phrase in templated(scene.phrases, tas)]
            phrases = scene.phrases
            found.append(choose(self.masks, crops, words, negatives, phrases, text, tas, DATASET))
        return found

    def same(self, ours: list[TasAnswer], plain: Choices) -> str:
        """The chosen masks."""
        chosen, totals = [index for index, _ in plain], [sums for _, sums in plain]
        return all_of(equal_answers([a.best for a in ours], chosen, totals, TOLERANCE))


def _cycle(chunks: Sequence[list[str]], again: Sequence[list[str]]) -> Iterator[list[str]]:
    """The chunks in their order, then `again` for ever."""
    return chain(chunks, *(iter(lambda: again[0], None) for _ in again))


def new_sentences(n_chunks: int) -> list[list[str]]:
    """Chunks of sentences of RefScenes val, no sentence twice; raises TasError for too many."""
    from tasutils.datasets import load_dataset

    texts = list(dict.fromkeys(sample.text for sample in load_dataset(DATASET, "val").samples))
    if n_chunks * AT_ONCE > len(texts):
        raise TasError(f"{n_chunks * AT_ONCE} new sentences are too many; there are {len(texts)}")
    return [texts[k * AT_ONCE : (k + 1) * AT_ONCE] for k in range(n_chunks)]


def with_known_texts(tas: TAS, texts: Sequence[str]) -> TAS:
    """The same TAS whose text tower remembers the texts."""
    return TAS(
        tas.preset, tas.proposer, _Known(tas, texts), tas.captioner, tas.language, tas.device
    )


class _Known:
    """An encoder that looks up the embeddings of sentences; all else is the real one's."""

    def __init__(self, tas: TAS, texts: Sequence[str]) -> None:
        self._encoder, template = tas.encoder, tas.preset.encoder.template
        written = [template.format(" ".join(text.split())) for text in texts]
        self._rows = dict(zip(written, tas.encoder.encode_text(written), strict=True))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._encoder, name)

    def encode_text(self, texts: list[str]) -> NDArray[np.float32]:
        """Float32 (n, dim) of known texts."""
        return np.stack([self._rows[text] for text in texts])
