# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise 7 · Whose fault is it?
#
# In this exercise you sort every wrong answer by the first thing that went wrong, with a higher bar than notebook 09 (an IoU of 0.7) and another order: the rectifier is asked first.
#
# **You need:** notebook 09. **Takes:** 15 minutes. Fill in every `...`; a check cell complains until its answer is right.

# %%
import numpy as np
import pandas as pd

import tasutils
from tasutils import show
from tasutils.evaluate import run_of
from tasutils.gallery import Gallery

# %%
run = run_of("refscenes val", tasutils.load("tiny"), limit=12)
samples, bar = run.samples, 0.7  # notebook 09 calls an answer right from an IoU of 0.5 on
iou, oracle = samples["iou"].to_numpy(), samples["oracle_iou"].to_numpy()
print(f"{len(samples)} sentences, {np.mean(iou > bar):.0%} right (IoU above {bar})")
samples[["text", "iou", "oracle_iou", "rectified", "n_proposals"]].head()

# %% [markdown]
# ## Three suspects
#
# *Right*: IoU above `bar`. Of the rest, in this order:
#
# 1. **rectifier**: without it the answer would have been right;
# 2. **proposals**: not even the best mask (`oracle_iou`) is above the bar, so no choice could have helped;
# 3. **ranking**: V, P and N together preferred another mask.
#
# **Predict first:** which of the three is the most frequent?

# %%
# solution: begin
#: prediction = ...  # "proposals", "rectifier" or "ranking"
prediction = "proposals"
# solution: end

# %% [markdown]
# `run.table.choose(form="none")` answers all sentences again without the rectifier, and `run.table.pixels(...)` has the intersections and unions of those answers.

# %%
without = run.table.choose(form="none")
intersection, union = run.table.pixels(without)
iou_without = intersection / union
right = iou > bar
# solution: begin
#: rectifier = ...  # bool (n,)
#: proposals = ...  # bool (n,), only of those that are not the rectifier's fault
#: ranking = ...  # bool (n,), the rest
rectifier = ~right & (iou_without > bar)
proposals = ~right & ~rectifier & (oracle <= bar)
ranking = ~right & ~proposals & ~rectifier
# solution: end

# %%
# check
groups = {"right": right, "proposals": proposals, "rectifier": rectifier, "ranking": ranking}
assert prediction in groups, "predict before you compute"
assert (sum(group.astype(int) for group in groups.values()) == 1).all(), "each sentence once"
assert (oracle[proposals] <= bar).all() and (oracle[ranking] > bar).all(), "look at the oracle"
assert (iou_without[rectifier] > bar).all() and not (iou_without[ranking] > bar).any()
counts = pd.Series({name: int(group.sum()) for name, group in groups.items()})
print(f"predicted {prediction}; most frequent: {counts.drop('right').idxmax()}, n = {len(samples)}")
counts.to_frame("sentences")

# %% [markdown]
# ## What would each be worth?
#
# Suppose one suspect were cured: its sentences get their best mask (`oracle`) instead of the answer. How much would mIoU gain?
#
# **Predict first:** is the most frequent fault also the one whose cure gains most?

# %%
# solution: begin
#: same = ...  # True or False
same = True
# solution: end

# %%
gains = {}
for name in ("proposals", "rectifier", "ranking"):
    # solution: begin
    #: cured = ...  # IoU of every sentence if this group had the oracle's mask
    #: gains[name] = ...
    cured = np.where(groups[name], oracle, iou)
    gains[name] = cured.mean() - iou.mean()
    # solution: end

# %%
# check
assert same in (True, False), "predict before you compute"
left = oracle[right].sum() - iou[right].sum()
assert np.isclose(sum(gains.values()) + left / len(iou), oracle.mean() - iou.mean()), (
    "up to the oracle"
)
print({name: f"{100 * gain:+.1f} points" for name, gain in gains.items()})
print(f"mIoU {100 * iou.mean():.1f}, oracle {100 * oracle.mean():.1f}, n = {len(samples)}, partial")

# %% [markdown]
# Better masks are not in that list: the proposals' own cure would be *other* masks, and no run knows those.
#
# ## Look at them

# %%
examples = Gallery(run)
_, firsts = np.unique(run.images[ranking], return_index=True)
worst = np.flatnonzero(ranking)[firsts[:3]]
show.gallery([examples.example(int(row)) for row in worst])

# %% [markdown]
# ## To think about
#
# * The order of the suspects is a choice. Which sentences change sides if the proposals come first, as in notebook 09?
# * An IoU of 0.69 is a miss, 0.71 a hit. How does the picture look at 0.5?
# * "Ranking" is three scores. How would you tell V's fault from N's? (Notebook 09 does.)
