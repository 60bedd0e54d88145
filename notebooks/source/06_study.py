# %% [markdown]
# # 06 · The study: what V, P, N and the rectifier each bring
#
# In this notebook you take the method apart: the same sentences are answered with V, V+P, V+N and all three, each without and with the spatial rectifier, between a mask drawn at random and the oracle, the best mask that was proposed.
#
# **What you'll do:** write the ablation as an argmax over stored scores and the bootstrap in five lines, then read what each piece brings, for whom, with which weights, rules and switches.
# **What you'll learn:** a variant costs no network: everything it needs was stored when the sentences were answered once; why an interval needs pictures, not sentences; why two methods are compared on the same sentences.
# **What you'll need:** runs, made by `tas evaluate refscenes val` or `make report`. **Takes:** under a minute, since everything is arithmetic on stored scores.
#
# RefScenes is a drawn world. Its numbers are never comparable with RefCOCO's, and the models of the preset `tiny` were trained in it, so they are not zero-shot.
#
# With the preset `photo` the same tables are about photographs: the splits valP and testP, composed of cut-outs, and the seven photographs of photos7 (n = 35, a smoke set). V is zero-shot there. Captions are composed from the classifier that also gives V, so P is no independent evidence, and each table says so.

# %% tags=["parameters"]
runs = ""  # folder names, comma separated; empty: the newest of each family and split
preset = "tiny"
switch_limit = 3  # pictures on which the switches of the released code are flipped; 0: none
n_boot = 1000  # bootstrap resamples of images
results = ""  # the folder of the runs; empty: results
save_to = ""  # a folder for the tables as CSV; empty: nowhere

# %%
from pathlib import Path

import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from tasutils import charts, paths, study, tables
from tasutils.errors import TasError
from tasutils.evaluate import newest_runs, run_of
from tasutils.gallery import KINDS, Gallery
from tasutils.notebooks import refuse_unknown
from tasutils.show import gallery
from tasutils.sweep import TUNING_SPLITS, at_own_weights, best_settings, sweep
from tasutils.tas import TAS

refuse_unknown()

# %% [markdown]
# ## The runs

# %%
found = newest_runs(results or paths.RESULTS, preset, runs)
note = tables.scope_note(found)
names = ["dataset", "split", "n_used", "n_total", "n_images", "n_without_proposals", "weights"]
pd.DataFrame([run.record.model_dump(include=set(names)) for run in found])[names]

# %% [markdown]
# ## A variant is an argmax over stored scores
#
# `scores.parquet` of a run has a row for every sentence and mask: its terms, whether it lies in the region, and its pixels in common with what was meant. Of the first sentence:

# %%
run = found[0]
scores = pd.read_parquet(run.folder / "scores.parquet")
shown = [*(f"term_{name}" for name in run.record.weights), "region", "intersection_px", "union_px"]
display(Markdown(f"**“{run.samples['text'].iloc[0]}”**"))
scores.loc[scores["sample_id"] == run.samples["sample_id"].iloc[0], ["proposal", *shown]]


# %% tags=["definition"]
def best_rows(scores, weights, rectifier=True):
    """The row of each sentence's answer: the highest sum in the region, if that holds any mask."""
    total = sum(weight * scores[f"term_{name}"] for name, weight in weights.items() if weight)
    sentence = scores["sample_id"]
    inside = scores["region"] | ~scores.groupby(sentence)["region"].transform("any")
    return total.where(inside | (not rectifier)).groupby(sentence, sort=False).idxmax()


# %% tags=["definition"]
def sentence_ious(scores, rows, sample_ids):
    """IoU of each sentence's answer; 0 where no mask was proposed."""
    iou = scores["intersection_px"] / scores["union_px"]
    return pd.Series(iou[rows].to_numpy(), rows.index).reindex(sample_ids).fillna(0).to_numpy()


# %% [markdown]
# The run's own weights with the rectifier must give the very answers that the run gave:

# %%
plain = not run.record.config["scores"]["strict_official"]
plain = plain and run.record.config["rectifier"]["form"] != "official"
ids = run.samples["sample_id"]
if plain:
    rows = best_rows(scores, run.record.weights)
    assert (
        run.samples.set_index("sample_id")["chosen"][rows.index]
        == scores["proposal"][rows].to_numpy()
    ).all()
    print(f"{len(rows)} answers chosen again, all the same")
else:
    print(
        "scores.strict_official or the form official decides ties otherwise: see tasutils.score_table"
    )


# %% [markdown]
# ## An interval in five lines
#
# The sentences of one picture are not independent: a hard picture is hard for all of them. So *pictures* are drawn with replacement, again and again, each with all of its sentences, and the middle 95 % of the means is the interval.

# %% tags=["definition"]
def bootstrap_pictures(values, pictures, n_boot=1000):
    """The 95 % interval of the mean of values, pictures drawn with replacement."""
    sums = pd.DataFrame({"sum": values, "n": 1}).groupby(np.asarray(pictures)).sum().to_numpy()
    share = np.full(len(sums), 1 / len(sums))
    drawn = np.random.default_rng(0).multinomial(len(sums), share, n_boot)  # (n_boot, pictures)
    total = drawn @ sums  # (n_boot, 2)
    return np.quantile(total[:, 0] / total[:, 1], [0.025, 0.975])


# %% [markdown]
# ## Variants
#
# Each row is one way to score masks, without and with the rectifier, by the lines above; the package does the same for all runs, and adds a random mask and the oracle. mIoU is the mean of the sentences' IoU, oIoU the sum of intersections over the sum of unions.

# %%
mine = []
for variant, weights in study.variants(run.record.weights).items():
    for rectifier in (False, True):
        iou = sentence_ious(scores, best_rows(scores, weights, rectifier), ids)
        ends = bootstrap_pictures(iou, run.images, n_boot)
        mine.append([variant, rectifier, iou.mean(), *ends])
mine = pd.DataFrame(mine, columns=["variant", "rectifier", "mean", "low", "high"])

# %%
ablation = study.ablation(found, n_boot)
theirs = ablation[(ablation["family"] == run.family) & (ablation["split"] == run.split)]
theirs = theirs[theirs["variant"].isin(mine["variant"])].reset_index(drop=True)
if plain and not run.epsilon:
    pd.testing.assert_frame_equal(mine, theirs[list(mine)])
tables.ablation_table(ablation, f"percent; {note}")

# %%
assert ablation.notna().all().all()
best = ablation[ablation["variant"] == "oracle"].set_index(["family", "split"])["mean"]
reached = ablation.groupby(["family", "split"])["mean"].max()
assert (reached <= best.loc[reached.index] + 1e-12).all()

# %%
charts.ablation_plot(ablation, note=note)

# %% [markdown]
# ## What each piece brings
#
# P, added to V: the two variants answered the *same* sentences, so what counts is each sentence's own change, and its interval is narrower than the two alone. P and N are added to V without the rectifier; the rectifier to all three. An interval that holds 0 shows no clear change.

# %%
pieces = study.contributions(found, n_boot)
first, second, *_ = run.record.weights
change = np.subtract(
    *(
        sentence_ious(
            scores, best_rows(scores, {n: run.record.weights[n] for n in names}, False), ids
        )
        for names in ((first, second), (first,))
    )
)
span = [change.mean(), *bootstrap_pictures(change, run.images, n_boot)]
if plain and not run.epsilon:
    assert np.allclose(span, pieces.loc[0, ["mean", "low", "high"]].astype(float))
tables.interval_table(pieces, f"change of mIoU in points; {note}", signed=True)

# %% [markdown]
# ## For whom
#
# The whole method, all families together, by what the sentence and its target are like.

# %%
groups = study.breakdown(found, n_boot)
tables.interval_table(groups, f"mIoU, percent; {note}")

# %%
charts.breakdown_plot(groups, note=note)

# %% [markdown]
# ## The weights
#
# mIoU over the weights of P and N, with the rectifier, from stored scores; the best cell is bold, the weights of the preset are framed. Below each map: the best weights with their interval and, paired, their difference from the run as it answered. That interval does not know that they are the best of all cells. Weights may be chosen on the splits val and valP and on no other: elsewhere this map is for looking only.

# %%
tuning = [run for run in found if run.split in TUNING_SPLITS] or found
axes = {"p": {0.0, 0.1, 0.2, 0.5, 1.0, 2.0}, "n": {0.0, 0.1, 0.2, 0.5, 1.0}}
tried = {
    name: sorted(some.union(r.record.weights[name] for r in tuning)) for name, some in axes.items()
}
grid = sweep(tuning, tried)
best = best_settings(tuning, grid, n_boot)

# %%
for one in tuning:
    here, top = (table[table["run_id"] == one.record.run_id] for table in (grid, best))
    values = here.pivot(index="weight_n", columns="weight_p", values="miou")
    title = f"{one.family} {one.split}, mIoU in %, {tables.scope_note([one])}"
    own = one.record.weights["p"], one.record.weights["n"]
    display(
        charts.weights_map(values, chosen=own, title=title, note=tables.weights_note(top.iloc[0]))
    )

# %% [markdown]
# ## Synonym rules and forms of the rectifier
#
# A phrase of the picture's caption that is a synonym of what is asked for is no negative. Rule `nearest` asks WordNet for one sense in common, `three_pairs` (the released code) for three. The rectifier knows the article's four words (`paper`), more words and when they do not count (`extended`), the released code's words and four parts of the picture (`official`), or nothing (`none`). What the run did not use itself is stored beside what it used, so all of them are arithmetic too: changes of mIoU against the run as it answered, with the run's own weights, paired.

# %%
changes = at_own_weights(found, n_boot)
tables.settings_table(changes, f"change of mIoU in points; {note}")

# %%
assert (changes.loc[changes["own"], ["mean", "low", "high"]] == 0).all().all()
assert changes["own"].sum() == len(found)

# %%
charts.settings_plot(changes, note=f"hollow: the run's own; {note}")


# %% [markdown]
# ## From the article to its released code, switch by switch
#
# The authors' code differs from their article in some twenty places (`tas presets diff paper official` lists them with their reasons). Here each one is flipped alone in the preset of the first run, and at last all of them, on a few pictures; above 0 the switch helps. A lambda that was chosen for this data is replaced by the released 0.7.

# %% tags=["definition"]
def flipped(run, tas, changes, limit):
    """The share of answers that a change makes others, and the change of mIoU, paired."""
    preset = tas.preset.override(changes)
    same = preset.language.spacy_model == tas.preset.language.spacy_model
    parser = tas.language if same else None
    other = TAS(preset, tas.proposer, tas.encoder, tas.captioner, parser, tas.device)
    again = run_of(
        f"{run.family} {run.split}", other, limit, results, aside="switches", progress=False
    ).samples
    few = list(dict.fromkeys(run.images))[:limit]
    before, after = (
        t[t["image_id"].isin(few)].set_index("sample_id") for t in (run.samples, again)
    )
    change = (after["iou"] - before["iou"]).to_numpy()
    low, high = bootstrap_pictures(change, before["image_id"], n_boot)
    moved = (before["chosen"] != after["chosen"]).mean()
    return {"changed": moved, "mean": change.mean(), "low": low, "high": high, "n": len(change)}


# %%
tas = Gallery(run).tas
few = 0 if tas.preset.photographs else min(switch_limit, run.record.n_images)
effects, together = [], {}
for name, wanted in study.switches(tas.preset).items() if few else ():
    row = {"question": "switch", "group": name}
    if tas.preset.override(wanted).digest() == tas.preset.digest():
        effects.append(row | {"missing": "the preset has it so already"})
        continue
    try:
        effects.append(row | flipped(run, tas, wanted, few))
        together |= wanted
    except TasError as error:  # weights that are not here
        effects.append(row | {"missing": str(error)})
if few:
    effects.append(
        {"question": "switch", "group": "all of them"} | flipped(run, tas, together, few)
    )
effects = pd.DataFrame(
    effects, columns=["question", "group", "changed", "mean", "low", "high", "n", "missing"]
)

# %%
moved = effects[effects["changed"] > 0]
if len(moved):
    where = (
        f"partial: {few} pictures of {run.family} {run.split}; only switches that change an answer"
    )
    display(charts.breakdown_plot(moved, value="change of mIoU, %", note=where))

# %%
idle = effects.loc[effects["changed"] == 0, "group"]
lines = [f"Without any effect on these answers: {', '.join(idle)}."] if len(idle) else []
missing = effects[effects["missing"].notna()]
lines += [f"{one.group}: not flipped, {one.missing}." for one in missing.itertuples()]
lines = lines if few else ["Not asked for: a photograph takes many seconds."]
display(Markdown("\n".join(f"* {line}" for line in lines)))

# %% [markdown]
# ## Examples
#
# Orange: the answer. Dashed blue: the ground truth. Spread evenly over the images of the first run, not picked by hand.

# %%
examples = Gallery(run)
for kind, meaning in KINDS.items():
    some = examples.examples(kind, 3)
    display(Markdown(f"### {kind}: {meaning}" + ("" if some else " - none here")))
    if some:
        display(gallery(some))

# %% [markdown]
# ## Keep the tables

# %%
kept = {"ablation": ablation, "contributions": pieces, "breakdown": groups, "settings": changes}
for name, table in kept.items():
    if save_to:
        table.to_csv(Path(save_to) / f"{name}.csv", index=False)

# %% [markdown]
# ## What was seen
#
# Computed from the tables above, not written beforehand:

# %%
lines = [f"What all of this rests on: {note}."]
for (family, split), part in ablation.groupby(["family", "split"], sort=False):
    rest = part[part["variant"] != "oracle"]
    whole, top = rest.iloc[-1], rest.loc[rest["mean"].idxmax()]
    oracle = part.loc[part["variant"] == "oracle", "mean"].item()
    name = f"{top['variant']} {'with' if top['rectifier'] else 'without'} the rectifier"
    lines.append(
        f"{family} {split}: the whole method reaches {tables.percent(*whole[['mean', 'low', 'high']])} mIoU "
        f"of the oracle's {100 * oracle:.1f}; the best variant is {name} with {100 * top['mean']:.1f} (n = {whole['n']})."
    )
told = pd.concat([pieces[~pieces["piece"].str.contains(", (?:no )?direction")], changes])
clear = told[(told["low"] > 0) | (told["high"] < 0)].sort_values("mean", ascending=False)
lines += [
    f"Clear on {row['family']} {row['split']}: {tables.finding(row)}."
    for row in clear.to_dict("records")
]
if clear.empty:
    lines.append("No piece makes a clear change: every interval holds 0.")
display(Markdown("\n".join(f"* {line}" for line in lines)))
