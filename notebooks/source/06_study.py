# %% [markdown]
# # 06 · The study: what V, P, N and the rectifier each bring
#
# In this notebook you see the four families of RefScenes answered with V, V+P, V+N and all three, each without and with the spatial rectifier, between a mask drawn at random and the oracle: the best mask that was proposed.
#
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

import pandas as pd
from IPython.display import Markdown, display
from tasutils.switches import switch_effects, switch_words

from tasutils import charts, paths, readable, study
from tasutils.evaluate import newest_runs
from tasutils.gallery import KINDS, Gallery
from tasutils.show import gallery
from tasutils.sweep import TUNING_SPLITS, at_own_weights, best_settings, sweep

# %% [markdown]
# ## The runs

# %%
parts = newest_runs(results or paths.RESULTS, preset, runs)
note = readable.scope_note(parts)
records = [part.record for part in parts]
names = ["dataset", "split", "n_used", "n_total", "n_images", "n_without_proposals", "alpha", "lam"]
pd.DataFrame([record.model_dump(include=set(names)) for record in records])[names]

# %% [markdown]
# ## Variants
#
# Each row is one way to score masks, without and with the rectifier. mIoU is the mean of the sentences' IoU, oIoU the sum of intersections over the sum of unions; in brackets the 95 % bootstrap interval over images, since the sentences of one picture are not independent.

# %%
ablation = study.ablation(parts, n_boot)
readable.ablation_table(ablation, f"percent; {note}")

# %%
assert len(ablation) == 11 * len(parts) and ablation.notna().all().all()
best = ablation[ablation["variant"] == "oracle"].set_index(["family", "split"])["mean"]
reached = ablation.groupby(["family", "split"])["mean"].max()
assert (reached <= best.loc[reached.index] + 1e-12).all()

# %%
charts.ablation_plot(ablation, note=note)

# %% [markdown]
# ## What each piece brings
#
# Differences of mIoU on the same sentences, so the intervals are paired. P and N are added to V alone; the rectifier to all three. An interval that holds 0 shows no clear change.

# %%
pieces = study.contributions(parts, n_boot)
readable.interval_table(pieces, f"change of mIoU in points; {note}", signed=True)

# %%
display(Markdown("\n".join(f"* {line}" for line in readable.findings(pieces))))

# %% [markdown]
# ## For whom
#
# The whole method, all families together, by what the sentence and its target are like.

# %%
groups = study.breakdown(parts, n_boot)
readable.interval_table(groups, f"mIoU, percent; {note}")

# %%
charts.breakdown_plot(groups, note=note)

# %% [markdown]
# ## The weights
#
# mIoU over alpha and lambda, with the rectifier, from stored scores; the best cell is bold, the weights of the preset are framed. Below each map: the best weights with their interval and, paired, their difference from the run as it answered. That interval does not know that they are the best of all cells. Weights may be chosen on the splits val and valP and on no other: elsewhere this map is for looking only.

# %%
alphas, lams = {0.0, 0.1, 0.2, 0.5, 1.0, 2.0}, {0.0, 0.1, 0.2, 0.5, 1.0}
tuning = [part for part in parts if part.split in TUNING_SPLITS] or parts
own = [(part.record.alpha, part.record.lam) for part in tuning]
grid = sweep(tuning, sorted(alphas.union(a for a, _ in own)), sorted(lams.union(b for _, b in own)))
best = best_settings(tuning, grid, n_boot)

# %%
for part, chosen in zip(tuning, own, strict=True):
    here, top = (table[table["run_id"] == part.record.run_id] for table in (grid, best))
    values = here.pivot(index="lam", columns="alpha", values="miou")
    title = f"{part.family} {part.split}, mIoU in %, {readable.scope_note([part])}"
    found = readable.weights_note(top.iloc[0])
    display(charts.weights_map(values, chosen=chosen, title=title, note=found))

# %% [markdown]
# ## Synonym rules and forms of the rectifier
#
# A phrase of the picture's caption that is a synonym of what is asked for is no negative. Rule `nearest` asks WordNet for one sense in common, `three_pairs` (the released code) for three. The rectifier knows the article's four words (`paper`), more words and when they do not count (`extended`), the released code's words and four parts of the picture (`official`), or nothing (`none`). What the run did not use itself is stored beside what it used, so all of them are arithmetic too: changes of mIoU against the run as it answered, with the run's own alpha and lambda, paired.

# %%
changes = at_own_weights(parts, n_boot)
readable.settings_table(changes, f"change of mIoU in points; {note}")

# %%
assert (changes.loc[changes["own"], ["mean", "low", "high"]] == 0).all().all()
assert changes["own"].sum() == len(parts)

# %%
charts.settings_plot(changes, note=f"hollow: the run's own; {note}")

# %% [markdown]
# ## From the article to its released code, switch by switch
#
# The authors' code differs from their article in some twenty places (`tas presets diff paper official` lists them with their reasons). Here each one is flipped alone in the preset of the first run, and at last all of them, on a few pictures; above 0 the switch helps. On the left stand those that change an answer at all. A lambda that was chosen for this data is replaced by the released 0.7.

# %%
tas = Gallery(parts[0]).tas
few = 0 if tas.preset.photographs else min(switch_limit, parts[0].run.record.n_images)
effects = pd.DataFrame()
if few:
    effects = switch_effects(parts[0], tas, few, n_boot, results)

# %%
if few and (effects["changed"] > 0).any():
    moved = effects[effects["changed"] > 0].rename(columns={"switch": "group"})
    display(charts.breakdown_plot(
        moved.assign(question="switch"), value="change of mIoU",
        note=f"partial: {few} pictures of {parts[0].family} {parts[0].split}",
    ))  # fmt: skip

# %%
lines = switch_words(effects) if few else ["Not asked for: a photograph takes many seconds."]
display(Markdown("\n".join(f"* {line}" for line in lines)))

# %% [markdown]
# ## Examples
#
# Orange: the answer. Dashed blue: the ground truth. Spread evenly over the images of the first run, not picked by hand.

# %%
examples = Gallery(parts[0])
for kind, meaning in KINDS.items():
    found = examples.examples(kind, 3)
    display(Markdown(f"### {kind}: {meaning}" + ("" if found else " - none here")))
    if found:
        display(gallery(found))

# %% [markdown]
# ## Keep the tables

# %%
tables = {"ablation": ablation, "contributions": pieces, "breakdown": groups, "settings": changes}
for name, table in tables.items():
    if save_to:
        table.to_csv(Path(save_to) / f"{name}.csv", index=False)

# %% [markdown]
# ## What was seen
#
# Computed from the tables above, not written beforehand:

# %%
lines = readable.summary(ablation, pd.concat([pieces, changes]), groups, note)
display(Markdown("\n".join(f"* {line}" for line in lines)))
