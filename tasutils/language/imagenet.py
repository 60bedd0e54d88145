"""ImageNet-1k's classes in words: their names, and what they are kinds of, by WordNet 3.0."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tasutils.errors import TasError
from tasutils.language.synonyms import wordnet
from tasutils.paths import weights_path

_SYNSETS = "package:timm/data/_info/imagenet_synsets.txt"  # one "n01440764" a line, in order

#: Everyday words above ImageNet's classes (basic and superordinate level of Rosch et al., 1976),
#: each with the WordNet senses whose classes it covers.
EVERYDAY: dict[str, tuple[str, ...]] = {
    "person": ("person.n.01",),
    "dog": ("dog.n.01",),
    "cat": ("domestic_cat.n.01",),
    "big cat": ("big_cat.n.01",),
    "wolf": ("wolf.n.01",),
    "fox": ("fox.n.01",),
    "bear": ("bear.n.01",),
    "monkey": ("monkey.n.01",),
    "ape": ("ape.n.01",),
    "rabbit": ("leporid.n.01",),
    "rodent": ("rodent.n.01",),
    "antelope": ("antelope.n.01",),
    "pig": ("swine.n.01",),
    "elephant": ("elephant.n.01",),
    "horse": ("horse.n.01",),
    "whale": ("whale.n.02",),
    "bird": ("bird.n.01",),
    "duck": ("duck.n.01",),
    "parrot": ("parrot.n.01",),
    "fish": ("fish.n.01",),
    "shark": ("shark.n.01",),
    "snake": ("snake.n.01",),
    "lizard": ("lizard.n.01",),
    "turtle": ("turtle.n.02",),
    "frog": ("frog.n.01",),
    "insect": ("insect.n.01",),
    "butterfly": ("butterfly.n.01",),
    "beetle": ("beetle.n.01",),
    "spider": ("spider.n.01",),
    "crab": ("crab.n.01",),
    "animal": ("animal.n.01",),
    "mushroom": ("fungus.n.01",),
    "flower": ("flower.n.01", "flower.n.02"),
    "fruit": ("edible_fruit.n.01",),
    "squash": ("squash.n.02",),
    "vegetable": ("vegetable.n.01",),
    "bread": ("bread.n.01",),
    "food": ("food.n.01", "food.n.02", "produce.n.01"),
    "drink": ("beverage.n.01",),
    "ball": ("ball.n.01",),
    "guitar": ("guitar.n.01",),
    "piano": ("piano.n.01",),
    "drum": ("drum.n.01",),
    "musical instrument": ("musical_instrument.n.01",),
    "hat": ("hat.n.01",),
    "shoe": ("footwear.n.01", "footwear.n.02"),
    "bag": ("bag.n.01", "bag.n.04"),
    "piece of clothing": ("clothing.n.01",),
    "bottle": ("bottle.n.01",),
    "pot": ("pot.n.01",),
    "box": ("box.n.01",),
    "basket": ("basket.n.01",),
    "chair": ("chair.n.01",),
    "table": ("table.n.02",),
    "bed": ("bed.n.01",),
    "piece of furniture": ("furniture.n.01",),
    "lamp": ("lamp.n.01", "lamp.n.02"),
    "clock": ("clock.n.01",),
    "computer": ("computer.n.01",),
    "telephone": ("telephone.n.01",),
    "camera": ("camera.n.01",),
    "knife": ("knife.n.01",),
    "pen": ("pen.n.01",),
    "gun": ("gun.n.01",),
    "weapon": ("weapon.n.01",),
    "tool": ("tool.n.01", "kitchen_utensil.n.01"),
    "car": ("car.n.01",),
    "truck": ("truck.n.01",),
    "bus": ("bus.n.01",),
    "bicycle": ("bicycle.n.01",),
    "wheel": ("wheel.n.01",),
    "boat": ("boat.n.01",),
    "ship": ("ship.n.01",),
    "airplane": ("heavier-than-air_craft.n.01",),
    "vehicle": ("vehicle.n.01", "wheeled_vehicle.n.01"),
    "fence": ("fence.n.01",),
    "bridge": ("bridge.n.01",),
    "building": ("building.n.01",),
    "mountain": ("mountain.n.01",),
    "container": ("container.n.01",),
}


@dataclass(frozen=True)
class ImageClass:
    """One class of ImageNet-1k.

    Attributes:
        name: the first word of its WordNet sense, which is the usual one ("goldfish").
        kinds: what it is a kind of, from near to far, by each sense's most special hypernym and
            its first word ("cyprinid", "cypriniform fish", ..., "entity").
        senses: names of its sense and of every sense above it on any path ("goldfish.n.01", ...).
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
    """Each word of `EVERYDAY` with the numbers (0..999) of the classes that it covers."""
    classes = image_classes()
    return {
        word: frozenset(i for i, c in enumerate(classes) if not c.senses.isdisjoint(senses))
        for word, senses in EVERYDAY.items()
    }


def _image_class(synset: Any) -> ImageClass:
    kinds = []
    above = _nearest_kind(synset)
    while above is not None:
        kinds.append(_word(above))
        above = _nearest_kind(above)
    senses = frozenset(s.name() for path in synset.hypernym_paths() for s in path)
    return ImageClass(_word(synset), tuple(kinds), senses)


def _nearest_kind(synset: Any) -> Any:
    """The most special hypernym: the deepest, by name among equals; None at the top.

    nltk keeps hypernyms in sets of strings, so their own order changes from process to process.
    """
    above = synset.hypernyms()
    return min(above, key=lambda kind: (-kind.max_depth(), kind.name())) if above else None


def _word(synset: Any) -> str:
    return synset.lemma_names()[0].replace("_", " ")
