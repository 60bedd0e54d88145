# %% [markdown]
# # A2 · The tiny CLIP models
#
# In this notebook you train the two image-text encoders of the `tiny` preset, `tiny-RN` and `tiny-ViT`, by contrasting masked crops with phrases, and measure which categories they tell apart.
#
# **What you'll need:** nothing but the repository; two CPU cores. **Takes:** `minutes` of training, and about ten minutes more to draw 12,000 scenes the first time. With `minutes = 0` nothing is trained and the models that ship are measured.
#
# They are trained in the world that they are tested in: nothing about them is zero-shot.

# %% tags=["parameters"]
model = "tiny-ViT"
minutes = 40.0
scenes = 12000
threads = 2
seed = 0
resume = True
export_weights = False
score_images = 40

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from tasutils import paths
from tasutils.config import load_preset
from tasutils.encoders.openclip import OpenClipEncoder
from tasutils.paths import RESULTS

sys.path.insert(0, str(paths.DATA))  # the programs that made world and weights

from making.clip import train_clip
from making.export import FILES, export, measure
from making.pairs import draw_pairs
from making.pools import POOL, ScenePool, fill_pool
from making.words import seen_words

folder = RESULTS / "training" / model
torch.set_num_threads(threads)

# %% [markdown]
# ## Scenes to learn from
#
# They are drawn from seeds of 1,000,000 and up, in the two training styles and of the 279 seen categories; a seed of a stored split is refused. They are drawn once and kept, since every training uses them.

# %%
if minutes > 0:
    fill_pool(POOL, scenes, workers=2)
pool = ScenePool(POOL)
print(len(pool), "scenes")

# %% [markdown]
# ## A batch
#
# A crop shows one thing through an imperfect mask (grown, shrunk, partly cut: SAM's will be), on black, blurred or mean background. Beside it stands one of its phrases. In a batch, "a dog" is also true of another crop's "the brown dog", so a table of *relations* says which pairs agree (1), which do not (0), and which are left alone (-1).

# %%
batch = draw_pairs(np.random.default_rng(seed), pool, seen_words(), 16, 0, 0, 112)
figure, axes = plt.subplots(2, 8, figsize=(12, 3.6))
for axis, image, text in zip(axes.flat, batch.images, batch.texts, strict=True):
    axis.imshow(image)
    axis.axis("off")
    axis.set_title(text if len(text) < 24 else text[:22] + "..", fontsize=7)
plt.tight_layout()
plt.show()

# %% [markdown]
# ## Training
#
# `minutes` is the one knob: the learning rate follows the share of it that is spent, and a training that was broken off goes on from its checkpoint. Small pictures come first, at a fraction of the cost. A ViT learns slowly from nothing; `tiny-ViT` therefore takes over the text tower of `tiny-RN` and leaves it as it is (locked-text tuning), so that its pictures have firm goals from the first minute.

# %%
text_from = RESULTS / "training" / "tiny-RN" / "average.safetensors"
locked = text_from if model == "tiny-ViT" and text_from.is_file() else None
record = {"curve": []}
if minutes > 0:
    record = train_clip(
        model, minutes, folder, seed=seed, resume=resume, text_from=locked, threads=threads
    )

# %%
curve = pd.DataFrame(record["curve"])
if len(curve):
    figure, axes = plt.subplots(1, 2, figsize=(10, 3))
    curve.plot(x="minutes", y="loss", ax=axes[0], legend=False, ylabel="contrastive loss")
    scored = curve.dropna(subset="top1_seen")
    scored.plot(x="minutes", y="top1_seen", ax=axes[1], marker="o", legend=False)
    axes[1].set_ylabel("top-1, held-out scenes")
    plt.tight_layout()
    plt.show()
curve.tail()

# %% [markdown]
# ## Scores
#
# Top-1 category of exactly masked crops among all 319 names, by the prompt "a NAME". `val` is drawn in the styles of training, `testS` in one that it never saw; the 40 unseen categories stand apart. `export_weights = True` first writes the weights that ship, in half precision, with their card.

# %%
if export_weights:
    export(model, folder)
shipped = measure(model, score_images)
table = pd.DataFrame(shipped).T
table

# %%
assert table.loc["val", "seen"] > 10 / 319

# %% [markdown]
# ## What a phrase is close to
#
# Cosines of some phrases: words for the same thing should be close, colours should matter.

# %%
changes = {"encoder.model": model, "encoder.checkpoint": f"tiny/{FILES[model]}"}
encoder = OpenClipEncoder(load_preset("tiny").override(changes).encoder)
phrases = ["a dog", "a brown dog", "an animal", "a red car", "a blue car", "an automobile"]
vectors = encoder.encode_text(phrases)
pd.DataFrame(vectors @ vectors.T, phrases, phrases).round(2)

# %% [markdown]
# ## What was seen
#
# * Crops and phrases, and why a batch needs a table of which pairs agree.
# * A training whose only knob is its minutes, and which can be broken off and resumed.
# * Top-1 on seen categories, on unseen ones (about zero: words that training never held mean nothing to it) and in a held-out style.
# * The geometry of the text tower: synonyms, wider words, colours.
