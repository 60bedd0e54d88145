# %% [markdown]
# # Exercise 3 · Alpha and lambda by hand
#
# In this exercise you add up V + α·P + λ·N with pencil and paper (or numpy), find the very α at which another mask takes the lead, and see how rarely that happens.
#
# **You need:** notebook 00. **Takes:** 15 minutes. Fill in every `...`; a check cell complains until its answer is right.

# %%
import numpy as np

import tasutils
from tasutils import charts
from tasutils.datasets import load_dataset
from tasutils.newest import part_of

# %%
tas, data = tasutils.load("tiny"), load_dataset("refscenes", "val")
part = part_of("refscenes val", tas, limit=12)
image_id = data.image_ids[5]
scene = tas.describe(tasutils.read_image(data.image_path(image_id)), image_id)
answer = tas.refer(scene, "the big dog", alpha=0.3, lam=0.5)
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
# With λ = 0 the total of a mask is a straight line over α: it begins at V and climbs with the slope P. The lead can pass from mask *a* (best V) to mask *b* only where their lines cross.
#
# *Hint:* solve V_a + α·P_a = V_b + α·P_b for α. Only a mask with a higher P than the leader ever catches up.

# %%
a = int(v.argmax())
rivals = np.flatnonzero(p > p[a])
# solution: begin
#: crossings = ...  # α at which each of the rivals catches up, (n_rivals,)
crossings = (v[a] - v[rivals]) / (p[rivals] - p[a])
# solution: end
first = crossings.min()

# %%
# check
lead = v[a] + crossings * p[a]
assert np.allclose(lead, v[rivals] + crossings * p[rivals]), "there both totals must be equal"
before, after = (tas.refer(scene, "the big dog", alpha=x * first, lam=0) for x in (0.99, 1.01))
assert before.best == a != after.best, "the smallest crossing is where the lead passes"
truth_of = {sample.text: data.gt_mask(sample) for sample in data.by_image()[image_id]}
ious = [tasutils.masks.iou(one.mask(), truth_of["the big dog"]) for one in (before, after)]
print(f"mask {a} leads until alpha = {first:.3f}; preset tiny has {tas.preset.weights()['p']}")
print(f"IoU before {ious[0]:.2f}, after {ious[1]:.2f}")

# %% [markdown]
# ## How often does it matter?
#
# The scores of all sentences about twelve pictures are stored in a run; `part.scores.choose(alpha, lam)` answers all of them again, with other weights.
#
# **Predict first:** for what share of the sentences is the answer another one with the preset's weights than with V alone?

# %%
record = part.run.record
print(f"alpha {record.alpha}, lambda {record.lam}, n = {record.n_used} sentences")
# solution: begin
#: predicted_share = ...  # between 0 and 1
predicted_share = 0.5
# solution: end

# %%
# solution: begin
#: alone = part.scores.choose(..., ...)
#: weighted = part.scores.choose(..., ...)
#: share = ...
alone = part.scores.choose(0.0, 0.0)
weighted = part.scores.choose(record.alpha, record.lam)
share = (alone != weighted).mean()
# solution: end

# %%
# check
assert 0 <= predicted_share <= 1, "predict before you compute"
answers = {"V": alone, "whole": weighted}
ious = {name: np.divide(*part.scores.pixels(rows)).mean() for name, rows in answers.items()}
assert np.isclose(ious["whole"], part.samples["iou"].mean()), "the run's own weights"
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
