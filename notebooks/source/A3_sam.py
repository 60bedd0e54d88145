# %% [markdown]
# # A3 · The tiny SAM
#
# In this notebook you train the proposal network of the `tiny` preset, segment-anything's `Sam` with a small encoder, on points in scenes of the embedded world, and measure how well its automatic masks cover the things.
#
# **What you'll need:** nothing but the repository; two CPU cores. **Takes:** `minutes` of training, and about ten minutes more to draw 12,000 scenes the first time. With `minutes = 0` nothing is trained and the model that ships is measured.

# %% tags=["parameters"]
minutes = 70.0
scenes = 12000
threads = 2
seed = 0
resume = True
export_weights = False
score_images = 20

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from tasutils import paths
from tasutils.config import load_preset
from tasutils.paths import RESULTS
from tasutils.proposals.sam import SamProposer

sys.path.insert(0, str(paths.DATA))  # the programs that made world and weights

from making.export import export
from making.pools import POOL, ScenePool, fill_pool
from making.sam import draw_prompts, train_sam
from making.scores import best_iou, stored_pictures

folder = RESULTS / "training" / "sam"
torch.set_num_threads(threads)

# %% [markdown]
# ## Scenes to learn from
#
# They are drawn from seeds of 1,000,000 and up, in the two training styles and of the 279 seen categories; a seed of a stored split is refused. They are drawn once and kept, since every training uses them.
#
# Half of them hold things of up to the whole picture: a network that never saw any cannot find what fills the frame.

# %%
if minutes > 0:
    fill_pool(POOL, scenes, workers=2)
pool = ScenePool(POOL)
print(len(pool), "scenes")

# %% [markdown]
# ## Points
#
# The encoder looks at a picture once, then answers many points: seven inside things, one on the background, whose right answer is *no mask*, a predicted IoU of zero. The automatic generator asks with single points, so only points are trained.

# %%
batch = draw_prompts(np.random.default_rng(seed), pool, 3, 8)
figure, axes = plt.subplots(1, 3, figsize=(12, 3.2))
for axis, image, points, targets in zip(
    axes, batch.images, batch.points_xy, batch.targets, strict=True
):
    axis.imshow(image)
    axis.contour(targets.max(0).repeat(2, 0).repeat(2, 1), [0.5], colors="white", linewidths=1)
    axis.scatter(*points[:-1].T, c="#E69F00", edgecolors="black")
    axis.scatter(*points[-1:].T, c="#56B4E9", marker="X", edgecolors="black")
    axis.axis("off")
plt.tight_layout()
plt.show()

# %% [markdown]
# ## Training
#
# SAM's own loss: 20 focal + 1 dice on the best of three masks, and the squared error of the predicted IoU of every mask. Beside it a helper, dropped afterwards, reads outlines and boxes off the image embedding at every pixel; without it the first minutes teach the encoder next to nothing.

# %%
record = {"curve": []}
if minutes > 0:
    record = train_sam(minutes, folder, seed=seed, resume=resume, threads=threads)

# %%
curve = pd.DataFrame(record["curve"])
if len(curve):
    figure, axes = plt.subplots(1, 2, figsize=(10, 3))
    curve.plot(x="minutes", y=["loss", "dense"], ax=axes[0])
    curve.plot(x="minutes", y=["best_iou", "chosen_iou"], ax=axes[1], ylabel="IoU of a point")
    plt.tight_layout()
    plt.show()
curve.tail()

# %% [markdown]
# ## Scores
#
# For each thing of a val picture: the IoU of the best proposal of the automatic generator, with the thresholds of preset `tiny`. That is the upper bound of whatever chooses among the proposals.

# %%
if export_weights:
    export("sam", folder)
preset = load_preset("tiny")
proposer = SamProposer(preset.proposals, preset.overlap)
pictures = list(stored_pictures("val", score_images))
found = [proposer(picture.image) for picture in pictures]
things = pd.concat(
    pd.DataFrame(picture.things).assign(iou=best_iou(masks.masks(), picture.masks))
    for picture, masks in zip(pictures, found, strict=True)
)
print(f"oracle mIoU {things['iou'].mean():.3f}, recall at 0.5 {(things['iou'] >= 0.5).mean():.3f}")
print(f"{np.mean([len(masks) for masks in found]):.1f} masks an image, n = {len(things)} things")

# %%
bins = pd.cut(things["area_px"], [0, 300, 1000, 3000, 10000, 76800])
things.groupby(bins, observed=True)["iou"].agg(["size", "mean"]).round(3)

# %%
figure, axes = plt.subplots(2, 3, figsize=(12, 6.4))
for axis, picture, masks in zip(axes.flat, pictures, found, strict=False):
    axis.imshow(picture.image)
    for mask in masks.masks():
        axis.contour(mask, [0.5], colors="white", linewidths=1)
    axis.set_title(f"{len(masks)} masks, {len(picture.things)} things", fontsize=9)
    axis.axis("off")
plt.tight_layout()
plt.show()

# %%
assert things["iou"].mean() > 0.3

# %% [markdown]
# ## What was seen
#
# * One image embedding, many points, three masks each; the background's answer is no mask.
# * SAM's loss, and a helper loss that makes it start.
# * The oracle: how much of each thing the best automatic mask covers, by size.
