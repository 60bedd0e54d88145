# %% [markdown]
# # Exercise 7 · Whose fault is it?
#
# In this exercise you sort every wrong answer by the first thing that went wrong: no mask was good enough, the rectifier threw the right one out, or the ranking preferred another.
#
# **You need:** notebook 09. **Takes:** 15 minutes. Fill in every `...`; a check cell complains until its answer is right.

# %%
import numpy as np
import pandas as pd

import tasutils
from tasutils import show
from tasutils.gallery import Gallery
from tasutils.newest import part_of

# %%
part = part_of("refscenes val", tasutils.load("tiny"), limit=12)
samples, record = part.samples, part.run.record
iou, oracle = samples["iou"].to_numpy(), samples["oracle_iou"].to_numpy()
print(f"{len(samples)} sentences, {np.mean(iou > 0.5):.0%} right (IoU above 0.5)")
samples[["text", "iou", "oracle_iou", "rectified", "n_proposals"]].head()

# %% [markdown]
# ## Three suspects
#
# *Right*: IoU above 0.5. Of the rest, in this order:
#
# 1. **proposals**: not even the best mask (`oracle_iou`) is above 0.5, so no choice could have helped;
# 2. **rectifier**: without it the answer would have been right;
# 3. **ranking**: V, P and N together preferred another mask.
#
# **Predict first:** which of the three is the most frequent?

# %%
# solution: begin
#: prediction = ...  # "proposals", "rectifier" or "ranking"
prediction = "proposals"
# solution: end

# %% [markdown]
# `part.scores.choose(alpha, lam, "none")` answers all sentences again without the rectifier, and `part.scores.pixels(...)` has the intersections and unions of those answers.

# %%
without = part.scores.choose(record.alpha, record.lam, "none")
intersection, union = part.scores.pixels(without)
iou_without = intersection / union
right = iou > 0.5
# solution: begin
#: proposals = ...  # bool (n,)
#: rectifier = ...  # bool (n,), only of those that are not proposals' fault
#: ranking = ...  # bool (n,), the rest
proposals = ~right & (oracle <= 0.5)
rectifier = ~right & ~proposals & (iou_without > 0.5)
ranking = ~right & ~proposals & ~rectifier
# solution: end

# %%
# check
groups = {"right": right, "proposals": proposals, "rectifier": rectifier, "ranking": ranking}
assert prediction in groups, "predict before you compute"
assert (sum(group.astype(int) for group in groups.values()) == 1).all(), "each sentence once"
assert (oracle[proposals] <= 0.5).all() and (oracle[ranking] > 0.5).all(), "look at the oracle"
assert (iou_without[rectifier] > 0.5).all() and not (iou_without[ranking] > 0.5).any()
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
examples = Gallery(part)
_, firsts = np.unique(part.images[ranking], return_index=True)
worst = np.flatnonzero(ranking)[firsts[:3]]
show.gallery([examples.example(int(row)) for row in worst])

# %% [markdown]
# ## To think about
#
# * The order of the suspects is a choice. Which sentences would change sides if the rectifier came first?
# * An IoU of 0.49 is a miss, 0.51 a hit. How would the picture look at 0.7?
# * "Ranking" is three scores. How would you tell V's fault from N's? (Notebook 09 does.)
