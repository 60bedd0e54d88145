# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A3 · The tiny SAM
#
# In this notebook you see how the proposal network of the `tiny` preset, segment-anything's `Sam` with a small encoder, is trained on points in scenes of the embedded world: its loss and the loop are written out, take a few steps here, and the network that ships is measured by how well its automatic masks cover the things.
#
# **What you'll need:** nothing but the repository; two CPU cores. **Takes:** under a minute. With `minutes` over 0 the network is trained anew first: 70 are a good start, and about ten more go into drawing 12,000 scenes.

# %% tags=["parameters"]
minutes = 0.0  # of training; 0 takes the weights that ship
scenes = 8  # that the live training learns from
steps = 12  # of the live training
threads = 2
seed = 0
export_weights = False
score_images = 6

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

import tasutils
from tasutils import paths
from tasutils.notebooks import refuse_unknown
from tasutils.paths import RESULTS

sys.path.insert(0, str(paths.DATA))  # the programs that made world and weights

from making.export import export
from making.pools import FIRST_TRAINING_SEED, ScenePool, draw_shard, fill_pool
from making.sam import draw_prompts, encode, prompt, sam_loss, train_sam, trainable
from making.scores import best_iou, stored_pictures

refuse_unknown()

torch.set_num_threads(threads)
torch.manual_seed(seed);

# %% [markdown]
# ## Scenes to learn from
#
# They are drawn from seeds of 1,000,000 and up, in the two training styles and of the 279 seen categories; a seed of a stored split is refused. Half of them hold things of up to the whole picture: a network that never saw any cannot find what fills the frame. Here a few suffice.

# %%
folder = RESULTS / "training" / f"pool_of_{scenes}"
draw_shard(folder, FIRST_TRAINING_SEED, scenes)
pool = ScenePool(folder, at_least=0)
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
# ## The loss
#
# SAM's own (Kirillov et al. 2023): of three masks for a point only the best is taught, by 20 focal + 1 dice, and the predicted IoU of every mask by its squared error. The focal loss leaves aside what is right already; the dice loss asks for overlap, however small the thing. Its balance is turned round, 0.75 for the mask instead of 0.25: most things here cover under 1 % of the picture, and all masks stayed empty otherwise.

# %% tags=["sam-loss"]
def focal_and_dice(logits, goal):
    """20 focal + 1 dice of masks (n, 4, h, w) against 0 or 1 of the same shape: (n, 4)."""
    chance = logits.sigmoid()
    right = torch.where(goal > 0, chance, 1 - chance)
    focal = torch.where(goal > 0, 0.75, 0.25) * (1 - right) ** 2 * -right.log()
    overlap = 2 * (chance * goal).sum((2, 3)) + 1
    dice = 1 - overlap / ((chance + goal).sum((2, 3)) + 1)
    return 20 * focal.mean((2, 3)) + dice


def loss_of(logits, predicted_iou, targets):
    """Of the best of three masks, of the fourth a little, and of the IoUs."""
    goal = targets[:, None].expand_as(logits)
    masks = focal_and_dice(logits, goal)
    best = masks[:, 1:].min(1).values + 0.2 * masks[:, 0]
    thing = targets.sum((1, 2)) > 0  # a point on the background has no mask
    found = logits.detach() > 0
    iou = (found & (goal > 0)).sum((2, 3)) / (found | (goal > 0)).sum((2, 3)).clamp(min=1)
    return best[thing].mean() + F.mse_loss(predicted_iou, iou)


# %% [markdown]
# ## The loop
#
# Beside SAM's loss stands a helper's, dropped afterwards, which reads outlines and boxes off the image embedding at every pixel; without it the first minutes teach the encoder next to nothing. Here a network that knows nothing takes a few steps on the three pictures above.

# %%
model = trainable()
sam, helper = model["sam"], model["helper"]
optimizer = torch.optim.AdamW(model.parameters(), 8e-4)
targets = torch.from_numpy(batch.targets).flatten(0, 1)

# %%
curve = []
for _ in range(steps):
    features = encode(sam, batch.images)  # once a picture
    logits, iou = prompt(sam, features, batch.points_xy)  # once a point
    loss, helped = loss_of(logits, iou, targets), helper(features, batch.labels)
    optimizer.zero_grad()
    (loss + helped).backward()
    optimizer.step()
    curve.append({"SAM": float(loss.detach()), "helper": float(helped.detach())})

# %%
curve = pd.DataFrame(curve).rename_axis("step")
assert torch.allclose(loss_of(logits, iou, targets), sam_loss(logits, iou, targets)[0], atol=1e-4)
assert curve.sum(axis=1).iloc[-1] < curve.sum(axis=1).iloc[0]
print("loss:", *(f"{value:.2f}" for value in curve["SAM"]))
curve.plot(figsize=(7, 2.6))
plt.show()

# %% [markdown]
# The network that ships learned so for longer, from new pictures and points all the time, half of them made of photographic cut-outs.

# %%
record = {"curve": []}
if minutes > 0:
    fill_pool(RESULTS / "training" / "pool", 12000, workers=2)
    record = train_sam(minutes, RESULTS / "training" / "sam", seed=seed, threads=threads)
pd.DataFrame(record["curve"]).tail()

# %% [markdown]
# ## Scores
#
# For each thing of a val picture: the IoU of the best proposal of the automatic generator, with the thresholds of preset `tiny`. That is the upper bound of whatever chooses among the proposals.

# %%
if export_weights:
    export("sam")
proposer = tasutils.load("tiny").proposer
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
# * SAM's loss and the loop in plain torch, a helper loss that makes it start, and a loss that falls.
# * The oracle: how much of each thing the best automatic mask covers, by size.
