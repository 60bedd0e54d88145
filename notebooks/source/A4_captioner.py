# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A4 · The tiny BLIP-2
#
# In this notebook you see how the captioner of the `tiny` preset, transformers' `Blip2ForConditionalGeneration` of 2.8 million parameters, is trained on crops and whole scenes: its loss and the loop are written out, take a few steps here, and you read what the model that ships says.
#
# **What you'll need:** the trained `tiny-ViT` of notebook A2 (it ships), whose first five layers become the vision tower. **Takes:** under a minute. With `minutes` over 0 it is trained anew first: 25 are a good start, and about ten more go into drawing 12,000 scenes.

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
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from torch.nn import functional as F

import tasutils
from tasutils import paths
from tasutils.crops import whole_image
from tasutils.notebooks import refuse_unknown
from tasutils.paths import RESULTS

sys.path.insert(0, str(paths.DATA))  # the programs that made world and weights

from making.captioner import caption_loss, draw_captioned, pixels, start_captioner, train_captioner
from making.export import export, measure
from making.pools import FIRST_TRAINING_SEED, ScenePool, draw_shard, fill_pool
from making.scores import stored_pictures
from making.words import seen_words

refuse_unknown()

torch.set_num_threads(threads)
torch.manual_seed(seed);

# %% [markdown]
# ## What it learns to say
#
# Of a crop: "a red car". Of a whole scene, every fourth example: its largest kinds of things. The first feeds the P-score, the second the negatives of the N-score. The scenes are drawn from seeds of 1,000,000 and up, of the 279 seen categories; here a few suffice.

# %%
folder = RESULTS / "training" / f"pool_of_{scenes}"
draw_shard(folder, FIRST_TRAINING_SEED, scenes)
pool = ScenePool(folder, at_least=0)
images, captions = draw_captioned(np.random.default_rng(seed), pool, seen_words(), 12)
figure, axes = plt.subplots(2, 6, figsize=(12, 4.4))
for axis, image, caption in zip(axes.flat, images, captions, strict=True):
    axis.imshow(image)
    axis.axis("off")
    axis.set_title(caption if len(caption) < 30 else caption[:28] + "..", fontsize=7)
plt.tight_layout()
plt.show()

# %% [markdown]
# ## The loss
#
# The language model reads eight image tokens, a start token and the caption so far, and has to tell the next token: cross-entropy at every place of the caption and at its end. So that a long caption does not drown the short ones, it weighs as the root of its length.

# %%
model, tokenizer = start_captioner()
config = model.config.text_config
prompt = [model.config.image_token_index] * model.config.num_query_tokens + [config.bos_token_id]
words = tokenizer(captions, add_special_tokens=False)["input_ids"]
rows = [torch.tensor(prompt + row + [config.eos_token_id]) for row in words]
ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=config.pad_token_id)
goal = ids[:, len(prompt) :]  # (n, places)
said = goal != config.pad_token_id


# %% tags=["caption-loss"]
def loss_of(logits):
    """Logits (n, places, vocabulary) of the tokens of `goal`."""
    entropy = F.cross_entropy(logits.mT, goal, reduction="none") * said
    return (entropy.sum(1) / said.sum(1).sqrt()).mean() / 2


# %% [markdown]
# ## The loop
#
# The vision tower starts as the first five layers of `tiny-ViT`. In the published training it is frozen at first; then all parts learn. Here all but the tower take a few steps on the twelve examples above.

# %%
model.vision_model.requires_grad_(False)
trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer = torch.optim.AdamW(trained, 1.2e-3)
seen = {
    "pixel_values": pixels(images),
    "input_ids": ids,
    "attention_mask": (ids != config.pad_token_id).long(),
}

# %%
curve = []
for _ in range(steps):
    logits = model(**seen).logits[:, len(prompt) - 1 : -1]  # each place tells the next
    loss = loss_of(logits)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    curve.append(float(loss.detach()))
print("loss:", *(f"{value:.2f}" for value in curve))

# %%
with torch.no_grad():
    written = loss_of(model(**seen).logits[:, len(prompt) - 1 : -1])
    assert torch.allclose(written, caption_loss(model, tokenizer, images, captions), rtol=0.02)
assert curve[-1] < curve[0]
pd.Series(curve, name="caption loss").plot(figsize=(7, 2.6), xlabel="step", legend=True)
plt.show()

# %% [markdown]
# The model that ships learned so for longer, from new examples all the time.

# %%
record = {"curve": []}
if minutes > 0:
    fill_pool(RESULTS / "training" / "pool", 12000, workers=2)
    record = train_captioner(minutes, RESULTS / "training" / "blip2", seed=seed, threads=threads)
pd.DataFrame(record["curve"]).tail()

# %% [markdown]
# ## Scores
#
# The share of exactly masked val crops whose caption ends with the name of the category.

# %%
if export_weights:
    export("blip2")
table = pd.DataFrame(measure("blip2", score_images)).T
table

# %%
assert table.loc["val", "seen"] > 10 / 319

# %% [markdown]
# ## Whole pictures

# %%
captioner = tasutils.load("tiny").captioner
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
# * Its loss and the loop in plain torch, and a loss that falls.
# * A BLIP-2 that is small but whole: vision tower, queries, language model, its own vocabulary.
# * Captions of crops name colour and kind; captions of scenes list what is large.
# * Scene captions get colours, counts and floors right before kinds: at 112 px a thing of a scene is only a patch or two wide.
# * How often the named kind is right, for categories seen in training and for those never seen (about zero: it has no word for them).
