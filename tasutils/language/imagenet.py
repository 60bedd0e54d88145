"""ImageNet-1k's classes in words: their names, and what they are kinds of, by WordNet 3.0."""

import csv
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from tasutils.errors import TasError
from tasutils.language.wordnet import wordnet
from tasutils.paths import weights_path

_SYNSETS = "package:timm/data/_info/imagenet_synsets.txt"  # one "n01440764" a line, in order


@dataclass(frozen=True)
class ImageClass:
    """One class of ImageNet-1k.

    name: the first word of its WordNet sense ("goldfish"); kinds: what it is a kind of, from near
    to far ("cyprinid", ..., "entity"); senses: names of its sense and of every sense above it.
    """

    name: str
    kinds: tuple[str, ...]
    senses: frozenset[str]

    def with_kinds(self, n: int) -> str:
        """Its name and the nearest `n` kinds: "goldfish, a cyprinid, a soft-finned fish"."""
        return ", a ".join((self.name, *self.kinds[:n]))


@lru_cache(maxsize=1)
def image_classes() -> tuple[ImageClass, ...]:
    """The 1000 classes in the order of the classifier's outputs, about half a second.

    Raises TasError when timm's list of synsets or WordNet is missing.
    """
    path = weights_path(_SYNSETS)
    if not path.is_file():
        raise TasError(f"no list of ImageNet's classes at {path}; install timm")
    reader = wordnet()
    offsets = [int(line[1:]) for line in path.read_text(encoding="utf-8").split()]
    return tuple(_image_class(reader.synset_from_pos_and_offset("n", at)) for at in offsets)


def everyday_classes() -> dict[str, frozenset[int]]:
    """Everyday words above ImageNet's classes with the numbers (0..999) of those they cover.

    Basic and superordinate level of Rosch et al., 1976; everyday.csv names each word's senses.
    """
    table = (files("tasutils.language") / "everyday.csv").read_text(encoding="utf-8")
    classes = image_classes()
    return {
        word: frozenset(i for i, c in enumerate(classes) if not c.senses.isdisjoint(senses.split()))
        for word, senses in list(csv.reader(table.splitlines()))[1:]
    }


def _image_class(synset: Any) -> ImageClass:
    kinds, above = list[str](), synset.hypernyms()
    while above:
        # the deepest, by name among equals: nltk's own order changes from process to process
        kind = min(above, key=lambda kind: (-kind.max_depth(), kind.name()))
        kinds.append(_word(kind))
        above = kind.hypernyms()
    senses = frozenset(s.name() for path in synset.hypernym_paths() for s in path)
    return ImageClass(_word(synset), tuple(kinds), senses)


def _word(synset: Any) -> str:
    return synset.lemma_names()[0].replace("_", " ")
