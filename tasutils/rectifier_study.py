"""The rectifier taken apart: which direction words are read, and what each form makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from tasutils.answering import unreadable
from tasutils.config import RectifierConfig
from tasutils.errors import TasError
from tasutils.language.reading import read_directions
from tasutils.metrics import iou
from tasutils.readable import percent
from tasutils.refer import TasAnswer, parse_expression, refer, region
from tasutils.score_table import Rules, ScoreTable
from tasutils.study import gain

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.config import Preset
    from tasutils.datasets import Sample
    from tasutils.gallery import Gallery

COUNTS, NO_WORD = "counts", "no direction word"
NONE_COUNTS = "direction words, none counts"
GROUPS = {COUNTS: "a direction word counts", NONE_COUNTS: NONE_COUNTS, NO_WORD: NO_WORD}
WORDED = ("paper", "extended", "official")
#: the failures: a title, what happens, the form that shows it, a sentence where the run has none
FAILURES = (
    ("laptop", "a direction inside another word counts", "official", "right laptop"),
    ("left of the dog", "it holds for another thing", "paper", "the thing left of the dog"),
    ("second from left", "the second may stand in the other half", "paper", "second from left"),
    ("bottom", "the released code has no such word", "extended", "the bottom one"),
)


def forms(preset: Preset) -> dict[str, Preset]:
    """A preset with each setting of the rectifier that is compared, by the setting's name.

    `paper` and `official` are the whole rectifiers of those presets (`official` with its gate, its
    substrings and its cut at the medians); `extended` is cut at the picture's middle, and once more
    at the medians of the centres.
    """
    from tasutils.config import load_preset

    rules = {
        "none": RectifierConfig(form="none"),
        "paper": load_preset("paper").rectifier,
        "extended": RectifierConfig(form="extended"),
        "extended, medians": RectifierConfig(form="extended", cut="median"),
        "official": load_preset("official").rectifier,
    }
    return {name: preset.model_copy(update={"rectifier": rule}) for name, rule in rules.items()}


def read_words(samples: Sequence[Sample]) -> pd.DataFrame:
    """Every direction word of a data set, as the form `extended` reads it.

    Returns:
        One row a word: word, and verdict (`COUNTS`, or why it does not count).
    """
    import pandas as pd

    rows = []
    for sample in samples:
        found = {d.span: d for d in read_directions(sample.text)}  # "topleft" is one word
        rows += [(d.token.lower(), d.skipped or COUNTS) for d in found.values()]
    return pd.DataFrame(rows, columns=["word", "verdict"])


def verdict_of(text: str) -> str:
    """`COUNTS` if a direction word of the sentence does; else why the first does not, or `NO_WORD`.

    >>> verdict_of("left dog left of the cat"), verdict_of("cat facing left"), verdict_of("cat")
    ('counts', 'orientation', 'no direction word')
    """
    found = [d.skipped or COUNTS for d in read_directions(text)] or [NO_WORD]
    return COUNTS if COUNTS in found else found[0]


def verdicts(samples: Sequence[Sample]) -> pd.DataFrame:
    """Sentences by what became of their direction words.

    Returns:
        Columns verdict (of `verdict_of`), n, flagged (how many of them have a direction by the data
        set; NaN where it does not say), examples.
    """
    import pandas as pd

    told = [sample.flags.get("has_direction", "") for sample in samples]
    flags = [np.nan if flag == "" else float(flag) for flag in told]
    texts = [sample.text for sample in samples]
    table = pd.DataFrame({"text": texts, "flag": flags})
    groups = table.groupby([verdict_of(text) for text in texts])
    rows = [
        {
            "verdict": verdict, "n": len(part), "flagged": part["flag"].sum(min_count=1),
            "examples": "; ".join(part["text"].drop_duplicates().head(2)),
        }
        for verdict, part in groups
    ]  # fmt: skip
    return pd.DataFrame(rows).sort_values("n", ascending=False, ignore_index=True)


def with_forms(gallery: Gallery) -> ScoreTable:
    """The scores of a run with the regions of all `forms`, from its stored scenes.

    Raises:
        TasError: no sentence of the run has a mask, or its pictures are not here.
    """
    import pandas as pd

    part, language = gallery.part, gallery.tas.language
    presets = forms(gallery.tas.preset)
    field = "raw" if gallery.tas.preset.language.field == "raw" else "text"
    scenes = {image_id: gallery.picture(image_id)[1] for image_id in dict.fromkeys(part.images)}
    rows = []
    for sample in part.samples.to_dict("records"):
        scene, text = scenes[str(sample["image_id"])], sample[field]
        n = len(scene.proposals)
        if n and not unreadable(text):
            row = {"sample_id": sample["sample_id"], "proposal": np.arange(n)}
            words = any(read_directions(text, form, "substring") for form in WORDED)
            for name, preset in presets.items():
                inside, yields = np.ones(n, bool), np.zeros(n, bool)
                if words:  # without any, no form needs the parser
                    inside, yields = region(scene, parse_expression(text, language, preset), preset)
                row |= {f"region_{name}": inside, f"yields_{name}": yields}
            rows.append(pd.DataFrame(row))
    if not rows:
        raise TasError("no sentence of the run has a mask to choose; evaluate other pictures")
    scores = part.run.scores()
    stored = [name for name in map(str, scores) if name.startswith(("region_", "yields_"))]
    joined = scores.drop(columns=stored).merge(pd.concat(rows), on=["sample_id", "proposal"])
    return ScoreTable(joined, part.samples, Rules.of(part.run))


def changes(gallery: Gallery, table: ScoreTable, n_boot: int = 1000) -> pd.DataFrame:
    """What each form changes against no rectifier, on all sentences and on each group of `GROUPS`.

    Args:
        gallery: of the run.
        table: of `with_forms`.
        n_boot: bootstrap resamples of images.

    Returns:
        Columns group, form, mean, low, high (change of mIoU, paired), n, moved (answers that are
        another mask), mended, broken (answers whose IoU came to be above 0.5, or ceased to).
    """
    import pandas as pd

    part, record, epsilon = gallery.part, gallery.part.run.record, table.rules.epsilon
    groups = np.array([
        GROUPS.get(verdict_of(text), NONE_COUNTS) for text in part.samples["text"]
    ])  # fmt: skip
    names = [key for key in forms(gallery.tas.preset) if key != "none"]
    chosen = {name: table.choose(record.alpha, record.lam, name) for name in ("none", *names)}
    pixels = {name: table.pixels(rows) for name, rows in chosen.items()}
    right = {name: iou(*pair, epsilon) > 0.5 for name, pair in pixels.items()}
    rows = []
    for group in ("all", *GROUPS.values()):
        who = (groups == group) | (group == "all")
        for name in names if who.any() else ():
            rows.append({
                "group": group, "form": name,
                **gain(part, pixels[name], pixels["none"], who, n_boot),
                "moved": int((chosen[name] != chosen["none"])[who].sum()),
                "mended": int((right[name] & ~right["none"])[who].sum()),
                "broken": int((~right[name] & right["none"])[who].sum()),
            })  # fmt: skip
    return pd.DataFrame(rows)


class Case(NamedTuple):
    """A worked example: its title, what happens, the sentence, and its row in the run or -1."""

    title: str
    why: str
    sentence: str
    row: int


def failures(gallery: Gallery, table: ScoreTable) -> list[Case]:
    """Each of `FAILURES` with a sentence of the run on which the form that shows it acts.

    Where the run has none, a sentence made up for it is asked about the first picture.
    """
    texts = list(gallery.part.samples["text"])
    found = []
    for title, why, form, made_up in FAILURES:
        acts = np.unique(table.segment[~table.regions[form][0]])
        row = next((int(row) for row in acts if shows(title, texts[row])), -1)
        found.append(Case(title, why, texts[row] if row >= 0 else made_up, row))
    return found


def shows(title: str, text: str) -> bool:
    """Whether a sentence shows one of `FAILURES`.

    >>> shows("laptop", "left stoplight"), shows("laptop", "topmost car"), shows("bottom", "low")
    (True, False, False)
    """
    read = read_directions(text)
    if title == "laptop":
        meant = {(d.span, d.name) for d in [*read, *read_directions(text, "official")]}
        inside = read_directions(text, "official", "substring")
        return any((d.span, d.name) not in meant for d in inside)
    if title == "bottom":
        return any(d.token.lower() == title and not d.skipped for d in read)
    return any(d.skipped == ("relation" if "of" in title else "ordinal") for d in read)


def ask(gallery: Gallery, case: Case) -> dict[str, TasAnswer]:
    """The answer to a case by each of `forms`."""
    tas, part = gallery.tas, gallery.part
    _, scene = gallery.picture(str(part.images[max(case.row, 0)]))
    read = tas.encoder, tas.language
    return {
        name: refer(scene, case.sentence, *read, preset, dataset=part.family)
        for name, preset in forms(tas.preset).items()
    }


def rectifier_words(found: pd.DataFrame, table: pd.DataFrame, note: str) -> list[str]:
    """Say in words what `verdicts` and `changes` hold: every number is read from them."""
    said = ", ".join(f"{row['verdict']} {row['n']}" for row in found.to_dict("records"))
    lines = [f"Of {found['n'].sum()} sentences of the split: {said}."]
    lines.append(f"What the forms rest on: {note}.")
    for form, part in table.groupby("form", sort=False):
        rows = {row["group"]: row for row in part.to_dict("records")}
        row, vain = (
            rows["all"],
            sum(rows[key]["moved"] for key in (NONE_COUNTS, NO_WORD) if key in rows),
        )
        span = percent(row["mean"], row["low"], row["high"], signed=True)
        clear = "" if row["low"] > 0 or row["high"] < 0 else ", no clear change"
        lines.append(
            f"{form}, against no rectifier: {span} mIoU (n = {row['n']}){clear}; "
            f"{row['moved']} answers moved, {row['mended']} mended, {row['broken']} broken; "
            f"{vain} of the moves on sentences in which no direction word counts."
        )
    return lines
