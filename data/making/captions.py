"""Words for training: a phrase for one thing, a caption for a whole scene."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from making.graph import Rendered, Thing

NUMBERS = {2: "two", 3: "three", 4: "four", 5: "five", 6: "six"}
PLACES = (
    "on the left",
    "on the right",
    "at the top",
    "at the bottom",
    "in the middle",
    "on the far left",
)
FLOORS = {"wood": " on a wooden floor", "tiles": " on a tiled floor", "horizon": " outside"}


def article(phrase: str) -> str:
    """The phrase with its indefinite article.

    >>> article("apple"), article("red apple"), article("unicorn")
    ('an apple', 'a red apple', 'a unicorn')
    """
    vowel = phrase[0] in "aeiou" and not phrase.startswith(("uni", "uku", "eu", "one"))
    return f"{'an' if vowel else 'a'} {phrase}"


def choose(rng: np.random.Generator, options: Sequence[str]) -> str:
    """One of the options, each as likely."""
    return options[int(rng.integers(len(options)))]


def noun_for(rng: np.random.Generator, thing: Thing) -> str:
    """A word for a thing: mostly its name, sometimes a synonym or a wider word."""
    category = thing.category
    draw = rng.uniform()
    if draw < 0.22 and category.synonyms:
        return choose(rng, category.synonyms)
    if draw > 0.93 and category.hypernyms:
        return choose(rng, category.hypernyms)
    return category.name


def thing_phrase(rng: np.random.Generator, thing: Thing) -> str:
    """A phrase as people refer to a thing: colour, noun, sometimes a place no crop shows."""
    noun = noun_for(rng, thing)
    if thing.color and rng.uniform() < 0.6:
        noun = f"{thing.color} {noun}"
    draw = rng.uniform()
    if draw < 0.35:
        return article(noun)
    if draw < 0.55:
        return noun
    if draw < 0.65:
        return f"a photo of {article(noun)}"
    if draw < 0.8:
        return f"the {noun}"
    if draw < 0.9:
        return f"{'the ' if rng.uniform() < 0.5 else ''}{noun} {choose(rng, PLACES)}"
    return f"{choose(rng, ('left', 'right', 'top', 'bottom', 'big', 'small'))} {noun}"


def crop_caption(thing: Thing) -> str:
    """What a captioner should say of the crop of one thing: "a red car", "a dog"."""
    name = thing.category.name
    return article(f"{thing.color} {name}" if thing.color else name)


def scene_caption(rendered: Rendered, most: int = 4) -> str:
    """What a captioner should say of a whole picture: its largest kinds of things, the floor.

    Things of one category and colour are counted together.
    """
    groups: dict[tuple[str, str | None], list[int]] = {}
    areas = rendered.visible.sum((1, 2))
    for index, thing in enumerate(rendered.graph.things):
        groups.setdefault((thing.slug, thing.color), []).append(index)
    ranked = sorted(groups.values(), key=lambda members: -int(areas[members].sum()))
    parts = []
    for members in ranked[:most]:
        thing = rendered.graph.things[members[0]]
        color = f"{thing.color} " if thing.color else ""
        if len(members) == 1:
            parts.append(article(color + thing.category.name))
        else:
            count = NUMBERS.get(len(members), "many")
            parts.append(f"{count} {color}{thing.category.plural}")
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return listed + FLOORS.get(rendered.graph.background.kind, "")
