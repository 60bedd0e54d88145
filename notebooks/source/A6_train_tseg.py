# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A6 · TSEG, trained without masks
#
# In this notebook you train the peer that learned to segment from pictures and sentences alone: TSEG (Strudel, Laptev, Schmid 2022). You see what a sentence about a whole picture can teach a patch of it, let a few steps run, and measure the weights that ship, as a map and as a choice among proposals.
#
# **What you'll need:** nothing but the repository. **Takes:** under a minute. With `minutes` over 0 it is trained anew first: 45 are a good start, and about ten more go into the pairs of 7,000 scenes.

# %% tags=["parameters"]
minutes = 0.0  # of training; 0 takes the weights that ship
scenes = 8  # that the live training learns from
steps = 12  # of the live training
images = 6  # val pictures to score
number = 1  # which of them to look at, from 0
seed = 0
threads = 2

# %%
import sys
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch

from tasutils import paths
from tasutils.baselines.tseg import TsegNet
from tasutils.encoders.openclip import tiny_tokenizer
from tasutils.notebooks import refuse_unknown
from tasutils.paths import RESULTS

sys.path.insert(0, str(paths.DATA))  # the programs that made world and weights

from making.clip import embed_text
from making.export import load_tseg
from making.pools import FIRST_TRAINING_SEED, ScenePool, draw_shard
from making.tokenizer import TOKENIZER
from making.tseg import (
    AbsentPhrases,
    PairStore,
    draw_batch,
    fill_pairs,
    frozen_clip,
    heatmaps,
    score_table,
    step_loss,
    train_tseg,
    val_pictures,
    write_pairs,
)

refuse_unknown()

torch.set_num_threads(threads)
torch.manual_seed(seed)
clip = frozen_clip()

# %% [markdown]
# ## Pictures and sentences
#
# All that a step knows of a picture: the sentences that were written about it, and of every other sentence whether it names nothing here (absent), or names a thing of the picture in a colour that it has not. No mask, no box, no centre. The two towers are those of the shipped `tiny-RN`, frozen; what is trained weighs half a megabyte.
#
# One thing must be said beside it: these towers were themselves taught on crops cut out with masks. TSEG's own parts never saw one, the features that they start from did.

# %%
folder = RESULTS / "training" / f"tseg_{scenes}_scenes"
draw_shard(folder / "pool", FIRST_TRAINING_SEED, scenes)
drawn = list(ScenePool(folder / "pool", at_least=0))
write_pairs(folder / "pairs", drawn, str(FIRST_TRAINING_SEED), clip)
store, absent = PairStore(folder / "pairs"), AbsentPhrases(clip)

# %%
batch = draw_batch(np.random.default_rng(seed), store, absent, 8)
names = {1: "own", 0: "absent", 2: "wrong colour", -1: "left out"}
counts = pd.Series(batch.relation.ravel()).map(names).value_counts()
print(f"{batch.relation.shape[0]} pictures, {batch.relation.shape[1]} sentences")
counts.rename("pairs").to_frame().T

# %% [markdown]
# ## Multi-label patch assignment
#
# Each patch and each sentence become a unit vector. Their cosine competes with one learned rival, "no expression": the *margin* is how much better the sentence fits. Its sigmoid is the share of the patch that belongs to the sentence. Every sentence competes for itself, so "the animal" and "the brown dog" may share a patch, and grass may belong to nobody.
#
# Before training the cosines are those of the towers (a Score Map). Afterwards the map knows its *none*.

# %%
untrained, shipped = TsegNet().eval(), load_tseg()
watched = val_pictures(images, clip)
picture = watched[number]

# %%
figure, axes = plt.subplots(2, 4, figsize=(12, 5))
for row, net, name in zip(axes, (untrained, shipped), ("untrained", "shipped"), strict=True):
    row[0].imshow(picture.image)
    for axis, words, shown in zip(row[1:], picture.words, heatmaps(net, picture), strict=False):
        axis.imshow(shown, cmap="magma", vmin=0, vmax=1)
        axis.set_title(f"{name}: {words}", fontsize=7)
for axis in axes.flat:
    axis.axis("off")
plt.tight_layout()
plt.show()

# %% [markdown]
# ## From patches to the picture, and back
#
# A picture's score for a sentence is the mean margin over its assigned patches. That score answers a yes-or-no question, does this sentence belong to this picture, and only this answer has a loss. The gradient flows back to those patches that made the answer: they have to fit sentences that belong here, and none that does not.
#
# A few steps from the start, on the scenes drawn above:

# %%
net, rng, curve = TsegNet().train(), np.random.default_rng(seed), []
optimizer = torch.optim.AdamW(net.parameters(), 1e-3)
for _ in range(steps):
    loss, parts = step_loss(net, draw_batch(rng, store, absent, 8))
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    curve.append({"loss": float(loss.detach()), **parts})

# %%
curve = pd.DataFrame(curve).rename_axis("step")
curve.plot(figsize=(7, 2.8))
plt.show()
curve.iloc[[0, -1]].round(3)

# %% [markdown]
# The weights that ship learned so for longer, from 7,000 scenes; their card, `data/weights/tiny/tseg.md`, tells how long and on how many pictures.

# %%
record = {"curve": []}
if minutes > 0:
    fill_pairs(shards=35)
    record = train_tseg(minutes, seed=seed, threads=threads)
pd.DataFrame(record["curve"]).tail()

# %% [markdown]
# ## Scores
#
# As a map on its own, cut at its best threshold here, and as a choice: of the tiny SAM's proposals, the one with the highest mean activation inside.

# %%
trained, raw = (score_table(net, watched) for net in (shipped, untrained))
n = sum(len(picture.words) for picture in watched)
print(f"mIoU, refscenes and phrasescenes val, n = {n} sentences of {images} pictures, partial")
best = trained.loc[trained.index.str.startswith("map"), "all"].idxmax()
trained.loc[[best, "chosen", "random", "oracle"]].round(3)

# %% [markdown]
# ## What a sentence cannot teach it
#
# "The dog on the left" is as true of the mirrored picture as of this one, and half of the training pictures are mirrored. So nothing ever told a patch where left is. Swap the direction words, and the map should hardly move; swap the thing, and it should.

# %%
tokenize, rows = tiny_tokenizer(TOKENIZER), []
said = [(p, words) for p in watched for words in p.words if "left" in words.split()]
for p, words in said:
    texts = [words, words.replace("left", "right"), "the zebra on the left"]
    maps = heatmaps(shipped, replace(p, texts=embed_text(clip, tokenize(texts))))
    rows.append(np.abs(maps[1:] - maps[0]).mean((1, 2)))
changes = pd.Series(np.mean(rows, axis=0), ["right for left", "another thing"])
changes.rename(f"mean change of the map, n = {len(said)}").to_frame().round(4)

# %%
assert curve["loss"].iloc[-4:].mean() < curve["loss"].iloc[:4].mean()
assert trained.loc["random", "all"] < trained.loc["chosen", "all"] <= trained.loc["oracle", "all"]
assert changes["right for left"] < changes["another thing"]

# %% [markdown]
# ## What was seen
#
# * A yes-or-no question about a whole picture is enough for patches to learn which sentence they belong to, and that most of them belong to none.
# * The map on its own gains most by it. The choice among proposals gains little: a mean inside a mask favours a part of the thing over the whole, and all things of the name light up alike.
# * Left, right, order and relations are beyond it, by the nature of its supervision.
# * It was trained in the world it is tested in, on features that had seen masked things: nothing here is zero-shot.
# * Computed from the tables above, not written beforehand:

# %%
gain = trained.loc[best, "all"] - raw.loc[raw.index.str.startswith("map"), "all"].max()
over = trained.loc["chosen", "all"] - trained.loc["random", "all"]
print(f"n = {n}, partial: the map alone gains {gain:+.3f} mIoU over the untrained towers' map.")
print(f"Its choice reaches {over:+.3f} mIoU over a random proposal's.")
