"""N by itself: how negatives are mined, what other rules would mine, and what they are worth.

N is added to V without P and rectifier, so that nothing else moves the answers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tasutils.covering import is_right
from tasutils.gallery import Gallery
from tasutils.language import SYNONYM_RULES
from tasutils.language.wordnet import mine_negatives, similar_pairs
from tasutils.readable import finding
from tasutils.refer import cosine_scale, judge_phrases, parse_expression
from tasutils.score_table import Rules, ScoreTable
from tasutils.study import gain
from tasutils.terms import n_score

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.study import Part

Kept = NDArray[np.bool_]  # of the rows of `mined`: which phrases are negatives
DETAIL = {"0 to 2": (0, 2), "3": (3, 3), "4": (4, 4), "5 and more": (5, np.inf)}  # noun chunks


def mined(part: Part) -> pd.DataFrame:
    """Every phrase of every picture's caption, judged against each sentence about the picture.

    Returns:
        One row a sentence and phrase: row (of the samples), index (of the phrase), phrase, noun,
        similarity (0..1, by rule `nearest`), kept (bool, by the preset), one bool column a synonym
        rule, and target (bool: the phrase names the category of what is meant).
    """
    import pandas as pd

    gallery, found = Gallery(part), []
    tas = gallery.tas
    rules = {rule: tas.preset.override({"language.synonym_rule": rule}) for rule in SYNONYM_RULES}
    threshold = tas.preset.language.synonym_threshold
    scenes = {image: gallery.picture(image)[1] for image in dict.fromkeys(part.images)}
    for row, sample in enumerate(part.samples.itertuples()):
        scene = scenes[str(sample.image_id)]
        asked = parse_expression(str(sample.text), tas.language, tas.preset)
        judged = {
            rule: judge_phrases(scene, asked, tas.language, preset)
            for rule, preset in rules.items()
        }
        named = mine_negatives(scene.phrases, str(sample.category), tas.language, threshold)
        for index, nearest in enumerate(judged["nearest"]):
            found.append({
                "row": row, "index": index, "phrase": nearest.phrase, "noun": nearest.noun,
                "similarity": nearest.similarity,
                "kept": judged[tas.preset.language.synonym_rule][index].kept,
                **{rule: judged[rule][index].kept for rule in SYNONYM_RULES},
                "target": not named[index].kept,
            })  # fmt: skip
    names = ("row", "index", "phrase", "noun", "similarity", "kept", *SYNONYM_RULES, "target")
    return pd.DataFrame(found, columns=list(names))


def with_negatives(part: Part, table: pd.DataFrame, choices: Mapping[str, Kept]) -> ScoreTable:
    """The scores of a run with N by other choices of negatives, each a rule of `ScoreTable.n`.

    Args:
        part: the run.
        table: of `mined`.
        choices: by a name, which rows of the table are negatives.
    """
    gallery, scores = Gallery(part), part.run.scores()
    tas = gallery.tas
    scale = cosine_scale(tas.encoder, tas.preset)
    scenes = {image: gallery.picture(image)[1] for image in dict.fromkeys(part.images)}
    places = scores.groupby("sample_id").indices
    rows = table.groupby("row").indices
    n = {name: np.zeros(len(scores)) for name in choices}
    for row, sample in enumerate(part.samples.itertuples()):
        here = rows.get(row, np.zeros(0, np.intp))
        if sample.sample_id not in places:
            continue
        at = places[sample.sample_id]
        for name, kept in choices.items():
            scene = scenes[str(sample.image_id)]
            few = table["index"].to_numpy()[here[kept[here]]]
            values = scale * n_score(scene.crop_embeddings, scene.phrase_embeddings[few])
            n[name][at] = values[scores["proposal"].to_numpy(np.int64)[at]]
    columns = {f"n_{name}": values for name, values in n.items()}
    return ScoreTable(scores.assign(**columns), part.samples, Rules.of(part.run))


def choice_gains(
    part: Part,
    table: pd.DataFrame,
    choices: Mapping[str, Kept],
    n_boot: int = 1000,
    over: str = "",
) -> pd.DataFrame:
    """What V + lambda N gains by several choices of negatives, with the run's own lambda.

    Args:
        part: the run.
        table: of `mined`.
        choices: see `with_negatives`.
        n_boot: resamples of images.
        over: the choice that the others are set against; empty: no negative at all, V alone.

    Returns:
        Columns question (""), group (the choice), negatives (mean number a sentence), mean, low,
        high (change of mIoU, paired), n.
    """
    import pandas as pd

    scores, lam = with_negatives(part, table, choices), part.run.record.lam
    plain, rows = part.pixels("V", False), []
    if over:
        plain = scores.pixels(scores.choose(0, lam, "none", over))
    for name, kept in choices.items():
        found = scores.pixels(scores.choose(0, lam, "none", name))
        rows.append({
            "question": "", "group": name, "negatives": kept.sum() / max(len(part.samples), 1),
            **gain(part, found, plain, None, n_boot),
        })  # fmt: skip
    return pd.DataFrame(rows)


def by_threshold(table: pd.DataFrame, thresholds: Iterable[float]) -> dict[str, Kept]:
    """Negatives by other thresholds of path similarity, rule `nearest`."""
    return {f"similarity < {t:g}": (table["similarity"] < t).to_numpy(bool) for t in thresholds}


def by_first(table: pd.DataFrame, counts: Iterable[int]) -> dict[str, Kept]:
    """The run's negatives had the caption stopped after so many noun phrases."""
    kept = table["kept"].to_numpy(bool)
    return {f"caption cut to {k}": kept & (table["index"] < k).to_numpy(bool) for k in counts}


def by_detail(part: Part, table: pd.DataFrame, n_boot: int = 1000) -> pd.DataFrame:
    """What N adds to V, by the number of noun phrases in the picture's caption.

    Returns:
        Columns question (""), group, negatives (mean number), mean, low, high (change of mIoU,
        paired), n.
    """
    import pandas as pd

    rows_of = range(len(part.samples))
    phrases, kept = (
        counts.reindex(rows_of, fill_value=0).to_numpy(np.int64)
        for counts in (table.groupby("row").size(), table.groupby("row")["kept"].sum())
    )
    plain, full = part.pixels("V", False), part.pixels("V+N", False)
    rows = []
    for name, (low, high) in DETAIL.items():
        who = (phrases >= low) & (phrases <= high)
        if who.any():
            group = {"question": "", "group": f"captions of {name}", "negatives": kept[who].mean()}
            rows.append(group | gain(part, full, plain, who, n_boot))
    return pd.DataFrame(rows)


def own_negatives(part: Part, table: pd.DataFrame, rule: str = "kept") -> pd.DataFrame:
    """The sentences whose target is among their own negatives.

    Args:
        part: the run.
        table: of `mined`.
        rule: a bool column of the table: `kept` is the preset's rule.

    Returns:
        Columns row, phrase (the first that names the target), text, category, negatives (number).
    """
    both = table.loc[table[rule] & table["target"], ["row", "phrase"]].drop_duplicates("row")
    about = part.samples[["text", "category"]].reset_index(drop=True)
    kept = table.groupby("row")[rule].sum().rename("negatives")
    return both.join(about, on="row").join(kept, on="row").reset_index(drop=True)


def moved(part: Part) -> dict[str, NDArray[np.int64]]:
    """Rows of the samples that N moves: `to right`, `to wrong`, `elsewhere` (V+N against V)."""
    choose = part.scores.choose
    before, after = choose(0, 0, "none"), choose(0, part.run.record.lam, "none")
    was, now = is_right(part, before), is_right(part, after)
    other = (before != after) & (was == now)
    return {
        "to right": np.flatnonzero(now & ~was),
        "to wrong": np.flatnonzero(was & ~now),
        "elsewhere": np.flatnonzero(other),
    }


def self_pairs(part: Part) -> pd.DataFrame:
    """The first nouns of the sentences, and how many senses each of them shares with itself.

    Returns:
        Columns noun, pairs, sentences, ascending in pairs. Of fewer than 3 the rule `three_pairs`
        makes no synonym: a caption with that noun makes the target its own negative.
    """
    import pandas as pd

    tas = Gallery(part).tas
    texts = map(str, part.samples["text"])
    phrases = [parse_expression(text, tas.language, tas.preset).phrase for text in texts]
    nouns = [tas.language.parse(phrase).first_noun for phrase in phrases]
    table = pd.Series(nouns, name="noun").value_counts().rename("sentences").reset_index()
    pairs = [similar_pairs(noun, noun) if noun else 0 for noun in table["noun"]]
    table.insert(1, "pairs", pairs)
    return table.sort_values(["pairs", "noun"], ignore_index=True)


def summary(
    part: Part,
    table: pd.DataFrame,
    selves: pd.DataFrame,
    gains: pd.DataFrame,
    richer: pd.DataFrame,
) -> list[str]:
    """Say in words what the tables hold.

    gains: of `choice_gains`; richer: the same over the shortest caption, its last row the whole.
    """
    counts = {name: len(rows) for name, rows in moved(part).items()}
    told = [(str(row["group"]), row) for row in gains.to_dict("records")]
    told += [("whole caption against the shortest", richer.iloc[-1].to_dict())]
    lines = [
        f"{len(table) / max(len(part.samples), 1):.1f} noun phrases a sentence are judged,"
        f" {100 * table['kept'].mean():.0f} % of them are negatives.",
        f"N moves {sum(counts.values())} of {len(part.samples)} answers: {counts['to right']} to"
        f" right, {counts['to wrong']} to wrong.",
    ]
    if not part.run.record.lam:
        lines.append("The run's lambda is 0, so N has no say in it.")
    for rule in SYNONYM_RULES:
        own = len(own_negatives(part, table, rule))
        lines.append(f"Rule {rule}: {own} sentences have their own target among the negatives.")
    few = selves.loc[selves["pairs"] < 3, "sentences"].sum()
    lines.append(
        f"Rule three_pairs could not spare the target in {few} of {selves['sentences'].sum()}"
        " sentences, were it named in the caption."
    )
    lines += [f"{finding(row | {'piece': f'N, {name},'})}." for name, row in told]
    return lines
