# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

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
from itertools import combinations, product
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

import tasutils
from tasutils import charts, paths, show, study, tables
from tasutils.evaluate import newest_runs, run_of
from tasutils.gallery import Gallery
from tasutils.metrics import iou
from tasutils.notebooks import refuse_unknown

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
# The run's own weights with the rectifier must give the very answers that the run gave. `run.table` of the package holds the same scores as arrays and chooses from them in the same way, only faster and for every form of the rectifier and rule of synonyms; a row of -1 is no answer.

# %% tags=["definition"]
def ious(run, weights=None, form="own", rule="own"):
    """IoU of each sentence, answered again: by other weights, form of the rectifier, synonyms."""
    rows = run.table.choose(weights, form, rule)
    return iou(*run.table.pixels(rows), run.epsilon, run.no_target)


# %%
plain = not run.record.config["scores"]["strict_official"] and not run.epsilon
plain = plain and run.record.config["rectifier"]["form"] != "official"
ids = run.samples["sample_id"]
if plain:
    rows = best_rows(scores, run.record.weights)
    answers = run.samples.set_index("sample_id")["chosen"][rows.index]
    assert (answers == scores["proposal"][rows].to_numpy()).all()
    assert np.allclose(sentence_ious(scores, rows, ids), ious(run))
    print(f"{len(rows)} answers chosen again, all the same")
else:
    print("strict_official or the form official decides ties otherwise, or IoUs have an epsilon")


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
# V stays, every other term comes and goes: with two of them that makes four variants. Each row of the table is one way to score masks, without and with the rectifier, by the lines above; the package does the same for all runs, and adds a random mask and the oracle. mIoU is the mean of the sentences' IoU, oIoU the sum of intersections over the sum of unions.

# %% tags=["definition"]
def variants(weights):
    """The weights of each variant by its name; of many terms V alone, each left out, and all."""
    first, *rest = weights
    sizes = range(len(rest) + 1) if len(rest) < 3 else (0, len(rest) - 1, len(rest))
    kept = [(first, *names) for size in sizes for names in combinations(rest, size)]
    return {"+".join(names).upper(): {n: weights[n] for n in names} for names in kept}


# %%
mine = []
for variant, weights in variants(run.record.weights).items():
    for rectifier in (False, True):
        found_ious = sentence_ious(scores, best_rows(scores, weights, rectifier), ids)
        ends = bootstrap_pictures(found_ious, run.images, n_boot)
        mine.append([variant, rectifier, found_ious.mean(), *ends])
mine = pd.DataFrame(mine, columns=["variant", "rectifier", "mean", "low", "high"])

# %%
studied = study.study_tables(found, n_boot)
ablation, pieces, groups = studied["ablation"], studied["contributions"], studied["breakdown"]
if plain:
    theirs = ablation[(ablation["family"] == run.family) & (ablation["split"] == run.split)]
    theirs = theirs[theirs["variant"].isin(mine["variant"])].reset_index(drop=True)
    pd.testing.assert_frame_equal(mine, theirs[list(mine)])


# %%
def spans(table, *columns, signed=False):
    """A number with the ends of its interval in percent, row by row."""
    numbers = table[list(columns)].to_numpy(float)
    return [tables.percent(*row, signed=signed) for row in numbers]


keys, is_oracle = ["family", "split"], ablation["variant"] == "oracle"
tried = ablation[~is_oracle].assign(
    mIoU=spans(ablation[~is_oracle], "mean", "low", "high"),
    oIoU=spans(ablation[~is_oracle], "oiou", "oiou_low", "oiou_high"),
    rectifier=ablation["rectifier"].map({False: "no rectifier", True: "rectifier"}),
)
wide = tried.pivot_table(
    ["mIoU", "oIoU"], [*keys, "variant", "n"], "rectifier", aggfunc="first", sort=False
)
wide.columns = [", ".join(names) for names in wide.columns]
oracle = 100 * ablation[is_oracle].set_index(keys)[["mean", "oiou"]]
oracle.columns = ["oracle mIoU", "oracle oIoU"]
tables.styled(wide.reset_index().join(oracle, on=keys), f"percent; {note}", precision=1)

# %%
assert ablation.notna().all().all()
best = ablation[is_oracle].set_index(keys)["mean"]
reached = ablation.groupby(keys)["mean"].max()
assert (reached <= best.loc[reached.index] + 1e-12).all()

# %%
charts.ablation_plot(ablation, note=note)

# %% [markdown]
# ## What each piece brings
#
# P, added to V: the two variants answered the *same* sentences, so what counts is each sentence's own change, and its interval is narrower than the two alone. P and N are added to V without the rectifier; the rectifier to all three. An interval that holds 0 shows no clear change.

# %%
first, second, *_ = run.record.weights
without, with_it = (
    best_rows(scores, {name: run.record.weights[name] for name in names}, rectifier=False)
    for names in ((first,), (first, second))
)
change = sentence_ious(scores, with_it, ids) - sentence_ious(scores, without, ids)
span = [change.mean(), *bootstrap_pictures(change, run.images, n_boot)]
if plain:
    assert np.allclose(span, pieces.loc[0, ["mean", "low", "high"]].astype(float))
tables.interval_table(pieces, f"change of mIoU in points; {note}", signed=True)

# %% [markdown]
# ## For whom
#
# The whole method, all families together, by what the sentence and its target are like.

# %%
tables.interval_table(groups, f"mIoU, percent; {note}")

# %%
charts.interval_plot(groups, note=note)


# %% [markdown]
# ## The weights
#
# mIoU over the weights of P and N, with the rectifier, from stored scores; the best cell is bold, the weights of the preset are framed. Below each map: the best weights with their interval and, paired, their difference from the run as it answered. That interval does not know that they are the best of all cells. Weights may be chosen on the splits val and valP and on no other: elsewhere this map is for looking only.

# %% tags=["definition"]
def over_weights(run, axes):
    """IoU of each sentence by every combination of weights: {name: values} -> (*axes, sentences)."""
    cells = [dict(zip(axes, values)) for values in product(*axes.values())]
    found = np.array([ious(run, run.record.weights | cell) for cell in cells])
    return found.reshape(*map(len, axes.values()), -1)


# %%
def weights_map(run, axes, means, words):
    """mIoU (weights of P, weights of N) as a map with its numbers; words: below it."""
    values = 100 * means.T
    figure, ax = plt.subplots(
        figsize=(0.8 * len(axes["p"]) + 1.4, 0.5 * len(axes["n"]) + 1.7), layout="constrained"
    )
    ax.imshow(values, cmap="cividis", aspect="auto")
    middle = (values.min() + values.max()) / 2
    for (y, x), value in np.ndenumerate(values):
        look = {"weight": "bold" if value == values.max() else "normal", "fontsize": 9}
        color = "white" if value <= middle else "black"
        ax.text(x, y, f"{value:.1f}", ha="center", va="center", color=color, **look)
    x, y = (axes[name].index(run.record.weights[name]) for name in ("p", "n"))
    ax.add_patch(plt.Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, ec="#D55E00", lw=3))
    ax.set_xticks(range(len(axes["p"])), [f"{a:g}" for a in axes["p"]])
    ax.set_yticks(range(len(axes["n"])), [f"{b:g}" for b in axes["n"]])
    ax.set(xlabel="alpha (weight of P)", ylabel="lambda (weight of N)")
    ax.set_title(
        f"{run.family} {run.split}, mIoU in %, {tables.scope_note([run])}",
        fontsize=9,
        loc="left",
        wrap=True,
        parse_math=False,
    )
    figure.supxlabel(words, fontsize=9)
    plt.show()


# %%
for one in [run for run in found if run.split in ("val", "valP")] or found:
    axes = {"p": {0.0, 0.1, 0.2, 0.5, 1.0, 2.0}, "n": {0.0, 0.1, 0.2, 0.5, 1.0}}
    axes = {name: sorted(some | {one.record.weights[name]}) for name, some in axes.items()}
    reached, own = over_weights(one, axes), ious(one)
    means = reached.mean(axis=-1)
    p, n = np.unravel_index(means.argmax(), means.shape)
    here, change = reached[p, n], reached[p, n] - own
    there, paired = (
        tables.percent(each.mean(), *bootstrap_pictures(each, one.images, n_boot), signed=signed)
        for each, signed in ((here, False), (change, True))
    )
    words = (
        f"best {there}, weights p {axes['p'][p]:g}, n {axes['n'][n]:g}; against the run {paired}"
    )
    weights_map(one, axes, means, words)


# %% [markdown]
# ## Synonym rules and forms of the rectifier
#
# A phrase of the picture's caption that is a synonym of what is asked for is no negative. Rule `nearest` asks WordNet for one sense in common, `three_pairs` (the released code) for three. The rectifier knows the article's four words (`paper`), more words and when they do not count (`extended`), the released code's words and four parts of the picture (`official`), or nothing (`none`). What the run did not use itself is stored beside what it used, so all of them are arithmetic too: changes of mIoU against the run as it answered, with the run's own weights, paired.

# %% tags=["definition"]
def rules_and_forms(run, n_boot):
    """A row a synonym rule and form of the rectifier: what it changes in the run's own answers."""
    config, before = run.record.config, ious(run)
    own = config["language"]["synonym_rule"], config["rectifier"]["form"]
    held = [
        {name: "own"} | {other: other for other in names if other not in ("own", name)}
        for name, names in zip(own, (run.table.terms, run.table.regions))
    ]
    for (rule, rule_key), (form, form_key) in product(*(keys.items() for keys in held)):
        change = ious(run, None, form_key, rule_key) - before
        low, high = bootstrap_pictures(change, run.images, n_boot)
        yield {
            "family": run.family,
            "split": run.split,
            "synonyms": rule,
            "rectifier": form,
            "own": (rule, form) == own,
            "mean": change.mean(),
            "low": low,
            "high": high,
            "n": len(change),
            "piece": f"rectifier {form} with synonyms {rule}",
        }


# %%
changes = pd.DataFrame([row for one in found for row in rules_and_forms(one, n_boot)])
told = changes.assign(change=spans(changes, "mean", "low", "high", signed=True)).pivot_table(
    "change", [*keys, "n", "synonyms"], "rectifier", aggfunc="first", sort=False
)
tables.styled(told.reset_index(), f"change of mIoU in points; {note}")

# %%
assert (changes.loc[changes["own"], ["mean", "low", "high"]] == 0).all().all()
assert changes["own"].sum() == len(found)

# %%
named = changes.assign(synonyms="synonyms: " + changes["synonyms"])
look = {"series": "synonyms", "panel": keys, "value": "change of mIoU, points"}
charts.interval_plot(named, "rectifier", **look, note=f"hollow: the run's own; {note}")


# %% [markdown]
# ## From the article to its released code, switch by switch
#
# The authors' code differs from their article in some twenty places (`tas presets diff paper official` lists them with their reasons). Here each one is flipped alone in the preset of the first run, and at last all of them, on a few pictures; above 0 the switch helps. A lambda that was chosen for this data is replaced by the released 0.7.

# %% tags=["definition"]
def switches(preset):
    """What turns a preset by the article's rules towards the released code's, by switch.

    One for each difference of `paper` and `official`; settings that make sense only together are
    one switch, and the released lambda holds for every data set.
    """
    one, other = (tasutils.load_preset(name).leaves() for name in ("paper", "official"))
    with_crops = {
        "captioner.crop.geometry": "crop.geometry",
        "captioner.crop.resize": "crop.resize",
    }
    changes = {}
    for field, value in other.items():
        if value != one.get(field) and not field.startswith("terms.n.weight"):
            changes.setdefault(with_crops.get(field, field), {})[field] = value
    known = [field for field in preset.leaves() if field.startswith("terms.n.weight")]
    return changes | {"terms.n.weight": dict.fromkeys(known, other["terms.n.weight.default"])}


# %% tags=["definition"]
def flipped(run, tas, changes, limit):
    """The share of answers that a change makes others, and the change of mIoU, paired."""
    preset = tas.preset.override(changes)
    same = preset.language.spacy_model == tas.preset.language.spacy_model
    parser = tas.language if same else None
    other = tasutils.TAS(preset, tas.proposer, tas.encoder, tas.captioner, parser, tas.device)
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
for name, wanted in switches(tas.preset).items() if few else ():
    row = {"question": "switch", "group": name}
    if tas.preset.override(wanted).digest() == tas.preset.digest():
        effects.append(row | {"missing": "the preset has it so already"})
        continue
    try:
        effects.append(row | flipped(run, tas, wanted, few))
        together |= wanted
    except tasutils.TasError as error:  # weights that are not here
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
    display(charts.interval_plot(moved, value="change of mIoU, %", note=where))

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
kinds = {
    "right": "IoU above 0.5",
    "wrong": "IoU under 0.1, though a mask above 0.5 was proposed",
    "unproposed": "no mask above IoU 0.5 was proposed",
    "moved": "the rectifier decided: without it another mask had won",
}
examples = Gallery(run)
for kind, meaning in kinds.items():
    some = [examples.example(int(row)) for row in examples.rows(kind, 3)]
    display(Markdown(f"### {kind}: {meaning}" + ("" if some else " - none here")))
    if some:
        display(show.gallery(some))

# %% [markdown]
# ## Keep the tables

# %%
for name, table in (studied | {"settings": changes}).items():
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
clear = told[(told["low"].round(3) > 0) | (told["high"].round(3) < 0)]  # as they are printed
for row in clear.sort_values("mean", ascending=False).to_dict("records"):
    lines.append(f"Clear on {row['family']} {row['split']}: {tables.finding(row)}.")
if clear.empty:
    lines.append("No piece makes a clear change: every interval holds 0.")
display(Markdown("\n".join(f"* {line}" for line in lines)))
