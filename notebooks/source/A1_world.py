# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A1 · RefScenes, the embedded world
#
# In this notebook you see how the world is made in which the `tiny` preset lives: its things, its scenes, its sentences, and the shares that were fixed before any model was trained.
#
# **What you'll need:** nothing but the repository. **Takes:** half a minute.
#
# Numbers measured in this world are never comparable with RefCOCO's.

# %% tags=["parameters"]
split = "val"
n_scenes = 6
rebuild = False

# %%
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd

from tasutils import paths
from tasutils.notebooks import refuse_unknown
from tasutils.paths import REFSCENES

sys.path.insert(0, str(paths.DATA))  # the programs that made world and weights

from making.build import SPLITS, draw_split
from making.categories import load_categories
from making.sprites import load_sprite

refuse_unknown()

# %% [markdown]
# ## Things
#
# Every thing is tied to a WordNet 3.0 noun synset, so that synonyms and wider words can be looked up. Forty of them are *unseen*: they never enter any training.

# %%
categories = pd.DataFrame([vars(category) for category in load_categories()])
counts = categories.groupby("group")["seen"].agg(["size", lambda seen: (~seen).sum()])
counts.columns = ["categories", "unseen"]
counts.sort_values("categories", ascending=False)

# %% [markdown]
# The same things in three drawing styles. Fluent and Noto train; Twemoji is held out and appears in the split testS only.

# %%
slugs = ["dog", "car", "banana", "guitar", "umbrella", "penguin", "chair", "teapot"]
figure, axes = plt.subplots(3, len(slugs), figsize=(11, 4.4))
for row, style in zip(axes, ("fluent", "noto", "twemoji"), strict=True):
    for axis, slug in zip(row, slugs, strict=True):
        axis.imshow(load_sprite(style, slug))
        axis.axis("off")
        axis.set_title(f"{slug} ({style})", fontsize=8)
plt.tight_layout()
plt.show()

# %% [markdown]
# ## Scenes and sentences
#
# A scene holds three to ten things, several of one category in most scenes (otherwise nothing needs referring to), partly hiding each other. Sentences are written over the scene graph and *executed* on it: one is kept only if it means exactly its target, with a margin that leaves a reader in no doubt.

# %%
pictures = list(draw_split(SPLITS[split], n_scenes))
figure, axes = plt.subplots(-(-n_scenes // 3), 3, figsize=(11, 3.6 * -(-n_scenes // 3)))
for axis, picture in zip(axes.flat, pictures, strict=False):
    axis.imshow(picture.rendered.image)
    for target, color in zip(picture.targets, ("#E69F00", "#56B4E9", "#CC79A7"), strict=False):
        axis.contour(picture.rendered.visible[target], [0.5], colors=color, linewidths=1.6)
    axis.set_title(picture.expressions[0][2][0].raw, fontsize=9)
    axis.axis("off")
plt.tight_layout()
plt.show()

# %%
rows = [
    (family, picture.image_id, written.raw, written.kind)
    for picture in pictures
    for family, _, sentences in picture.expressions
    for written in sentences
]
pd.DataFrame(rows, columns=["family", "image", "sentence", "kind"]).head(24)

# %% [markdown]
# ## Fixed before any training
#
# So that the world cannot grow easy to please a number, these shares are asserted by `tests/test_world.py`.

# %%
things = pd.read_parquet(REFSCENES / "scenes.parquet")
sentences = pd.read_parquet(REFSCENES / "expressions.parquet")
targets = things[things["target"]]
short = sentences[sentences["family"] == "refscenes"]
pronouns = sentences[sentences["family"] == "refscenesg"]
directed = short[short["has_direction"]]
hard = directed["kind"].isin(["side relation", "ordinal"])
shares = pd.DataFrame(
    {
        "images with a same-category distractor": targets.groupby(["split", "image_id"])[
            "distractor"
        ]
        .any()
        .groupby("split")
        .mean(),
        "targets 10-60 % hidden": targets["hidden_fraction"]
        .between(0.1, 0.6)
        .groupby(targets["split"])
        .mean(),
        "refscenes: direction word": short.groupby("split")["has_direction"].mean(),
        "of these: relation or ordinal": hard.groupby(directed["split"]).mean(),
        "refscenesg: pronoun": pronouns.groupby("split")["pronoun"].mean(),
        "unseen targets": 1 - targets.groupby("split")["seen"].mean(),
    }
)
shares.T.round(3)

# %%
assert (shares["images with a same-category distractor"] >= 0.6).all()
assert shares["refscenes: direction word"].between(0.45, 0.55).all()
sentences.groupby(["family", "split"]).size().unstack()

# %% [markdown]
# ## Draw it all again
#
# `python data/making build --check` draws every stored split from its seeds and compares the bytes; set `rebuild = True` to do so here (some minutes).

# %%
from tempfile import TemporaryDirectory

from making.write import build_world, differences

if rebuild:
    with TemporaryDirectory() as folder:
        build_world(Path(folder))
        assert not differences(Path(folder), REFSCENES)

# %% [markdown]
# ## What was seen
#
# * Things with a WordNet synset, in three drawing styles, one of them and forty things held out.
# * Scenes with distractors and occlusion; the ground truth is the visible mask.
# * Sentences that are unambiguous by construction, in four families.
# * The shares that were fixed before any training.
