# %% [markdown]
# # 01 · Proposals: what the masks allow at best
#
# In this notebook you set makers of masks side by side: SAM and FreeSOLO, or, with the preset `photo`, SAM, free masks and merged superpixels, alone and together. No sentence plays a part yet: an answer can only be as good as the best mask that was proposed, the *oracle*.
#
# **What you'll do:** run every maker on the same pictures, look at their masks, read oracle mIoU and oIoU, recall, number of masks and time, and turn SAM's knobs.
# **What you'll learn:** what each maker misses, whether FreeSOLO falls behind where things hide and overlap, as the article says, and which settings matter.
# **What you'll need:** nothing but the repository; for the preset `photo` its extra, which `make setup` installs. **Takes:** half a minute.
#
# Mind what each one was taught. The tiny SAM learned **from masks**: of drawn scenes, and of photographic cut-outs of which none is in valP or testP. The tiny FreeSOLO learned **without any mask label**, from free masks (appendix A5). So where SAM is ahead here, labels are a reason, beside the architecture. Published: SAM from 11 million pictures with masks, FreeSOLO from unlabelled ones. Free masks and merged superpixels never saw a mask: one has the features of an ImageNet classifier, the other colour and texture alone.

# %% tags=["parameters"]
preset = "tiny"  # whose maker of masks; its rivals come with it
data = "refscenes val"  # data set and split; choose settings on val and valP alone
limit = 20  # pictures
n_boot = 1000  # bootstrap resamples of images
number = 3  # which picture to look at, from 0
knob_limit = 2  # pictures on which settings are turned

# %%
from IPython.display import Markdown, display

import tasutils
from tasutils import charts, proposal_charts, proposal_study
from tasutils.datasets import load_dataset
from tasutils.proposals.compare import oracle_table, recall_curve, summary

# %% [markdown]
# ## The makers
#
# Each is a preset that differs from the others in its part `proposals`, and in nothing else.

# %%
settings = tasutils.load_preset(preset)
presets = proposal_study.makers_of(settings)
makers = {name: tasutils.load(made, device="cpu").proposer for name, made in presets.items()}
print("side by side:", *makers, sep="\n* ")

# %% [markdown]
# ## One picture
#
# Thin lines: all masks. Dashed: the targets of the picture. Filled: the best mask for each target.

# %%
samples = load_dataset(*data.split())
image_id = samples.image_ids[min(number, len(samples.image_ids) - 1)]
image = tasutils.read_image(samples.image_path(image_id))
targets = {sample.ref_id: sample for sample in samples.by_image()[image_id]}
truths = [samples.gt_mask(sample) for sample in targets.values()]
print("targets:", *{sample.category: None for sample in targets.values()}, sep=" · ")

# %%
proposal_charts.makers_grid(image, truths, {name: makers[name](image) for name in makers})

# %% [markdown]
# ## All of them
#
# *Oracle mIoU*: the mean over targets of the IoU of their best mask; *oracle oIoU*: intersections over unions, both summed, so that large things count more. *Recall*: the share of targets with a mask of more than that IoU. Masks and seconds are means over the pictures, on this machine.

# %%
table = oracle_table(makers, samples, limit)
found = summary(table)
images, whole = found["n_images"].iloc[0], len(samples.image_ids)
note = f"preset {settings.name}, {data}, {found['n_targets'].iloc[0]} targets in {images} pictures"
note += f", partial: the first of {whole}" if images < whole else ""
print(note)
found.round(3)

# %%
proposal_charts.recall_plot(recall_curve(table), note=note)

# %%
assert found["oracle_miou"].between(0, 1).all() and (found["masks"] > 0).all()
assert (recall_curve(table).diff().dropna() <= 0).all().all()
assert found["recall@0.75"].le(found["recall@0.5"]).all()

# %% [markdown]
# ## Where it gets hard
#
# Targets partly behind others, targets in whose box others reach, and small ones. The lines are 95 % intervals over pictures.

# %%
groups = proposal_study.reach_by_group(table, n_boot)
proposal_charts.groups_plot(groups, value="oracle mIoU", note=note)

# %% [markdown]
# ### Does FreeSOLO fall behind there?
#
# The article says that FreeSOLO's masks suffer where things overlap and hide each other. If so, the distance between the first maker and the second must be larger there than elsewhere. The differences are paired: same targets, same pictures.

# %%
first, second = list(makers)[0], list(makers)[min(1, len(makers) - 1)]
gaps = proposal_study.gap_by_group(table, first, second, n_boot)
charts.breakdown_plot(gaps, value=f"oracle mIoU of {first} above {second}", note=note)

# %%
assert (gaps["low"] <= gaps["mean"]).all() and (gaps["mean"] <= gaps["high"]).all()
overall = gaps.loc[gaps["question"] == "all", "mean"].item()
reached = found["oracle_miou"]
assert abs(overall - (reached[first] - reached[second])) < 1e-9

# %% [markdown]
# ## Turning the knobs
#
# One setting at a time. More points ask for more masks, higher thresholds keep fewer, and the article's filter drops masks under 2000 px and, of a pair that overlaps by more than 0.4, the smaller one. Those pixels were meant for photographs: 2000 px are 0.7 % of 640 x 480, and 2.6 % of a drawn scene. Hollow: the preset's own value. What is not proposed cannot be chosen; but each mask more is one more to embed, to caption, and to be wrong about.

# %%
knobs = proposal_study.settings_table(settings, samples, min(limit, knob_limit))
counts = knobs[["n_targets", "n_images"]].iloc[0]
knob_note = f"{data}, partial: {counts['n_targets']} targets in {counts['n_images']} pictures"
proposal_charts.settings_plot(knobs, note=knob_note)

# %%
knobs[["setting", "value", "own", "oracle_miou", "recall@0.5", "masks", "seconds"]].round(3)

# %% [markdown]
# ## What was seen
#
# * No choice among masks can be better than the oracle: every later number of the study stands below these. `06_study` shows how much of it the scores reach.
# * With the presets tiny and photo one maker learned from masks and the other did not; with `paper` both are as published.
# * And computed from the tables above, not written beforehand:

# %%
lines = [f"{note}.", *proposal_study.reach_words(found)]
lines += proposal_study.gap_words(gaps, first, second) if first != second else []
lines += proposal_study.knob_words(knobs)
display(Markdown("\n".join(f"* {line}" for line in lines)))
