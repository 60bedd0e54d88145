# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise 3 · Alpha and lambda by hand
#
# In this exercise you add up V + α·P + λ·N with pencil and paper (or numpy), find the very λ at which another mask takes the lead, and see how rarely that happens.
#
# **You need:** notebook 00. **Takes:** 15 minutes. Fill in every `...`; a check cell complains until its answer is right.

# %%
import numpy as np

import tasutils
from tasutils import charts
from tasutils.datasets import load_dataset
from tasutils.evaluate import run_of

# %%
tas, data = tasutils.load("tiny"), load_dataset("refscenes", "val")
run = run_of("refscenes val", tas, limit=12)
image_id = data.image_ids[5]
scene = tas.describe(tasutils.read_image(data.image_path(image_id)), image_id)
answer = tas.refer(scene, "the big dog", weights={"p": 0.3, "n": 0.5})
table = answer.table().sort_values("v", ascending=False)
table[["v", "p", "n", "caption"]].head(6).round(3)

# %% [markdown]
# ## The sum
#
# **Predict first,** from the table alone: which mask wins with α = 0.3 and λ = 0.5?

# %%
# solution: begin
#: prediction = ...  # the number of a mask
prediction = int(table.index[0])
# solution: end

# %%
v, p, n = (answer.table()[name].to_numpy() for name in ("v", "p", "n"))
# solution: begin
#: total = ...  # (n_masks,)
#: winner = ...
total = v + 0.3 * p + 0.5 * n
winner = int(total.argmax())
# solution: end

# %%
# check
assert prediction in answer.table().index, "predict before you compute"
assert np.allclose(total, answer.total), "V plus 0.3 times P plus 0.5 times N"
assert winner == answer.best, "the highest total wins"
print(f"predicted mask {prediction}, the winner is mask {winner}")

# %%
charts.score_bars(answer)

# %% [markdown]
# ## Where the lead changes
#
# With α = 0 the total of a mask is a straight line over λ: it begins at V and falls with the slope N, which is never above 0. The lead can pass from mask *a* (best V) to mask *b* only where their lines cross.
#
# *Hint:* solve V_a + λ·N_a = V_b + λ·N_b for λ. Only a mask with a higher N than the leader, one that looks less like the negatives, ever catches up.

# %%
a = int(v.argmax())
rivals = np.flatnonzero(n > n[a])
# solution: begin
#: crossings = ...  # λ at which each of the rivals catches up, (n_rivals,)
crossings = (v[a] - v[rivals]) / (n[rivals] - n[a])
# solution: end
first = crossings.min()

# %%
# check
lead = v[a] + crossings * n[a]
assert np.allclose(lead, v[rivals] + crossings * n[rivals]), "there both totals must be equal"
before, after = (
    tas.refer(scene, "the big dog", weights={"p": 0, "n": x * first}) for x in (0.99, 1.01)
)
assert before.best == a != after.best, "the smallest crossing is where the lead passes"
truth_of = {sample.text: data.gt_mask(sample) for sample in data.by_image()[image_id]}
ious = [tasutils.masks.iou(one.mask(), truth_of["the big dog"]) for one in (before, after)]
print(f"mask {a} leads until lambda = {first:.3f}; preset tiny has {tas.preset.weights()['n']}")
print(f"IoU before {ious[0]:.2f}, after {ious[1]:.2f}")

# %% [markdown]
# ## How often does it matter?
#
# The terms of all sentences about twelve pictures are stored in a run; `run.table.choose({"v": 1, "p": ..., "n": ...})` answers all of them again with other weights, a row for each sentence.
#
# **Predict first:** for what share of the sentences is the answer another one with the preset's weights than with V alone?

# %%
print(f"weights {run.record.weights}, n = {run.record.n_used} sentences")
# solution: begin
#: predicted_share = ...  # between 0 and 1
predicted_share = 0.5
# solution: end

# %%
# solution: begin
#: alone = run.table.choose(...)
#: weighted = run.table.choose(...)
#: share = ...
alone = run.table.choose({"v": 1})
weighted = run.table.choose(run.record.weights)
share = (alone != weighted).mean()
# solution: end

# %%
# check
assert isinstance(predicted_share, float | int) and 0 <= predicted_share <= 1, (
    "predict before you compute: a number from 0 to 1, such as 0.5"
)
answers = {"V": alone, "whole": weighted}
ious = {name: np.divide(*run.table.pixels(rows)).mean() for name, rows in answers.items()}
assert np.isclose(ious["whole"], run.samples["iou"].mean()), "the run's own weights"
moved = sum(alone[i] != weighted[i] for i in range(len(alone))) / len(alone)
assert np.isclose(share, moved), "count the sentences whose two answers differ"
print(f"predicted {predicted_share:.0%}, counted {share:.0%}, n = {len(alone)}, partial")
print(f"mIoU of V {ious['V']:.3f}, with the preset's weights {ious['whole']:.3f}")

# %% [markdown]
# ## To think about
#
# * How far do V, P and N spread over the masks of one sentence? `table[["v", "p", "n"]].std()` tells. Which of them would decide if all weights were 1?
# * The article has λ = 0.1 on RefCOCO and 1 on RefCOCO+. On which split may such a choice be made, and on which not?
# * N is the same for all sentences of a picture as long as the negatives are. What does it then do?
