# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise 6 · How sure is that number?
#
# In this exercise you put an interval around an oIoU, the sum of intersections over the sum of unions, by resampling, once over sentences and once over pictures, and see how much too sure the first one is. (Notebook 06 does it for mIoU.)
#
# **You need:** notebook 06. **Takes:** 15 minutes. Fill in every `...`; a check cell complains until its answer is right.

# %%
import matplotlib.pyplot as plt
import numpy as np

import tasutils
from tasutils.evaluate import run_of
from tasutils.metrics import bootstrap, paired_difference

# %%
run = run_of("refscenes val", tasutils.load("tiny"), limit=12)
intersection, union = run.pixels()
image, n_of_image = np.unique(run.images, return_inverse=True)
oiou = intersection.sum() / union.sum()
print(f"{len(union)} sentences about {len(image)} pictures, oIoU {oiou:.3f}")

# %% [markdown]
# ## Over sentences
#
# The bootstrap asks: what if I had drawn other sentences? It draws as many as there are, *with replacement*, takes the oIoU, and does so a thousand times. The middle 95 % of these numbers are the interval.
#
# *Hint:* `rng.integers(0, n, n)` draws n numbers from 0 to n - 1.

# %%
rng = np.random.default_rng(0)
n = len(union)
# solution: begin
#: drawn = [... for _ in range(1000)]  # the oIoU of each resample
#: low, high = np.quantile(drawn, [..., ...])
some = [rng.integers(0, n, n) for _ in range(1000)]
drawn = [intersection[one].sum() / union[one].sum() for one in some]
low, high = np.quantile(drawn, [0.025, 0.975])
# solution: end

# %%
# check
rest = (intersection - oiou * union) / union.mean()  # what each sentence adds, in first order
theory = 1.96 * rest.std() / np.sqrt(n)
assert len(drawn) == 1000 and low < oiou < high, "the interval holds the oIoU"
assert abs((high - low) / 2 - theory) < 0.3 * theory, "2.5 % are cut off at either end"
print(f"over sentences: {oiou:.3f} [{low:.3f}, {high:.3f}]")

# %% [markdown]
# ## Over pictures
#
# Sentences about the same picture share its masks and its caption: where one of them goes wrong, the others tend to as well. So whole pictures must be drawn, each with all of its sentences.
#
# **Predict first:** will the interval be narrower, the same, or wider, and by what factor?

# %%
# solution: begin
#: predicted_factor = ...  # width over pictures / width over sentences
predicted_factor = 1.0
# solution: end

# %% [markdown]
# *Hint:* first the sums of each picture: `np.bincount(n_of_image, weights=intersection)`, and of the unions likewise. A resample of pictures then has the sum of its intersections over the sum of its unions.

# %%
tops, bottoms = (np.bincount(n_of_image, weights=px) for px in (intersection, union))
clustered = []
for _ in range(1000):
    pictures = rng.integers(0, len(image), len(image))
    # solution: begin
    #: clustered.append(...)
    clustered.append(tops[pictures].sum() / bottoms[pictures].sum())
    # solution: end
low_images, high_images = np.quantile(clustered, [0.025, 0.975])

# %%
# check
found = bootstrap(intersection, union, run.images, ("oiou",))["oiou"]
package = found.low, found.high
assert isinstance(predicted_factor, float | int), "predict before you compute: a number"
assert np.allclose([low_images, high_images], package, atol=0.04), f"the package finds {package}"
factor = (high_images - low_images) / (high - low)
print(f"over pictures: [{low_images:.3f}, {high_images:.3f}]")
print(f"predicted factor {predicted_factor}, found {factor:.2f}")

# %%
figure, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
axis.hist(drawn, bins=40, alpha=0.6, label="sentences drawn")
axis.hist(clustered, bins=40, alpha=0.6, label="pictures drawn")
axis.set(xlabel=f"oIoU of a resample, n = {n} sentences, {len(image)} pictures")
axis.legend()
plt.show()
# %% [markdown]
# ## Two methods, the same sentences
#
# V alone against a mask drawn at random. Each has its wide interval. But both answered the *same* pictures, and a hard picture is hard for both: so the difference can be known better than either number.
#
# **Predict first:** will the interval of the difference be narrower than the two widths together?

# %%
visual, chance = (
    run.table.pixels(rows) for rows in (run.table.choose({"v": 1}, "none"), run.table.draw(False))
)
# solution: begin
#: narrower = ...  # True or False
#: difference = paired_difference(..., ..., run.images, ("miou",))["miou"]
narrower = True
difference = paired_difference(visual, chance, run.images, ("miou",))["miou"]
# solution: end

# %%
# check
ends = [bootstrap(*pair, run.images, ("miou",))["miou"] for pair in (visual, chance)]
together = sum(one.high - one.low for one in ends)
ious = [np.divide(*pair).mean() for pair in (visual, chance)]
assert narrower in (True, False), "predict before you compute"
assert np.isclose(difference.value, ious[0] - ious[1]), "V first, then chance"
width = difference.high - difference.low
print(f"V {ious[0]:.3f}, chance {ious[1]:.3f}; both widths together {together:.3f}")
print(
    f"difference {difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}], width {width:.3f}"
)

# %% [markdown]
# ## To think about
#
# * RefCOCO val has 10,834 sentences about 1,500 pictures. Which of the two numbers makes an interval narrow?
# * Two published mIoUs, 0.4 apart, without intervals and on different masks: what can be said?
# * Twelve pictures are few. Run the notebook with `limit=40` and watch both intervals.
