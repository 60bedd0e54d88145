"""Sentences that mean none, one or several things, and their counterfactuals: family grefscenes.

Written over pictures that are drawn already, from their scene table, in gRefCOCO's layout. A `one`
sentence may come with three others that are judged against it, its `base`:

| kind | it says | it means |
|---|---|---|
| one | "the red car on the left" | one thing |
| same | "leftmost red vehicle" | the same thing in other words |
| switch | "the red car on the right" | another thing; one word is changed |
| void | "the green car on the left" | nothing; one word is changed |
| absent | "the bus", "all buses" | nothing: a thing that could be there and is not |
| all | "all red cars" | every such thing, two or more |
| both | "the bus and the red car" | two things, each named |
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations, count, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from making.categories import by_slug, closure_words
from making.expressions import candidates, normalise, noun_phrase, phrase, plural_of
from making.queries import Query, View, execute
from making.sprites import COLORS, shares
from making.words import shuffled

SEVERAL, SEED = "grefscenes", 22
MOST = 2  # of each kind a picture
PLANS = ("direction", "color", "size", "side relation")
KINDS = ("one", "same", "switch", "void")
OTHER = {"left": "right", "top": "bottom", "largest": "smallest"}
OTHER |= {second: first for first, second in OTHER.items()}
PLURALS = ("all {}", "the {}", "all the {}", "both {}", "the two {}")  # the last two: of two things
Targets = tuple[int, ...]
Meant = tuple[str, Targets]  # words as written, and the things that they mean


def write_grefs(world: Path) -> None:
    """Write `grefs(tas).json` over the pictures of a world; refscenes has their annotations."""
    folder = world / SEVERAL
    table = pd.read_parquet(world / "scenes.parquet")
    refs: list[dict[str, Any]] = []
    pictures: Any = table.groupby(["split", "image_id"], sort=False)
    for (split, image_id), things in pictures:
        pool = [c.slug for c in by_slug().values() if c.split == (split if "P" in split else "")]
        said = sentences(int(image_id), view_of_table(things), pool)
        for (kind, raw, targets, base), number in zip(said, count(len(refs)), strict=False):
            text = normalise(raw)
            told = {"raw": raw, "sent_id": number, "sent": text}
            refs.append({
                "ref_id": number, "image_id": int(image_id), "split": split,
                "ann_id": [int(things["ann_id"].iloc[i]) for i in targets] or [-1],
                "category_id": [by_slug()[things["slug"].iloc[i]].id for i in targets] or [-1],
                "no_target": not targets, "file_name": f"{image_id}.jpg",
                "sent_ids": [number], "sentences": [told],
                "kind": kind, "base": number - base,
            })  # fmt: skip
    text = json.dumps(refs, separators=(",", ":"))
    (folder / "grefs(tas).json").write_text(text, encoding="utf-8")


def view_of_table(things: pd.DataFrame) -> View:
    """What a reader sees, from the rows of a scene table."""
    covers = np.zeros((len(things), len(things)), bool)
    for i, over in enumerate(things["covered_by"]):
        covers[i, over] = True
    things = things.astype(object).where(things.notna(), None)
    looks = things[["style", "slug", "paint"]].itertuples(index=False)
    return View(
        slugs=tuple(things["slug"]),
        colors=tuple(things["color"]),
        shares=tuple(shares(*look) for look in looks),
        centers_xy=things[["center_x", "center_y"]].to_numpy(float),
        boxes_xyxy=things[["x0", "y0", "x1", "y1"]].to_numpy(float),
        areas_px=things["area_px"].to_numpy(int),
        hidden_fraction=things["hidden_fraction"].to_numpy(float),
        covers=covers,
    )


def sentences(image_id: int, view: View, pool: list[str]) -> list[tuple[str, str, Targets, int]]:
    """All about a picture: kind, words as written, what they mean, how far back the base stands.

    pool: the categories of which its split draws.
    """
    rng = np.random.default_rng([SEED, image_id])
    absent = [slug for slug in pool if not _might_be_called(view, slug)]
    said: list[tuple[str, str, Targets, int]] = []
    for target in shuffled(rng, range(len(view))):
        family = _counterfactuals(rng, view, target, absent) if len(said) < 4 * MOST else []
        said += [(*one, k) for k, one in enumerate(family)]
    groups = {by_slug()[slug].group for slug in view.slugs}
    near = [slug for slug in shuffled(rng, absent) if by_slug()[slug].group in groups]
    places: list[tuple[str, ...]] = [(), (), ("left",), ("right",)]
    place, form = shuffled(rng, places)[0], shuffled(rng, PLURALS[:3])[0]
    nowhere = [_written(Query(by_slug()[s].name, place=place), image_id) for s in near[:1]]
    nowhere += [form.format(by_slug()[slug].plural) for slug in near[1:2]]
    several: dict[str, list[Meant]] = {
        "absent": [(raw, ()) for raw in nowhere],
        "all": shuffled(rng, list(_all(rng, view))),
        "both": shuffled(rng, list(_both(view))),
    }
    for kind, found in several.items():
        apart = {targets or raw: (kind, raw, targets, 0) for raw, targets in found}
        said += list(apart.values())[:MOST]
    return said


def _written(query: Query, seed: int) -> str:
    return phrase(np.random.default_rng(seed), query, "refscenes")


def _might_be_called(view: View, slug: str) -> bool:
    """Might a reader call one of the things so, or by a word for it?"""
    category = by_slug()[slug]
    names = {by_slug()[there].name for there in view.slugs}
    words = (category.name, *category.synonyms)
    called = (view.called(i, word, wide=True) for i in range(len(view)) for word in words)
    return bool(names & closure_words(slug)) or any(called)


def _counterfactuals(
    rng: np.random.Generator, view: View, target: int, absent: list[str]
) -> list[tuple[str, str, Targets]]:
    """A sentence for a thing with its three variants, where there are all three."""
    for plan in shuffled(rng, PLANS):
        for query in candidates(rng, view, target, plan):
            if execute(query, view) != {target}:
                continue
            seed = int(rng.integers(2**31))
            found: dict[str, Meant] = {"one": (_written(query, seed), (target,))}
            for noun in shuffled(rng, sorted(by_slug()[view.slugs[target]].words)):
                other = replace(query, noun=noun)
                text = _written(other, int(rng.integers(2**31)))
                known = "same" in found or not _differ(found["one"][0], text)
                if not known and execute(other, view) == {target}:
                    found["same"] = (text, (target,))
            if "same" not in found:
                continue
            nouns = [by_slug()[slug].name for slug in shuffled(rng, absent)[:10]]
            for other in [
                *shuffled(rng, list(_changed(query))),
                *(replace(query, noun=n) for n in nouns),
            ]:
                text = _written(other, seed)
                if len(found) == len(KINDS) or _differ(found["one"][0], text) != 1:
                    continue
                meant = execute(other, view)
                if meant is not None and target not in meant and len(meant) < 2:
                    found.setdefault("switch" if meant else "void", (text, tuple(meant)))
            if len(found) == len(KINDS):
                return [(kind, *found[kind]) for kind in KINDS]
    return []


def _changed(query: Query) -> Iterator[Query]:
    """The query with its colour, size, side or relation changed."""
    if query.color:
        yield from (replace(query, color=color) for color in COLORS)
    if query.size:
        yield replace(query, size=OTHER[query.size])
    for k, side in enumerate(query.place):
        yield replace(query, place=(*query.place[:k], OTHER[side], *query.place[k + 1 :]))
    if query.relation:
        yield replace(query, relation=(OTHER[query.relation[0]], query.relation[1]))


def _differ(first: str, second: str) -> int:
    """In how many words two sentences differ; 99 where they have not as many."""
    words = normalise(first).split(), normalise(second).split()
    return sum(map(str.__ne__, *words)) if len(words[0]) == len(words[1]) else 99


def _all(rng: np.random.Generator, view: View) -> Iterator[Meant]:
    """Phrases for all things of a kind, or of a kind and colour, two or more."""
    for slug, color in product(view.slugs, (None, *COLORS)):
        for noun in shuffled(rng, sorted(by_slug()[slug].words))[:1]:
            meant = execute(Query(noun, color=color), view) or ()
            if len(meant) > 1:
                form = shuffled(rng, PLURALS if len(meant) == 2 else PLURALS[:3])[0]
                words = f"{color} {plural_of(noun)}" if color else plural_of(noun)
                yield form.format(words), tuple(sorted(meant))


def _both(view: View) -> Iterator[Meant]:
    """Two things, each by its name, or by colour and name, that nothing else has."""
    named: dict[int, str] = {}
    for i, slug in enumerate(view.slugs):
        for color in (view.colors[i], None):
            query = Query(by_slug()[slug].name, color=color)
            if execute(query, view) == {i}:
                named[i] = noun_phrase(query)
    for i, j in combinations(named, 2):
        if view.slugs[i] != view.slugs[j]:
            yield f"the {named[i]} and the {named[j]}", (i, j)
