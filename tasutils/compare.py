"""Runs as text and side by side: the same sentences, paired, and what changed around them.

Times and memory are left aside where runs are set against each other: they differ always.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import product
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from tasutils.config import Difference, difference_lines, differences
from tasutils.controls import controls
from tasutils.errors import TasError, one_line
from tasutils.language import Parser
from tasutils.language.asks import ASKS
from tasutils.metrics import (
    CONVENTION,
    CONVENTIONS,
    Floats,
    aurc,
    bootstrap_ratios,
    convention_ratios,
    iou,
    metric,
    metric_variants,
    paired_difference,
    percent,
    risk_coverage,
)
from tasutils.models import model_at, saw
from tasutils.paths import weights_path
from tasutils.runs import MASKS_FOLDER, RECORD_FILE, Metric, Run, RunRecord, metrics_of
from tasutils.score_table import no_target, pixels_of

if TYPE_CHECKING:
    import pandas as pd

METRICS = ("oiou", "miou", "p@0.5")
WON = 0.05  # a sentence is won by more IoU than this; less is the rim of a mask
MOST = 10  # sentences shown unless all are asked for
# A device adds the same numbers in another order, which moves a total by less than half of this
# (the largest difference between float32 and float64 networks, embeddings kept as float16 both
# times, was 2.3e-5 over 107 sentences of RefScenes testS with the preset tiny). So the choice among
# the same masks with the same captions agrees across devices wherever the margin exceeds it.
TOLERANCE = 1e-4  # of a total in cosines, or of a peer's score
_LOGIT_SCALE = 100.0  # the largest that CLIP's training allows; a smaller one counts more as close
_PAIRED = ("miou_difference", "miou_difference_low", "miou_difference_high", "won", "lost")
_DATA = ("dataset", "split", "split_by", "index_digest", "n_total", "n_used", "n_images")
_CODE = ("git_commit", "git_dirty", "metric_version", "device", "dtype")
Facts = dict[str, tuple[Any, Any]]


def _shown(name: str) -> str:
    for short, shown in (("oracle_", "oracle "), ("iou", "IoU"), ("p@", "P@"), ("pr@", "Pr@")):
        name = name.replace(short, shown)
    return name.replace("n_acc", "N-acc").replace("t_acc", "T-acc")


# --- one run ---


def run_lines(run: Run) -> list[str]:
    """A run as `tas evaluate` prints it: its summary, PhraseCut's parts, and where it lies."""
    lines = [summary_line(run)]
    if run.record.metrics:
        lines.append(
            f"    95 % intervals over images, then the oracle; {CONVENTION}; other conventions: "
            f"tas compare {run.folder}"
        )
        blind = controls(run)
        doubt = "" if blind.told_apart else f"; NOT TOLD APART from {blind.best}"
        lines.append(f"    {blind}{doubt}")
    if run.record.dataset == "phrasecut":
        from tasutils.datasets.phrasecut import subsets

        members = subsets(run.samples)
        # one mask is the whole answer, so phrases with several instances are capped
        for name in ("i_single", "i_multi"):
            part = run.samples[members[name]]
            if len(part):
                found = metrics_of(part, run.epsilon)
                without = int((part["n_proposals"] == 0).sum())
                lines.append(
                    f"    {name}: mean IoU {_figure(found, 'miou')}, cumulative IoU "
                    f"{_figure(found, 'oiou')} (n = {len(part)}, {without} without a proposal)"
                )
    if run.record.method != "tas":  # what was amiss follows the first reason
        amiss = run.samples["reason"].str.split("; ").str[1:].explode().value_counts()
        lines += [f"    {count} of {run.record.n_used}: {note}" for note, count in amiss.items()]
    lines.append(f"    {run.folder}")
    if (run.folder / MASKS_FOLDER).is_dir():
        lines.append(f"    chosen masks: {run.folder / MASKS_FOLDER}/<sample_id>.png")
    return lines


def summary_line(run: Run) -> str:
    """The run in one line: what, on how much of it, each metric with interval and oracle."""
    what = f"{_subject(run.record)} ({_scope(run.record)})"
    if not run.record.metrics:
        return f"{what}: no ground truth, so no metric"
    figures = (f"{_shown(name)} {_figure(run.record.metrics, name)}" for name in METRICS)
    return f"{what}: {', '.join(figures)}"


def _subject(record: RunRecord) -> str:
    """Data set, split, preset and method of a run."""
    method = "" if record.method == "tas" else record.method
    names = (record.dataset, record.split_by, record.split, record.preset, method)
    return one_line(" ".join(filter(None, names)))


def _scope(record: RunRecord) -> str:
    """What the numbers of a run rest on: "partial" first, if it is over part of its split."""
    scope = f"n = {record.n_used} sentences, {record.n_images} images"
    if record.partial:
        scope = f"partial, {scope} of {record.n_images_total}"
    if record.n_without_mask:
        scope += f"; metrics on the {record.n_used - record.n_without_mask} with a mask"
    return f"{scope}; {record.n_without_proposals} without a proposal"


def _figure(metrics: Mapping[str, Metric], name: str) -> str:
    """A metric in per cent with its interval, and the oracle's."""
    found = metrics[name]
    own = percent(found.value, found.low, found.high)
    return f"{own} of {100 * metrics[f'oracle_{name}'].value:.1f}"


def conventions_text(run: Run) -> str:
    """One run by every convention in print, in per cent, and how many of its choices were close.

    Raises TasError where no sentence has a ground truth.
    """
    import pandas as pd

    _require_metrics(run)
    table = metric_variants(run.samples)
    first = ~table.duplicated("convention")
    rows = table.to_dict("records")
    shown = pd.DataFrame({
        "convention": table["convention"].where(first, ""),
        "metric": table["metric"].map(_shown),
        "value": [f"{100 * row['value']:.2f}" for row in rows],
        "95 % interval": [f"[{100 * row['low']:.2f}, {100 * row['high']:.2f}]" for row in rows],
        "oracle": [f"{100 * row['oracle']:.2f}" for row in rows],
        "n": [f"{row['n']} {row['unit']}s" for row in rows],
        "without a proposal": table["n_without_proposals"],
    })  # fmt: skip
    own = "epsilon" if run.epsilon else "sentence"
    head = f"{_subject(run.record)} ({_scope(run.record)}), recorded by convention {own}"
    says = [f"{row['convention']}: {row['says']}" for _, row in table[first].iterrows()]
    says += [str(controls(run)), _trust(run)]
    absent = [c.name for c in CONVENTIONS if c.prefix and c.name not in set(table["convention"])]
    if absent:
        says.append(
            f"{', '.join(absent)}: not told apart in this run: no annotation of its split has "
            "several polygons"
        )
    n_close, n, tolerance = close_calls(run)
    says.append(
        f"{n_close} of {n} choices ({100 * n_close / max(n, 1):.1f} %) have a margin of "
        f"{tolerance:g} or less, the best total minus the second: there another device may choose "
        "otherwise"
    )
    if run.record.dataset == "phrasecut":
        from tasutils.datasets.phrasecut import scores

        says += [
            "by PhraseCut's own evaluator, which leaves out tasks without a mask (n_missing):",
            scores(run.samples, as_published=True).round(4).to_string(),
        ]
    return "\n".join([head, shown.to_string(index=False), "", *says])


def _trust(run: Run) -> str:
    """What is gained by answering only the sentences with the largest margins."""
    table, margins = run.samples, np.nan_to_num(run.table.margins(), nan=-1.0, posinf=9.0)
    known = table["gt_area_px"].notna().to_numpy()
    wrong, sure = (table["iou"] <= 0.5).to_numpy(float)[known], margins[known]
    found, risk = aurc(wrong, sure, run.images[known]), risk_coverage(wrong, sure)[1]
    return (
        f"the largest margins first: AURC {percent(*found['aurc'][:3])}, "
        f"{percent(*found['gain'][:3])} below a random order; "
        f"{100 * risk[(len(risk) - 1) // 2]:.1f} % wrong in half of the answers, "
        f"{100 * risk[-1]:.1f} % in all"
    )


def _require_metrics(run: Run) -> None:
    if not run.record.metrics:
        raise TasError(f"{run.folder.name} has no metric: its data set has no ground truth")


def close_calls(run: Run) -> tuple[int, int, float]:
    """How many choices of a run are within the tolerance of another mask, of how many; which."""
    scaled = run.record.config.get("scores", {}).get("logit_scale", False)
    tas = run.record.method in ("tas", "clip_only", "text_only")
    tolerance = TOLERANCE * (_LOGIT_SCALE if scaled and tas else 1)
    margins = run.table.margins()
    return int((margins <= tolerance).sum()), int((~np.isnan(margins)).sum()), tolerance


# --- several runs side by side ---


def results_table(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run that has metrics, what results.csv holds: all from its record.

    Columns dataset, split, method, preset, run_id, created, n, n_images, n_images_total,
    n_without_proposals, partial; oiou, miou, p@0.5 as fractions, each with `_low` and `_high`
    (95 %, bootstrap over images) and, before its name, `oracle_`; s_per_sentence (the method's own
    time, on a described scene), config_digest, git_commit.
    """
    import pandas as pd

    return pd.DataFrame([_row(run) for run in runs if run.record.metrics])


def compare_runs(runs: Sequence[Run]) -> pd.DataFrame:
    """One row a run, each against the first run of the same sentences.

    The columns of `results_table`; label; told_apart, whether the run is above what reads no
    sentence (`controls`), and controls, these in words; saw, what its networks saw of such pictures
    in training; miou_difference with its ends (paired, this run minus the first), won and lost
    (sentences whose IoU is more than `WON` above or below the first run's); NaN for the first.
    TasError: less than two runs, one without a metric, or runs of one split with other sentences or
    another ground truth.
    """
    if len(runs) < 2:
        raise TasError(f"{len(runs)} run to compare; name two or more")
    return _side_by_side(runs)


def _side_by_side(runs: Sequence[Run]) -> pd.DataFrame:
    import pandas as pd

    rows = []
    for run, first in _beside(runs):
        blind = controls(run)
        told = {"told_apart": blind.told_apart, "controls": str(blind), "saw": _saw(run)}
        rows.append(_row(run) | {"label": _label(run), **told} | _against(run, first))
    return pd.DataFrame(rows)


def asked(run: Run) -> pd.DataFrame:
    """What each sentence of a run asks for, bool (n, ...): see `Asks.findings`; `plain`: nothing.

    Read again by the run's parser. A sentence that asks for several things counts in each.
    """
    import pandas as pd

    parser = Parser(run.record.config["language"]["spacy_model"])
    found = [parser.parse(text).asks.findings() for text in run.samples["text"]]
    asks = pd.DataFrame(found, run.samples.index, list(ASKS)).notna()
    return asks.assign(plain=~asks.any(axis=1))


def by_asks(runs: Sequence[Run]) -> pd.DataFrame:
    """One row for each thing that the sentences of a split ask for, and run; see `asked`.

    Columns dataset, split, partial, asks, label, n; the metrics of `results_table`; the paired
    columns of `compare_runs`. TasError: a run without a metric, or with other sentences.
    """
    import pandas as pd

    rows = []
    pairs = [(run, first, asked(first)) for run, first in _beside(runs)]
    for name, (run, first, asks) in product([*ASKS, "plain"], pairs):
        who = asks[name].to_numpy()
        if found := metrics_of(run.samples.iloc[same_order(run, first)][who], run.epsilon):
            head = {**_place(run), "partial": run.record.partial, "asks": name}
            head |= {"label": _label(run), "n": found["miou"].n}
            rows.append(head | _figures(found) | _against(run, first, who))
    return pd.DataFrame(rows)


def by_asks_text(table: pd.DataFrame) -> str:
    """A table of `by_asks` as text, numbers in per cent, one block a data set and split."""
    import pandas as pd

    blocks = []
    for (dataset, split), part in table.groupby(["dataset", "split"], sort=False):
        columns = {
            "asks": part["asks"].mask(part["asks"].duplicated(), ""),
            "method": part["label"],
            **{_shown(name): spans(part, name) for name in METRICS},
            "oracle mIoU": [f"{100 * value:.1f}" for value in part["oracle_miou"]],
            "mIoU difference": spans(part, "miou_difference", signed=True),
            "n": part["n"],
        }
        head = f"{dataset} {split}{', partial' if part['partial'].any() else ''}"
        blocks.append(f"{one_line(head)}\n{pd.DataFrame(columns).to_string(index=False)}")
    says = "a sentence that asks for several things counts in each; 95 % intervals over images"
    return "\n\n".join([*blocks, f"{says}; {CONVENTION}"])


def _beside(runs: Sequence[Run]) -> Iterator[tuple[Run, Run]]:
    """Each run with the first of its data set and split; TasError for one without a metric."""
    firsts: dict[tuple[str, str, str], Run] = {}
    for run in runs:
        _require_metrics(run)
        record = run.record
        yield run, firsts.setdefault((record.dataset, record.split_by, record.split), run)


def _label(run: Run) -> str:
    return f"{run.record.method} ({run.record.preset})"


def _place(run: Run) -> dict[str, object]:
    names = filter(None, (run.record.dataset, run.record.split_by))
    return {"dataset": " ".join(names), "split": run.record.split}


def _figures(metrics: Mapping[str, Metric]) -> dict[str, object]:
    """The columns of `METRICS`."""
    row: dict[str, object] = {}
    for name in METRICS:
        found = metrics[name]
        row |= {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
        row[f"oracle_{name}"] = metrics[f"oracle_{name}"].value
    return row


def _row(run: Run) -> dict[str, object]:
    record = run.record
    return {
        **_place(run), "method": record.method, "preset": record.preset,
        "run_id": record.run_id, "created": record.created, "n": record.metrics["miou"].n,
        "n_images": record.metrics["miou"].n_images, "n_images_total": record.n_images_total,
        "n_without_proposals": record.n_without_proposals, "partial": record.partial,
        **_figures(record.metrics), "s_per_sentence": record.answer_s / max(record.n_used, 1),
        "config_digest": record.config_digest, "git_commit": record.git_commit,
    }  # fmt: skip


def _saw(run: Run) -> str:
    """What the networks saw that had a say; of one that draws, its own."""
    own = {k: m for k, m in run.record.models.items() if k.startswith(f"{run.record.method}.")}
    found = (own if "own_mask" in run.samples else run.record.models).values()
    known = (model_at(weights_path(model.name)) for model in found)
    told = saw([model.name for model in known if model])
    drawn = any(model.name.startswith("tiny/") for model in found)
    return ", ".join(filter(None, [told, "this drawn world" * drawn]))


def _against(run: Run, first: Run, some: NDArray[np.bool_] | bool = True) -> dict[str, object]:
    """The paired columns of a run beside the first of its split; some: (n,), of its sentences."""
    if run is first:
        return dict.fromkeys(_PAIRED, np.nan)
    mine, theirs = run.samples.iloc[same_order(run, first)], first.samples
    known = theirs["gt_area_px"].notna().to_numpy() & some
    pairs = [pixels_of(table[known]) for table in (mine, theirs)]
    empty = first.no_target[known]
    (found,) = paired_difference(
        pairs[0], pairs[1], first.images[known], ("miou",), no_target=empty
    ).values()
    gain = iou(*pairs[0], 0.0, empty) - iou(*pairs[1], 0.0, empty)
    won, lost = (int((sign * gain > WON).sum()) for sign in (1, -1))
    return dict(zip(_PAIRED, (*found[:3], won, lost), strict=True))


def same_order(run: Run, first: Run) -> NDArray[np.int64]:
    """The rows of a run's samples in another run's order; TasError where sentences differ."""
    import pandas as pd

    mine, theirs = run.samples["sample_id"], first.samples["sample_id"]
    order = pd.Index(mine).get_indexer(theirs)
    same = len(mine) == len(theirs) and not (order < 0).any()
    if not same or run.record.index_digest != first.record.index_digest:
        raise TasError(
            f"{run.record.run_id} and {first.record.run_id} answer different sentences of "
            f"{run.record.dataset} {run.record.split}; evaluate both with the same limit"
        )
    return np.asarray(order, np.int64)


def compare_text(table: pd.DataFrame) -> str:
    """A table of `compare_runs` as text, numbers in per cent, one block a data set and split."""
    blocks = [
        f"{head}\n{shown.to_string(index=False)}\n{blind}" for head, shown, blind in _blocks(table)
    ]
    return "\n\n".join([*blocks, f"95 % intervals over images; {CONVENTION}"])


def _blocks(table: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, str]]:
    """Heading, numbers and controls of each data set and split."""
    import pandas as pd

    def joined(values: pd.Series, form: str = ".1f") -> str:
        return " / ".join(dict.fromkeys(f"{value:{form}}" for value in values))

    for (dataset, split), part in table.groupby(["dataset", "split"], sort=False):
        first, partial = part.iloc[0], part["partial"].any()
        scope = f"{'partial, ' if partial else ''}n = {first['n']} sentences, "
        scope += f"{first['n_images']} images{f' of {first.n_images_total}' if partial else ''}"
        best = ", ".join(f"{_shown(n)} {joined(100 * part[f'oracle_{n}'])}" for n in METRICS)
        head = (
            f"{dataset} {split}: {scope}; {joined(part['n_without_proposals'], '.0f')} without a "
            f"proposal; oracle {best}; differences from {first['label']}"
        )
        columns = {
            "method": part["label"] + np.where(part["told_apart"], "", " *"),
            **{_shown(name): spans(part, name) for name in METRICS},
            "mIoU difference": spans(part, "miou_difference", signed=True),
            "won / lost": [f"{a:.0f} / {b:.0f}" for a, b in part[["won", "lost"]].to_numpy()],
            "ms a sentence": [f"{1000 * s:.1f}" for s in part["s_per_sentence"]],
            "its networks saw": list(part["saw"]),
        }
        shown = pd.DataFrame(columns).replace("nan / nan", "")
        blind = f"{first['controls']}; * not told apart from the best of these"
        yield one_line(head), shown, blind


def page(runs: Sequence[Run]) -> str:
    """A page of HTML: what answered the same sentences side by side, whole splits and parts apart.

    Of runs of one method with the same settings only the newest; each links to its record.
    """
    groups: dict[tuple[object, ...], dict[tuple[str, ...], Run]] = {}
    for run in sorted(runs, key=lambda run: (run.record.method != "tas", run.record.created)):
        r = run.record
        same = (r.dataset, r.split_by, r.split, r.index_digest, r.n_used, r.n_images)
        settings = (r.method, str(r.method_settings), r.config_digest)
        if r.metrics:
            groups.setdefault(same, {})[settings] = run
    parts = []
    for group in groups.values():
        links = [
            f'<a href="{quote(r.folder.name)}/{RECORD_FILE}">record</a>' for r in group.values()
        ]
        for head, shown, blind in _blocks(_side_by_side(list(group.values()))):
            shown = shown.map(lambda cell: escape(str(cell))).assign(record=links)
            rows = shown.to_html(index=False, border=0, escape=False)
            parts.append(f"<h2>{escape(head)}</h2>{rows}<p>{escape(blind)}</p>")
    style = (
        "body {font: 15px sans-serif; margin: 2em} td, th {padding: .2em .6em; text-align: left}"
    )
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Runs side by side</title>'
        f"<style>{style}</style><h1>Runs side by side</h1>{''.join(parts)}"
        f"<p>95 % intervals over images; {escape(CONVENTION)}</p></html>"
    )


def convention_text(runs: Sequence[Run], name: str) -> str:
    """Runs of the same sentences by one convention, each less the first, paired; in per cent.

    Raises TasError for no such convention, and where a run lacks what it needs.
    """
    import pandas as pd

    named = {c.name: c for c in CONVENTIONS}
    if name not in named:
        raise TasError(f"no convention {name!r}; there are {', '.join(named)}")
    rows, images = [], runs[0].images
    firsts: dict[str, tuple[Floats, Floats]] = {}
    for run in runs:
        samples = run.samples.iloc[same_order(run, runs[0])]
        known = samples["gt_area_px"].notna().to_numpy()
        if name not in set(metric_variants(samples[known])["convention"]):
            raise TasError(f"{run.folder.name} has nothing that convention {name} counts")
        ratios = convention_ratios(named[name], samples[known])
        firsts = firsts or ratios
        own = bootstrap_ratios(ratios, images[known])
        gain = bootstrap_ratios(ratios, images[known], firsts)
        label = f"{run.record.method} ({run.record.preset})"
        rows += [
            (label, _shown(m), percent(*own[m][:3]), percent(*gain[m][:3], signed=True))
            for m in ratios
        ]  # fmt: skip
    table = pd.DataFrame(rows, columns=["method", "metric", "value", "difference"])
    head = f"{_subject(runs[0].record)} ({_scope(runs[0].record)}): {named[name].says}"
    return f"{one_line(head)}\n{table.to_string(index=False)}"


def spans(table: pd.DataFrame, name: str, signed: bool = False) -> list[str]:
    """A value with its ends in per cent, of each row; nothing for NaN."""
    rows = table[[name, f"{name}_low", f"{name}_high"]].to_numpy(float)
    return ["" if np.isnan(row[0]) else percent(*row, signed=signed) for row in rows]


# --- what changed from one run to another ---


@dataclass(frozen=True)
class RunDiff:
    """What changed from the first run to the second.

    facts: by `method`, `data`, `models` and `code` both values of what differs; numbers: one row a
    metric over the sentences that both runs answered, with the second's value minus the first's,
    paired; None where there are none. sentences: one row for each such sentence, see
    `sentence_table`; None over other data. pictures: names of those whose pixels differ.
    """

    first: Run
    second: Run
    settings: list[Difference]
    facts: dict[str, Facts]
    numbers: pd.DataFrame | None = None
    sentences: pd.DataFrame | None = None
    pictures: list[str] | None = None

    @property
    def alone(self) -> tuple[int, int]:
        """How many sentences only the first and only the second run has."""
        n = 0 if self.sentences is None else len(self.sentences)
        return self.first.record.n_used - n, self.second.record.n_used - n

    @property
    def changed(self) -> pd.DataFrame | None:
        """The sentences with another mask or IoU, the largest change of IoU first."""
        if self.sentences is None:
            return None
        rows = self.sentences[self.sentences["changed"]]
        return rows.sort_values("change", key=lambda change: -change.abs().fillna(0), kind="stable")

    def to_json(self, every: bool = False) -> str:
        """As JSON; of the sentences those that changed, or with `every` all."""
        content = {
            "first": self.first.record.run_id, "second": self.second.record.run_id,
            "settings": [row._asdict() for row in self.settings], **self.facts,
            "pictures": self.pictures, "numbers": _records(self.numbers),
            "n_common": None if self.sentences is None else len(self.sentences),
            "n_changed": None if self.changed is None else len(self.changed),
            "n_only_first": self.alone[0], "n_only_second": self.alone[1],
            "sentences": _records(self.sentences if every else self.changed),
        }  # fmt: skip
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)


def _records(table: pd.DataFrame | None) -> list[dict[Any, Any]] | None:
    """Rows of a table as JSON takes them: None for NaN."""
    if table is None:
        return None
    return list(table.astype(object).where(table.notna(), None).to_dict("records"))


def diff_runs(first: Run, second: Run) -> RunDiff:
    """Compare two runs, of whatever data; raises TasError for a missing or damaged table."""
    one, other = first.record, second.record
    settings = differences(one.config, other.config)
    facts = {name: _facts(told(one), told(other)) for name, told in _TOLD.items()}
    if any(getattr(one, name) != getattr(other, name) for name in _DATA[:4]):
        return RunDiff(first, second, settings, facts)
    sentences = sentence_table(first.samples, second.samples)
    numbers = _numbers(first, second, sentences["sample_id"].to_list())
    pictures = other_pictures(first.samples, second.samples)
    return RunDiff(first, second, settings, facts, numbers, sentences, pictures)


_TOLD = {
    "method": lambda r: {"method": r.method, **r.method_settings},
    "data": lambda r: {name: getattr(r, name) for name in _DATA},
    "models": lambda r: {name: f"{m.name} {m.sha256[:12]}" for name, m in r.models.items()},
    "code": lambda r: {
        **{name: getattr(r, name) for name in _CODE},
        **{f"seed of the {name}": value for name, value in r.seeds.items()},
        **r.versions,
    },
}


def _facts(first: Mapping[str, Any], second: Mapping[str, Any]) -> Facts:
    """Both values of what differs, by name; None for what one of them has not."""
    rows = {name: (first.get(name), second.get(name)) for name in [*first, *second]}
    return {name: pair for name, pair in rows.items() if pair[0] != pair[1]}


def sentence_table(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """The sentences of two tables of samples side by side, in the order of the first.

    sample_id, image_id, text, n_proposals_first, n_proposals_second, chosen_first, chosen_second
    (index of the mask, -1 for none), iou_first, iou_second, change (of IoU; NaN without ground
    truth), other_masks: do the proposals surely differ, so that an index means another mask;
    changed: is anything of this, or of the pixels, another.
    """
    import pandas as pd

    names = ["n_proposals", "chosen", "iou", "intersection_px", "union_px", "oracle_iou"]
    pair = [table.set_index("sample_id") for table in (first, second)]
    ids = pair[0].index.intersection(pair[1].index, sort=False)
    one, other = (table.loc[ids, names] for table in pair)
    same = one.eq(other) | (one.isna() & other.isna())
    columns = [pair[0].loc[ids, ["image_id", "text"]]]
    for name in names[:3]:
        columns += [one[[name]].add_suffix("_first"), other[[name]].add_suffix("_second")]
    table = pd.concat(columns, axis=1).assign(
        change=other["iou"] - one["iou"],
        other_masks=~same[["n_proposals", "oracle_iou"]].all(axis=1),
        changed=~same.all(axis=1),
    )
    return table.reset_index()


def other_pictures(first: pd.DataFrame, second: pd.DataFrame) -> list[str]:
    """The pictures of two tables of samples, by name, whose pixels differ."""
    one, other = (dict(table[["image_id", "image_digest"]].to_numpy()) for table in (first, second))
    return [str(name) for name, digest in one.items() if other.get(name, digest) != digest]


def _numbers(first: Run, second: Run, ids: list[str]) -> pd.DataFrame | None:
    """One row a metric over common sentences with ground truth; see `RunDiff`."""
    import pandas as pd

    one, other = (run.samples.set_index("sample_id").loc[ids] for run in (first, second))
    known = one["gt_area_px"].notna() & other["gt_area_px"].notna()
    if not known.any():
        return None
    one, other = one[known], other[known]
    epsilons, empty, rows = (first.epsilon, second.epsilon), no_target(one), []
    for who in ("", "oracle_"):
        pairs = [pixels_of(table, who) for table in (one, other)]
        found = paired_difference(
            pairs[1], pairs[0], one["image_id"].to_numpy(str), epsilons=epsilons[::-1],
            no_target=empty,
        )  # fmt: skip
        for name, span in found.items():
            values = (
                metric(*pair, name, epsilon=e, no_target=empty)
                for pair, e in zip(pairs, epsilons, strict=True)
            )
            rows.append((f"{who}{name}", *values, *span))
    columns = ["metric", "first", "second", "difference", "low", "high", "n", "n_images"]
    return pd.DataFrame(rows, columns=columns).assign(
        n_without_proposals_first=int((one["n_proposals"] == 0).sum()),
        n_without_proposals_second=int((other["n_proposals"] == 0).sum()),
    )


def diff_lines(diff: RunDiff, every: bool = False) -> list[str]:
    """What changed, for reading; every: all sentences."""
    lines = [
        f"{which}: {run.record.run_id}: {_subject(run.record)} ({_scope(run.record)})"
        for which, run in (("first ", diff.first), ("second", diff.second))
    ]
    n = len(diff.settings)
    lines += ["", f"settings: {n} differ{'s' * (n == 1)}" if n else "settings: the same"]
    lines += [f"    {line}" for line in difference_lines(diff.settings, ("first", "second")) if n]
    for what, facts in diff.facts.items():
        lines.append(f"{what}:" if facts else f"{what}: the same")
        for name, pair in facts.items():
            shown = ["-" if x is None or x == "" else one_line(str(x)) for x in pair]
            lines.append(f"    {one_line(name)}: {shown[0]} -> {shown[1]}")
    if diff.sentences is None:
        return [*lines, "", "numbers: not paired: the two runs are over other data"]
    lines.append(f"pictures: {pictures_told(diff.pictures) if diff.pictures else 'the same'}")
    return [*lines, "", *_number_lines(diff), "", *_sentence_lines(diff, every)]


def pictures_told(names: list[str]) -> str:
    """Pictures that differ, counted, the first few by name."""
    told = one_line(", ".join(names[:5])) + (", ..." if len(names) > 5 else "")
    return f"{len(names)} differ{'s' * (len(names) == 1)} in their pixels: {told}"


def _number_lines(diff: RunDiff) -> list[str]:
    table = diff.numbers
    if table is None:
        return ["numbers: none: no sentence in common that has a ground truth"]
    first = table.iloc[0]
    partial = diff.first.record.partial or diff.second.record.partial
    scope = (
        f"{'partial, ' if partial else ''}n = {first['n']} common sentences, "
        f"{first['n_images']} images; {first['n_without_proposals_first']} and "
        f"{first['n_without_proposals_second']} without a proposal"
    )
    if any(diff.alone):
        scope += f"; only in the first {diff.alone[0]}, in the second {diff.alone[1]}"
    shown = (100 * table[["first", "second"]]).map("{:.2f}".format)
    shown.insert(0, "metric", table["metric"].map(_shown))
    ends = 100 * table[["difference", "low", "high"]].to_numpy(float)
    shown["difference"] = [f"{mid:+.2f} [{low:+.2f}, {high:+.2f}]" for mid, low, high in ends]
    head = f"numbers ({scope}; second minus first, paired, 95 % over images):"
    return [head, *(f"    {line}" for line in shown.to_string(index=False).split("\n"))]


def _sentence_lines(diff: RunDiff, every: bool) -> list[str]:
    changed, everything = diff.changed, diff.sentences
    assert changed is not None and everything is not None
    masks = int((changed["chosen_first"] != changed["chosen_second"]).sum())
    better, worse = (int((sign * changed["change"] > 0).sum()) for sign in (1, -1))
    head = (
        f"sentences: {len(changed)} of {len(everything)} changed: {masks} with another mask, "
        f"{better} with a better IoU, {worse} with a worse one"
    )
    if n_others := int(changed["other_masks"].sum()):
        head += f"; in {n_others} the proposals differ, where an index means another mask"
    rows = everything if every else changed.head(MOST)
    if len(rows) < len(changed):
        head += f"; the {len(rows)} largest changes (--all: every sentence)"
    lines = [head]
    for row in rows.to_dict("records"):
        mask = f"mask {row['chosen_first']}"
        if row["chosen_first"] != row["chosen_second"]:
            mask += f" -> {row['chosen_second']}"
        where = one_line(f"{row['sample_id']} ({row['image_id']})")
        ious = f"IoU {row['iou_first']:.3f} -> {row['iou_second']:.3f}"
        lines.append(f"    {where} {row['text']!r}: {mask}, {ious}")
    return lines
