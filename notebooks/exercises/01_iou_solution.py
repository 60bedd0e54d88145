# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise 1 · IoU, mIoU and oIoU by hand
#
# In this exercise you count pixels. Two methods answer the same six sentences; one has the better mIoU, the other the better oIoU. How can that be, and which of the two would you publish?
#
# **You need:** notebook 00. **Takes:** 15 minutes. Fill in every `...`; a check cell complains until its answer is right.

# %%
import numpy as np

import tasutils
from tasutils import metrics
from tasutils.evaluate import run_of

# %% [markdown]
# ## One answer
#
# `t` is the truth, `a` the answer, `#` both. They are equally large, and half of the answer lies on the truth.

# %%
truth, answer = np.zeros((6, 10), bool), np.zeros((6, 10), bool)
truth[1:5, 1:5], answer[1:5, 3:7] = True, True
signs = np.where(truth & answer, "#", np.where(truth, "t", np.where(answer, "a", ".")))
print("\n".join(" ".join(row) for row in signs))

# %% [markdown]
# **Predict first:** half of it is right, so its IoU is ...?

# %%
# solution: begin
#: prediction = ...  # between 0 and 1
prediction = 0.5
# solution: end

# %% [markdown]
# Now count. *Hint:* `np.count_nonzero` counts `True`; `&` is *and*, `|` is *or*.

# %%
# solution: begin
#: intersection = ...  # pixels of both
#: union = ...  # pixels of at least one
#: iou = ...
intersection = np.count_nonzero(truth & answer)
union = np.count_nonzero(truth | answer)
iou = intersection / union
# solution: end

# %%
# check
assert isinstance(prediction, float | int) and 0 <= prediction <= 1, (
    "predict before you compute: a number from 0 to 1, such as 0.5"
)
assert (intersection, union) == (8, 24), "count the # for the one, every sign but the dots for both"
assert np.isclose(iou, metrics.iou([intersection], [union])[0]), "divide the one by the other"
print(f"predicted {prediction}, counted {iou:.3f}: what is missed and what is too much both cost")

# %% [markdown]
# ## Six sentences, two methods
#
# Five sentences mean small things, the last one a large thing. Method A finds the small things and misses the large one; method B the other way round.

# %%
union_a = np.array([100, 120, 90, 110, 100, 20000])
union_b = np.array([150, 160, 140, 150, 160, 21000])
intersection_a = np.array([80, 95, 70, 85, 80, 1500])
intersection_b = np.array([10, 0, 20, 5, 0, 19000])

# %% [markdown]
# **Predict first:** which method has the higher *mIoU* (the mean of the six IoUs), which the higher *oIoU* (all intersections, summed, over all unions, summed)?

# %%
# solution: begin
#: higher_miou, higher_oiou = ..., ...  # "A" or "B" each
higher_miou, higher_oiou = "A", "B"
# solution: end

# %%
# solution: begin
#: miou_a = ...
#: oiou_a = ...
#: miou_b = ...
#: oiou_b = ...
miou_a = (intersection_a / union_a).mean()
oiou_a = intersection_a.sum() / union_a.sum()
miou_b = (intersection_b / union_b).mean()
oiou_b = intersection_b.sum() / union_b.sum()
# solution: end

# %%
# check
assert {higher_miou, higher_oiou} <= {"A", "B"}, "predict before you compute"
assert np.isclose(miou_a, metrics.metric(intersection_a, union_a, "miou")), (
    "first divide, then the mean"
)
assert np.isclose(oiou_a, metrics.metric(intersection_a, union_a, "oiou")), "first sum, then divide"
assert np.isclose(miou_b, metrics.metric(intersection_b, union_b, "miou")), "the same for B"
assert np.isclose(oiou_b, metrics.metric(intersection_b, union_b, "oiou")), "the same for B"
right = ["A" if a > b else "B" for a, b in ((miou_a, miou_b), (oiou_a, oiou_b))]
print(f"predicted {higher_miou}, {higher_oiou}; higher mIoU: {right[0]}, higher oIoU: {right[1]}")
print(f"A: mIoU {miou_a:.2f}, oIoU {oiou_a:.2f};  B: mIoU {miou_b:.2f}, oIoU {oiou_b:.2f}")

# %% [markdown]
# ## And on real answers
#
# The first twelve pictures of RefScenes val, answered by TAS. Each sentence counts once in mIoU. In oIoU it counts with its pixels.
#
# **Predict first:** what share of the sentences holds half of all the union's pixels?

# %%
samples = run_of("refscenes val", tasutils.load("tiny"), limit=12).samples
union_px = samples["union_px"].to_numpy()
# solution: begin
#: predicted_share = ...  # between 0 and 1
predicted_share = 0.5
# solution: end

# %% [markdown]
# *Hint:* sort the unions from the largest (`np.sort(...)[::-1]`), add them up (`np.cumsum`), and count how many it takes to reach half of the sum.

# %%
# solution: begin
#: n_half = ...  # how many sentences, the largest unions first
largest_first = np.cumsum(np.sort(union_px)[::-1])
n_half = int(np.searchsorted(largest_first, union_px.sum() / 2)) + 1
# solution: end

# %%
# check
order = np.argsort(-union_px)
assert isinstance(predicted_share, float | int) and 0 <= predicted_share <= 1, (
    "predict before you compute: a number from 0 to 1, such as 0.5"
)
assert union_px[order[:n_half]].sum() >= union_px.sum() / 2, "these do not reach half yet"
assert union_px[order[: n_half - 1]].sum() < union_px.sum() / 2, "fewer would do"
share = n_half / len(union_px)
print(
    f"predicted {predicted_share:.0%}; {n_half} of {len(union_px)} sentences ({share:.0%}) hold half"
)

# %% [markdown]
# ## To think about
#
# * A method that answers every sentence with half of the picture: which of the two numbers does it please?
# * A sentence for which no mask was proposed at all has an intersection of 0 and the truth as union. What would leaving it out do?
# * RefCOCO's papers before 2022 report oIoU, later ones often both. Which would you ask for, and what else would you print beside it?
