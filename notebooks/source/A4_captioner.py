# %% [markdown]
# # A4 · The tiny BLIP-2
#
# In this notebook you train the captioner of the `tiny` preset, transformers' `Blip2ForConditionalGeneration` of 2.8 million parameters, on crops and whole scenes, and read what it says.
#
# **What you'll need:** the trained `tiny-ViT` of notebook A2 (it ships), whose first five layers become the vision tower. **Takes:** `minutes` of training. With `minutes = 0` nothing is trained and the model that ships is measured.

# %% tags=["parameters"]
minutes = 25.0
scenes = 12000
threads = 2
seed = 0
resume = True
export_weights = False
score_images = 40

# %%
import sys
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from tasutils import paths
from tasutils.captioners.image_to_text import ImageToTextCaptioner
from tasutils.config import load_preset
from tasutils.crops import whole_image
from tasutils.paths import RESULTS

sys.path.insert(0, str(paths.DATA))  # the programs that made world and weights

from making.captioner import draw_captioned, train_captioner
from making.export import export, measure
from making.pools import POOL, ScenePool, fill_pool
from making.scores import stored_pictures
from making.words import seen_words

folder = RESULTS / "training" / "blip2"
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
# ## What it learns to say
#
# Of a crop: "a red car". Of a whole scene, every fourth example: its largest kinds of things. The first feeds the P-score, the second the negatives of the N-score.

# %%
images, captions = draw_captioned(np.random.default_rng(seed), pool, seen_words(), 12)
figure, axes = plt.subplots(2, 6, figsize=(12, 4.4))
for axis, image, caption in zip(axes.flat, images, captions, strict=True):
    axis.imshow(image)
    axis.axis("off")
    axis.set_title(caption if len(caption) < 30 else caption[:28] + "..", fontsize=7)
plt.tight_layout()
plt.show()

# %% [markdown]
# ## Training
#
# The vision tower is frozen at first, as in the published training; then all parts learn.

# %%
record = {"curve": []}
if minutes > 0:
    record = train_captioner(minutes, folder, seed=seed, resume=resume, threads=threads)

# %%
curve = pd.DataFrame(record["curve"])
if len(curve):
    figure, axes = plt.subplots(1, 2, figsize=(10, 3))
    curve.plot(x="minutes", y="loss", ax=axes[0], legend=False, ylabel="loss")
    scored = curve.dropna(subset="category")
    scored.plot(x="minutes", y=["category", "caption"], ax=axes[1], marker="o")
    axes[1].set_ylabel("right, held-out crops")
    plt.tight_layout()
    plt.show()
curve.tail()

# %% [markdown]
# ## Scores
#
# The share of exactly masked val crops whose caption ends with the name of the category.

# %%
if export_weights:
    export("blip2", folder)
table = pd.DataFrame(measure("blip2", score_images)).T
table

# %%
assert table.loc["val", "seen"] > 10 / 319

# %% [markdown]
# ## Whole pictures

# %%
captioner = ImageToTextCaptioner(load_preset("tiny").captioner)
pictures = list(stored_pictures("val", 6))
whole = torch.cat([whole_image(picture.image, captioner.image_size) for picture in pictures])
said = captioner.caption(whole)
figure, axes = plt.subplots(2, 3, figsize=(12, 6.6))
for axis, picture, text in zip(axes.flat, pictures, said, strict=True):
    axis.imshow(picture.image)
    axis.set_title(fill(text, 44), fontsize=8)
    axis.axis("off")
plt.tight_layout()
plt.show()

# %% [markdown]
# ## What was seen
#
# * A BLIP-2 that is small but whole: vision tower, queries, language model, its own vocabulary.
# * Captions of crops name colour and kind; captions of scenes list what is large.
# * Scene captions get colours, counts and floors right before kinds: at 112 px a thing of a scene is only a patch or two wide.
# * How often the named kind is right, for categories seen in training and for those never seen (about zero: it has no word for them).
