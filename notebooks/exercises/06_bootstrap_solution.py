# %% [markdown]
# # Exercise 6 · How sure is that number?
#
# In this exercise you put an interval around an mIoU by resampling, once over sentences and once over pictures, and see how much too sure the first one is.
#
# **You need:** notebook 06. **Takes:** 15 minutes. Fill in every `...`; a check cell complains until its answer is right.

# %%
import matplotlib.pyplot as plt
import numpy as np

import tasutils
from tasutils.newest import part_of
from tasutils.stats import bootstrap_ci, paired_difference

# %%
part = part_of("refscenes val", tasutils.load("tiny"), limit=12)
iou = part.samples["iou"].to_numpy()
image, n_of_image = np.unique(part.images, return_inverse=True)
print(f"{len(iou)} sentences about {len(image)} pictures, mIoU {iou.mean():.3f}")

# %% [markdown]
# ## Over sentences
#
# The bootstrap asks: what if I had drawn other sentences? It draws as many as there are, *with replacement*, takes the mean, and does so a thousand times. The middle 95 % of these means are the interval.
#
# *Hint:* `rng.integers(0, n, n)` draws n numbers from 0 to n - 1.

# %%
rng = np.random.default_rng(0)
n = len(iou)
# solution: begin
#: means = [... for _ in range(1000)]
#: low, high = np.quantile(means, [..., ...])
means = [iou[rng.integers(0, n, n)].mean() for _ in range(1000)]
low, high = np.quantile(means, [0.025, 0.975])
# solution: end

# %%
# check
theory = 1.96 * iou.std() / np.sqrt(n)
assert len(means) == 1000 and low < iou.mean() < high, "the interval holds the mean"
assert abs((high - low) / 2 - theory) < 0.25 * theory, "2.5 % are cut off at either end"
print(f"over sentences: {iou.mean():.3f} [{low:.3f}, {high:.3f}]")

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
# *Hint:* first the sum of the IoUs and the number of sentences of each picture (`np.bincount(n_of_image, weights=iou)` and `np.bincount(n_of_image)`). A resample of pictures then has the mean: sum of its sums over sum of its counts.

# %%
sums, counts = np.bincount(n_of_image, weights=iou), np.bincount(n_of_image)
clustered = []
for _ in range(1000):
    drawn = rng.integers(0, len(image), len(image))
    # solution: begin
    #: clustered.append(...)
    clustered.append(sums[drawn].sum() / counts[drawn].sum())
    # solution: end
low_images, high_images = np.quantile(clustered, [0.025, 0.975])

# %%
# check
package = bootstrap_ci(*part.pixels(), part.images, "miou")
assert predicted_factor is not ..., "predict before you compute"
assert np.allclose([low_images, high_images], package, atol=0.04), f"the package finds {package}"
factor = (high_images - low_images) / (high - low)
print(f"over pictures: [{low_images:.3f}, {high_images:.3f}]")
print(f"predicted factor {predicted_factor}, found {factor:.2f}")

# %%
figure, axis = plt.subplots(figsize=(6, 2.6), layout="constrained")
axis.hist(means, bins=40, alpha=0.6, label="sentences drawn")
axis.hist(clustered, bins=40, alpha=0.6, label="pictures drawn")
axis.set(xlabel=f"mIoU of a resample, n = {len(iou)} sentences, {len(image)} pictures")
axis.legend()
plt.show()
# %% [markdown]
# ## Two methods, the same sentences
#
# V alone against a mask drawn at random. Each has its wide interval. But both answered the *same* pictures, and a hard picture is hard for both: so the difference can be known better than either number.
#
# **Predict first:** will the interval of the difference be narrower than the two widths together?

# %%
visual, chance = part.pixels("V"), part.pixels("random mask")
# solution: begin
#: narrower = ...  # True or False
#: difference = paired_difference(..., ..., part.images, ("miou",))["miou"]
narrower = True
difference = paired_difference(visual, chance, part.images, ("miou",))["miou"]
# solution: end

# %%
# check
ends = [bootstrap_ci(*pair, part.images, "miou") for pair in (visual, chance)]
together = sum(high - low for low, high in ends)
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
