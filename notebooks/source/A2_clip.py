# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A2 · The tiny CLIP models
#
# In this notebook you see how the two image-text encoders of the `tiny` preset, `tiny-RN` and `tiny-ViT`, are trained by contrasting masked crops with phrases: the loss and the loop are written out, take a few steps here, and the models that ship are measured.
#
# **What you'll need:** nothing but the repository; two CPU cores. **Takes:** under a minute. With `minutes` over 0 the model is trained anew first: 40 are a good start, and about ten more go into drawing 12,000 scenes.
#
# They are trained in the world that they are tested in: nothing about them is zero-shot.

# %% tags=["parameters"]
model = "tiny-ViT"
minutes = 0.0  # of training; 0 takes the weights that ship
scenes = 8  # that the live training learns from
steps = 12  # of the live training
threads = 2
seed = 0
export_weights = False
score_images = 8

# %%
import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

import tasutils
from tasutils import paths
from tasutils.encoders.openclip import tiny_tokenizer
from tasutils.notebooks import refuse_unknown
from tasutils.paths import RESULTS

sys.path.insert(0, str(paths.DATA))  # the programs that made world and weights

from making.clip import contrastive_loss, embed_images, embed_text, start_clip, train_clip
from making.export import FILES, TINY, export, measure
from making.pairs import draw_pairs
from making.pools import FIRST_TRAINING_SEED, ScenePool, draw_shard, fill_pool
from making.tokenizer import TOKENIZER
from making.words import seen_words

refuse_unknown()

torch.set_num_threads(threads)
torch.manual_seed(seed);

# %% [markdown]
# ## Scenes to learn from
#
# They are drawn from seeds of 1,000,000 and up, in the two training styles and of the 279 seen categories; a seed of a stored split is refused. They are drawn once and kept, since every training uses them. Here a few suffice.

# %%
folder = RESULTS / "training" / f"pool_of_{scenes}"
draw_shard(folder, FIRST_TRAINING_SEED, scenes)
pool, table = ScenePool(folder, at_least=0), seen_words()
print(len(pool), "scenes")

# %% [markdown]
# ## A batch
#
# A crop shows one thing through an imperfect mask (grown, shrunk, partly cut: SAM's will be), on black, blurred or mean background. Beside it stands one of its phrases. In a batch, "a dog" is also true of another crop's "the brown dog", so a table of *relations* says which pairs agree (1), which do not (0), and which are left alone (-1).

# %%
batch = draw_pairs(np.random.default_rng(seed), pool, table, 16, 2, 20, 80)
figure, axes = plt.subplots(2, 8, figsize=(12, 3.6))
for axis, image, text in zip(axes.flat, batch.images, batch.texts, strict=False):
    axis.imshow(image)
    axis.axis("off")
    axis.set_title(text if len(text) < 24 else text[:22] + "..", fontsize=7)
plt.tight_layout()
plt.show()


# %% [markdown]
# ## The loss
#
# Each agreeing pair stands against all disagreeing ones of its row, for pictures and for texts; a row's agreeing pairs share its weight. With one agreeing pair a row and no -1 this is CLIP's cross-entropy.

# %% tags=["contrastive"]
def contrast(similarity, relation):
    """Similarity (n, m), scaled cosines; relation (n, m): 1 agrees, 0 disagrees, -1 is left out."""
    losses = []
    for row, kinds in zip(similarity, relation, strict=True):
        against = row[kinds == 0].logsumexp(0)
        agreeing = row[kinds == 1]
        if len(agreeing):
            losses.append(F.softplus(against - agreeing).mean())
    return torch.stack(losses).mean()


# %% [markdown]
# ## The loop
#
# A ViT learns slowly from nothing; `tiny-ViT` therefore takes over the text tower of `tiny-RN` and leaves it as it is (locked-text tuning), so that its pictures have firm goals from the first step. Here a tower that knows nothing takes a few steps on the batch above.

# %%
text_from = TINY / FILES["tiny-RN"] if model == "tiny-ViT" else None
network, tokenizer = start_clip(model, text_from), tiny_tokenizer(TOKENIZER)
trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(trained, 1e-3)
relation = torch.from_numpy(batch.relation)

# %%
curve = []
for _ in range(steps):
    images = embed_images(network, batch.images)
    texts = embed_text(network, tokenizer(batch.texts))
    similarity = network.logit_scale.exp() * images @ texts.T
    loss = (contrast(similarity, relation) + contrast(similarity.T, relation.T)) / 2
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    curve.append(float(loss.detach()))
print("loss:", *(f"{value:.2f}" for value in curve))

# %%
assert torch.allclose(contrast(similarity, relation), contrastive_loss(similarity, relation))
assert curve[-1] < curve[0]
pd.Series(curve, name="contrastive loss").plot(figsize=(7, 2.6), xlabel="step", legend=True)
plt.show()

# %% [markdown]
# The weights that ship learned so for longer, from new batches all the time, with small pictures first, at a fraction of the cost. `minutes` is the one knob of `train_clip`: the learning rate follows the share of it that is spent, and a training that was broken off goes on from its checkpoint.

# %%
record = {"curve": []}
if minutes > 0:
    fill_pool(RESULTS / "training" / "pool", 12000, workers=2)
    folder = RESULTS / "training" / model
    record = train_clip(model, minutes, folder, seed=seed, text_from=text_from, threads=threads)
pd.DataFrame(record["curve"]).tail()

# %% [markdown]
# ## Scores
#
# Top-1 category of exactly masked crops among all 319 names, by the prompt "a NAME". `val` is drawn in the styles of training, `testS` in one that it never saw; the 40 unseen categories stand apart. `export_weights = True` first writes the weights that ship, in half precision, with their card.

# %%
if export_weights:
    export(model)
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
encoder = tasutils.load(tasutils.load_preset("tiny").override(changes)).encoder
phrases = ["a dog", "a brown dog", "an animal", "a red car", "a blue car", "an automobile"]
vectors = encoder.encode_text(phrases)
pd.DataFrame(vectors @ vectors.T, phrases, phrases).round(2)

# %% [markdown]
# ## What was seen
#
# * Crops and phrases, and why a batch needs a table of which pairs agree.
# * The loss and the loop in plain torch, and a loss that falls.
# * Top-1 on seen categories, on unseen ones (about zero: words that training never held mean nothing to it) and in a held-out style.
# * The geometry of the text tower: synonyms, wider words, colours.
