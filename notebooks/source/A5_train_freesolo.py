# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A5 · The tiny FreeSOLO
#
# In this notebook you meet a maker of masks that no mask label ever taught: FreeSOLO (Wang et al. 2022). You look at the *free masks* it starts from, watch its network take in a few of them, and compare the trained network with the tiny SAM, which did learn from masks.
#
# **What you'll need:** the extra `photo`, which `make setup` installs, for the features behind the free masks. **Takes:** under a minute. With `minutes` over 0 the network is trained anew first: 30 are a good start, and about twenty more go into the free masks of 1,000 scenes.

# %% tags=["parameters"]
minutes = 0.0  # of training on free masks; 0 takes the network that ships
images = 8  # val pictures on which SAM and FreeSOLO are compared
number = 3  # which of them to look at, from 0
steps = 15  # of the live training
seed = 0
threads = 2

# %%
import sys
from itertools import islice
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

import tasutils
from tasutils import paths
from tasutils.datasets import load_dataset
from tasutils.notebooks import refuse_unknown
from tasutils.proposals.regions import soft_masks

sys.path.insert(0, str(paths.DATA))  # the programs that made world and weights

from making.freesolo import (
    FREE_MASKS,
    PAIR_WEIGHT,
    FreeMasks,
    PseudoScene,
    fill_free_masks,
    solo_batch,
    solo_loss,
    train_freesolo,
    trainable,
)
from making.layout import training_scene
from making.pools import FIRST_TRAINING_SEED, TRAINING
from making.render import render

refuse_unknown()

torch.set_num_threads(threads)
torch.manual_seed(seed);

# %% [markdown]
# ## Free masks
#
# Cut the dense features of a picture into cells. Ask with one cell, and every other answers by cosine similarity: a soft mask. FreeSOLO asks with all cells. Where its features come from self-supervised DenseCL, ours are those of an ImageNet classifier: it was taught the names of photographs, but no mask, and nothing of this world.

# %%
seeds = range(FIRST_TRAINING_SEED, FIRST_TRAINING_SEED + 3)
pictures = [render(training_scene(seed)).image for seed in seeds]
finder = FreeMasks()
features = finder.proposer.features(pictures[0])
soft = soft_masks(features, (1.0,)).numpy()
print(f"{len(soft)} cells ask, each gives a soft mask of {soft.shape[1]} x {soft.shape[2]} cells")

# %%
figure, axes = plt.subplots(1, 5, figsize=(12, 2.1))
axes[0].imshow(pictures[0])
for axis, query in zip(axes[1:], np.linspace(0, len(soft) - 1, 6)[1:5], strict=True):
    axis.imshow(soft[int(query)], cmap="magma")
    axis.set_title(f"cell {int(query)}", fontsize=9)
for axis in axes:
    axis.axis("off")
plt.tight_layout()
plt.show()

# %% [markdown]
# Most of these are not things. Each is cut at a threshold and ranked by *maskness*, the mean of its soft values inside, times its *contrast*, how much less alike a ring around it is; doubles, frames and whole backgrounds go. The rest snap to regions of merged superpixels, which have sharp outlines but do not know what a thing is. What is left is noisy, and enough.

# %%
found = [finder(picture) for picture in pictures]
figure, axes = plt.subplots(1, 3, figsize=(12, 3.3))
for axis, picture, (masks, _) in zip(axes, pictures, found, strict=True):
    axis.imshow(picture)
    for mask in masks:
        axis.contour(mask, [0.5], colors="white", linewidths=1)
    axis.set_title(f"{len(masks)} free masks", fontsize=9)
    axis.axis("off")
plt.tight_layout()
plt.show()

# %% [markdown]
# ## Learning from them
#
# The network is a SOLOv2: each cell of a grid says whether an object is centred there, and gives the 1 x 1 kernel that cuts its mask out of shared features. The published loss trusts a free mask only with its *projections* on both axes, and lets neighbouring pixels of one colour agree. In this world of plain colours that alone lets masks shrink, so ours compares whole masks too. Here a network that knows nothing takes a few steps on the three pictures above.

# %%
batch = solo_batch([PseudoScene(p, masks) for p, (masks, _) in zip(pictures, found, strict=True)])
network, rng = trainable(), np.random.default_rng(seed)
optimizer = torch.optim.AdamW(network.parameters(), 2e-3)

# %%
curve = []
for _ in range(steps):
    loss, parts = solo_loss(network(batch.pixels), batch, rng, PAIR_WEIGHT)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    curve.append({"loss": float(loss.detach()), **parts})

# %%
curve = pd.DataFrame(curve).rename_axis("step")
names = {"max": "projections", "focal": "objects", "pair": "colours"}
curve[["loss", *names]].rename(columns=names).plot(figsize=(7, 2.8))
plt.show()
curve.iloc[[0, -1]].round(3)

# %% [markdown]
# The network that ships learned so for longer, from a random start. Its card, `data/weights/tiny/freesolo.md`, tells for how long and on how many pictures.

# %%
record = {"curve": []}
if minutes > 0:
    fill_free_masks(FREE_MASKS, 1000)
    record = train_freesolo(minutes, TRAINING / "freesolo", seed=seed, threads=threads)
pd.DataFrame(record["curve"]).tail()

# %% [markdown]
# ## SAM against FreeSOLO
#
# Both as `Proposer`, so that any preset takes either: only its part `proposals` changes. Dashed: what the sentences of the picture mean. Filled: each maker's best mask for it.

# %%
tiny = tasutils.load_preset("tiny")
shipped = {"kind": "freesolo", "size": "tiny", "checkpoint": "tiny/freesolo.safetensors"}
presets = {"SAM": tiny, "FreeSOLO": tiny.override({"proposals": shipped})}
makers = {name: tasutils.load(preset, device="cpu").proposer for name, preset in presets.items()}

# %%
samples = load_dataset("refscenes", "val")
image_id = samples.image_ids[number]
image = tasutils.read_image(samples.image_path(image_id))
targets = {sample.ref_id: sample for sample in samples.by_image()[image_id]}
truths = [samples.gt_mask(sample) for sample in targets.values()]


# %%
def outline(ax, mask, color, **look):
    y, x = (np.arange(-1, side + 1) for side in mask.shape)
    ax.contour(x, y, np.pad(mask, 1), [0.5], colors=[color], **look)


figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for ax, (name, maker) in zip(axes, makers.items(), strict=True):
    ax.imshow(image)
    masks = maker(image).masks()
    for mask in masks:
        outline(ax, mask, "white", linewidths=0.6)
    for truth in truths:
        ious = (masks & truth).sum((1, 2)) / (masks | truth).sum((1, 2))
        ax.imshow(np.where(masks[ious.argmax()][..., None], [0.9, 0.6, 0, 0.5], 0))
        outline(ax, truth, "#56B4E9", linestyles="dashed")
    ax.set_title(f"{name}: {len(masks)} masks")
    ax.set_axis_off()


# %%
def reached():
    """One row a maker and target of the first pictures: the IoU of the best mask for it."""
    for image_id, asked in islice(samples.by_image().items(), images):
        image = tasutils.read_image(samples.image_path(image_id))
        for name, maker in makers.items():
            start = perf_counter()
            masks = maker(image).masks()
            seen = {"maker": name, "masks": len(masks), "seconds": perf_counter() - start}
            for sample in {sample.ref_id: sample for sample in asked}.values():
                truth = samples.gt_mask(sample)
                ious = (masks & truth).sum((1, 2)) / (masks | truth).sum((1, 2))
                hidden = sample.flags.get("hidden_fraction", np.nan)
                best = {"oracle_iou": ious.max(initial=0.0), "share": truth.mean()}
                yield seen | best | {"hidden": hidden, "image_id": image_id}


# %%
table = pd.DataFrame(reached())
by_maker = table.groupby("maker", sort=False)
once = table.drop_duplicates(["maker", "image_id"]).groupby("maker", sort=False)
totals = pd.DataFrame({
    "oracle_miou": by_maker["oracle_iou"].mean(),
    "recall@0.5": by_maker["oracle_iou"].agg(lambda ious: (ious > 0.5).mean()),
    "recall@0.75": by_maker["oracle_iou"].agg(lambda ious: (ious > 0.75).mean()),
    "masks": once["masks"].mean(), "seconds": once["seconds"].mean(),
    "n_targets": by_maker.size(), "n_images": once.size(),
})  # fmt: skip
note = f"refscenes val, {totals['n_targets'].iloc[0]} targets in {images} pictures"
print(note + ("" if images >= len(samples.image_ids) else ", partial"))
totals.round(3)

# %%
bars = np.arange(0.05, 1, 0.05)
ious = dict(iter(by_maker["oracle_iou"]))
recall = pd.DataFrame({k: [100 * (one > b).mean() for b in bars] for k, one in ious.items()})
recall.set_index(bars).plot(ylabel="targets, %", xlabel="IoU of the best mask is over", title=note);

# %%
groups = {"all": table["share"] > 0, "10 % hidden": table["hidden"] >= 0.1,
          "under 1 % of the picture": table["share"] < 0.01}  # fmt: skip
by_group = {g: table[who].groupby("maker")["oracle_iou"].mean() for g, who in groups.items()}
(100 * pd.DataFrame(by_group)).round(1)

# %%
assert curve["loss"].iloc[-1] < curve["loss"].iloc[0]
assert totals["oracle_miou"].between(0, 1).all() and totals.loc["FreeSOLO", "oracle_miou"] > 0.2

# %% [markdown]
# ## What was seen
#
# * A classifier's features alone already separate many things from their surroundings, coarsely.
# * From such masks a network learns to find things one by one, without a label of any mask.
# * It was trained in the world it is tested in, like the tiny SAM: nothing here is zero-shot. And small things, which the features behind the free masks are too coarse for, are where it misses most.
# * Computed from the table above, not written beforehand:

# %%
gap = totals.loc["SAM", "oracle_miou"] - totals.loc["FreeSOLO", "oracle_miou"]
speed = totals.loc["SAM", "seconds"] / totals.loc["FreeSOLO", "seconds"]
masks = totals["masks"].round().astype(int)
print(f"{note}: with mask labels SAM reaches {gap:+.3f} oracle mIoU over FreeSOLO without.")
print(f"SAM takes {speed:.1f} times as long, for {masks['SAM']} masks against {masks['FreeSOLO']}.")
