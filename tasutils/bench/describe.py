"""Section describe: pictures with 3 x 3 sentences, against the released code's shape."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tasutils.bench import released_loop
from tasutils.bench.equal import all_of, equal_answers, equal_masks, equal_words, near
from tasutils.bench.plan import DATASET, Case, Plan, drawn_cases
from tasutils.bench.released_loop import Found, require_plain
from tasutils.bench.rows import Row, Target
from tasutils.bench.timing import alternate

if TYPE_CHECKING:
    from tasutils.refer import TasAnswer
    from tasutils.scene import Scene

MOST_REPEATS = 3  # the loop takes its time
TOLERANCE = 1e-3  # a scene's embeddings are rounded to float16
Ours = list[tuple["Scene", list["TasAnswer"]]]


def rows(plan: Plan) -> list[Row]:
    """Against the released shape, and against the same loop with its per-image results cached."""
    require_plain(plan.preset)
    cases = drawn_cases(plan.count(2))
    loops = {
        "released shape": (released_loop.answer_released, 8.0),
        "the same, cached per image": (released_loop.answer_cached, 2.0),
    }
    masks = float(np.mean([len(scene.proposals) for scene, _ in answered(plan, cases)]))
    found = []
    for name, (loop, least) in loops.items():
        timed = alternate(
            partial(answered, plan, cases),
            partial(looped, plan, cases, loop),
            same_answers,
            min(plan.repeats, MOST_REPEATS),
            len(cases),
            plan.settle,
        )
        found.append(
            Row(
                section="describe",
                what=f"{len(cases)} images x 3 references x 3 sentences, {name}",
                measures={"masks": masks},
                target=Target(number="ratio", at_least=least),
                **timed.fields(),
            )
        )
    return found


def answered(plan: Plan, cases: Sequence[Case]) -> Ours:
    """Our way: every picture described once, all together, then every sentence answered."""
    scenes = plan.tas.describe_all([case.image for case in cases])
    return [
        (scene, [plan.tas.refer(scene, text, dataset=DATASET) for text in case.sentences])
        for scene, case in zip(scenes, cases, strict=True)
    ]


def looped(plan: Plan, cases: Sequence[Case], loop: Callable[..., Found]) -> list[Found]:
    """The plain way, one picture after another."""
    return [loop(case.image, case.references, plan.tas, DATASET) for case in cases]


def same_answers(ours: Ours, plain: list[Found]) -> str:
    """Masks, captions, embeddings and chosen masks of all pictures."""
    words = []
    for (scene, _), found in zip(ours, plain, strict=True):
        words += [
            equal_masks(scene.proposals.masks(), found.masks),
            equal_words(scene.captions, found.captions),
            near(scene.crop_embeddings, found.crop_embeddings, TOLERANCE, "crop embeddings"),
            near(
                scene.caption_embeddings, found.caption_embeddings, TOLERANCE, "caption embeddings"
            ),
        ]
    chosen = [answer.best for _, answers in ours for answer in answers]
    loops = [index for found in plain for index in found.chosen]
    totals = [sums for found in plain for sums in found.totals]
    return all_of(*words, equal_answers(chosen, loops, totals, TOLERANCE))
