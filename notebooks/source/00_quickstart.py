# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 00 · Quickstart
#
# In this notebook you point at a thing in a picture with a sentence, and see which mask TAS chooses and why.
#
# **What you'll do:** describe one picture, ask for things in it, read the scores, choose the mask yourself in two lines, move the weights, then mirror the picture and look again.
# **What you'll learn:** an answer is one sum over masks, S = V + alpha P + lambda N, and a picture is described once for any number of sentences.
# **What you'll need:** nothing but the repository. **Takes:** under a minute.
#
# TAS cuts the task in two. `describe(image)` is slow and depends on the picture alone: masks, their embeddings, their captions. `refer(scene, sentence)` takes milliseconds: one text embedding and a few small arrays. So describe once, refer often.
#
# With the parameters as they stand the picture is a photograph and the preset is `photo`: an ImageNet classifier and a sentence encoder, both published by others and never shown a referring sentence, joined by the names of the classes. That is zero-shot and offline, and it knows what a classifier of 1,000 classes knows. The drawn pictures of RefScenes go to the preset `tiny`, whose small models were trained in that very world: nothing there is zero-shot.

# %% tags=["parameters"]
picture = ""  # the path of a picture of yours; empty: one of the data set below
data = "photos7 all"  # data set and split; "refscenes val" are drawn pictures
number = 2  # which of its pictures, from 0
sentence = "the flag on the left"
preset = ""  # empty: tiny for a picture of 320 x 240 px, photo for any other
alpha = None  # weight of P; None: the preset's
lam = None  # weight of N; None: the preset's

# %%
import numpy as np
import pandas as pd

import tasutils
from tasutils import charts, show, tables
from tasutils.datasets import load_dataset
from tasutils.explore import Explorer
from tasutils.masks import iou
from tasutils.notebooks import refuse_unknown
from tasutils.rectifier import in_region
from tasutils.scene import said

refuse_unknown()

# %% [markdown]
# ## 1. Describe the picture
#
# Masks are proposed, the encoder embeds what each of them cuts out, the captioner says what it sees there. All of this happens before anyone has asked anything.

# %%
samples = load_dataset(*data.split())
image_id = samples.image_ids[number]
image = tasutils.read_image(picture or samples.image_path(image_id))
own = "tiny" if image.shape[:2] == (240, 320) else "photo"
tas = tasutils.load(preset or own)
scene = tas.describe(image)
print(f"{tas.preset.name}: {len(scene.proposals)} masks")

# %%
show.proposals_grid(image, scene)

# %% [markdown]
# ## 2. Ask
#
# One sentence, one mask. Orange is the answer; the numbers are ranks.

# %%
weights = {name: w for name, w in {"p": alpha, "n": lam}.items() if w is not None}
answer = tas.refer(scene, sentence, weights=weights)
show.overlay(image, answer)

# %%
print(answer.reason)
print("head phrase:", answer.expression.phrase)
print("direction words:", [word.token for word in answer.expression.directions])


# %% [markdown]
# ## 3. Why this one?
#
# Every mask gets three scores, all of them cosines:
#
# * **V**, what the cut-out looks like: image embedding against the sentence;
# * **P**, what the captioner says of it: caption against the sentence;
# * **N**, a penalty: how much it looks like the *other* things of the picture.
#
# In the preset `photo` captions are composed from the very classifier that also gives V, so there P is no second opinion.
#
# Their sum is **S = V + α·P + λ·N**.

# %%
def look(row):
    """The answer is shaded, what lies outside the region is pale."""
    chosen = "background-color: #FFF3D6; color: #212121; font-weight: bold"
    return [chosen if row["rank"] == 1 else "" if row["in_region"] else "opacity: 0.65"] * len(row)


table = answer.table().rename_axis("mask").sort_values("rank", kind="stable")
table["caption"] = table["caption"].map(said)  # "a thing" is no name
caption = "best first; shaded: the answer; pale: outside the region"
tables.styled(table, caption, index=True).apply(look, axis=1)

# %% [markdown]
# Choosing is one sum and one argmax. The direction words of the sentence say which masks may win at all (`in_region`, section *Where the direction points*); where they leave none, all may.

# %%
V, P, N = (answer.terms[name] for name in ("v", "p", "n"))  # float64 (n_masks,) each
a, b = answer.weights["p"], answer.weights["n"]
S = V + a * P + b * N
inside = answer.in_region if answer.in_region.any() else np.ones(len(S), bool)
best = int(np.where(inside, S, -np.inf).argmax()) if len(S) else None
print(f"S is highest for mask {best}, tas.refer chose {answer.best}")

# %%
assert np.allclose(answer.total, S, rtol=0, atol=1e-12)
assert best == answer.best

# %% [markdown]
# The same as bars. On the left what each mask earned; on the right only how it differs from the answer, for that is what decides. A hatched mask lies outside the region that the sentence names: it may score higher and still not win.

# %%
charts.score_bars(answer)

# %% [markdown]
# ### Where the negatives come from
#
# The captioner says what the whole picture shows. The noun phrases of that caption are candidates; those that mean the thing you asked for (WordNet decides) are taken out, since nothing should count against itself.

# %%
print("caption:", scene.image_caption)
judged = [(one.phrase, one.kept, one.similarity, one.reason) for one in answer.candidates]
columns = ["phrase", "negative", "similarity", "why"]
tables.styled(pd.DataFrame(judged, columns=columns), precision=2)

# %% [markdown]
# ### Where the direction points
#
# A direction word darkens half of the picture: only masks whose centre lies in the bright part may win. Without such a word the rectifier does nothing.

# %%
show.region_picture(image, answer)

# %%
if answer.rectified:
    assert answer.in_region[answer.best]
if not answer.expression.directions:
    assert answer.in_region.all() and answer.best == answer.unrectified

# %% [markdown]
# ### What each piece changes
#
# The scene is kept, so leaving a piece out costs nothing.

# %%
pieces = {"V": (0, 0), "V+P": (a, 0), "V+N": (0, b), "V+P+N": (a, b)}
rows = {}
for name, (x, y) in pieces.items():
    one = V + x * P + y * N
    rows[name] = one.argmax(), np.where(inside, one, -np.inf).argmax()
columns = ["mask without rectifier", "mask with rectifier"]
pd.DataFrame.from_dict(rows, orient="index", columns=columns)

# %%
for name, (x, y) in pieces.items():
    asked = tas.refer(scene, sentence, weights={"p": x, "n": y})
    assert (asked.unrectified, asked.best) == rows[name]

# %% [markdown]
# ### What another preset sees
#
# The same picture and the same sentence, once more with other networks: `tiny` knows its drawn world alone, `photo` what a classifier of photographs knows.

# %%
other = tasutils.load("tiny" if tas.preset.name == "photo" else "photo")
theirs = other.refer(other.describe(image), sentence)
show.gallery(
    [
        show.Example(image, each, note=f"{each.preset.name}: {each.reason}")
        for each in (answer, theirs)
    ],
    columns=2,
)

# %% [markdown]
# ## 4. Play
#
# Change the sentence and move the weights: the ranking follows at once, since only the sum is made anew. Hold the mouse over a mask, or over its row of the table, to see what is said of it. The rectifier has three forms, or none; *side by side* sets another preset or one of the methods that TAS is compared with beside it. A preset that is picked for the first time describes the picture first, which takes seconds. *export* writes the picture and the table.
#
# The controls move in JupyterLab and VS Code; on a web page they stand as they were, and the masks still answer to the mouse.

# %%
Explorer(tas, image, scene, sentence, weights)

# %% [markdown]
# Sentences that others wrote about this picture, if it is one of the data set's:

# %%
known = [] if picture else samples.by_image()[image_id]
print(*(sample.raw for sample in known), sep="\n")

# %% [markdown]
# ## 5. Change one thing and look again
#
# Mirror the picture and ask the same. What lay on the left now lies on the right, so a sentence with *left* or *right* must mean something else.

# %%
mirrored = np.ascontiguousarray(image[:, ::-1])
scene_mirrored = tas.describe(mirrored)
again = tas.refer(scene_mirrored, sentence, weights=weights)
show.overlay(mirrored, again)

# %% [markdown]
# Now swap *left* and *right* in the sentence as well: the two changes should cancel. They do exactly in the rectifier's geometry, and nearly in the rest, because the networks do not see a mirrored picture quite as they see the first.

# %%
swap = {"left": "right", "right": "left"}
swapped = " ".join(swap.get(word, word) for word in sentence.split())
back = tas.refer(scene_mirrored, swapped, weights=weights)
same = iou(back.mask()[:, ::-1], answer.mask())
print(f"“{swapped}” in the mirrored picture: IoU {same:.2f} with the first answer")
show.overlay(mirrored, back)

# %%
centers = scene.proposals.centers_xy * [-1, 1] + [image.shape[1] - 1, 0]
names = [swap.get(word.name, word.name) for word in answer.expression.directions]
assert (in_region(centers, scene.size_hw, names) == answer.in_region).all()

# %% [markdown]
# ## 6. Your own picture
#
# Set `picture` in the cell of parameters at the top and run all cells again, or ask from a terminal:
#
#     tas segment picture.jpg "the red car on the left"
#
# Without `preset`, a picture of 320 x 240 pixels is taken for one of the drawn world and gets `tiny`; any other is taken for a photograph and gets `photo`. `tas presets list` names them all.

# %% [markdown]
# ## What was seen
#
# * A picture is described once; each sentence then costs milliseconds.
# * The answer is the mask with the highest V + α·P + λ·N among those in the region that the sentence names.
# * P brings in what a captioner says, N holds the other things of the picture against a mask, the rectifier reads direction words.
# * Every number of the decision is in `answer.table()`, and `answer.reason` says it in a line.
# * Mirroring the picture moves what *left* means.
#
# Next: `06_study` asks how much each piece brings over hundreds of sentences.
