# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise 5 · Left of what?
#
# In this exercise you build a rectifier for words that TAS does not know, cut the picture at the median as the released code does, and then set traps for the rectifier with sentences.
#
# **You need:** notebook 05. **Takes:** 15 minutes. Fill in every `...`; a check cell complains until its answer is right.

# %%
import numpy as np
import pandas as pd

import tasutils
from tasutils import show
from tasutils.datasets import load_dataset
from tasutils.language import find_directions
from tasutils.rectifier import in_region

# %%
tas, data = tasutils.load("tiny"), load_dataset("refscenes", "val")
image_id = data.image_ids[5]
image = tasutils.read_image(data.image_path(image_id))
scene = tas.describe(image, image_id)
answer = tas.refer(scene, "the dog on the right")
show.region_picture(image, answer)

# %% [markdown]
# ## Centres
#
# The centre of a mask is the mean of its pixels' coordinates, x to the right and y downwards. *Hint:* `np.nonzero(mask)` gives rows (y) and columns (x).

# %%
masks = scene.proposals.masks()
centers = np.zeros((len(masks), 2))
for index, mask in enumerate(masks):
    # solution: begin
    #: centers[index] = ...  # x, y
    rows, columns = np.nonzero(mask)
    centers[index] = columns.mean(), rows.mean()
    # solution: end

# %%
# check
assert np.allclose(centers, scene.proposals.centers_xy, atol=0.01), "x first, then y"

# %% [markdown]
# ## The region, and the answer
#
# Notebook 05 cuts the picture at its middle. The released code cuts at the *median* of the masks' centres, whatever the picture. And nobody reads "in the middle": let it mean the middle third of the picture's width, from (W - 1) / 3 to 2 (W - 1) / 3, both included.
#
# **Predict first:** of this picture's masks, how many lie on the right by the median, how many in the middle third?

# %%
print(f"{len(masks)} masks, the picture is {image.shape[1]} px wide")
# solution: begin
#: predicted = ..., ...  # right by the median, in the middle third
predicted = len(masks) // 2, len(masks) // 3
# solution: end

# %%
# solution: begin
#: in_middle = ...  # bool (n_masks,): x of the centre in the middle third
#: by_median = ...  # bool (n_masks,): x of the centre >= the median of all centres
third = (image.shape[1] - 1) / 3
in_middle = (centers[:, 0] >= third) & (centers[:, 0] <= 2 * third)
by_median = centers[:, 0] >= np.median(centers[:, 0])
# solution: end

# %%
# check
assert isinstance(predicted, tuple) and all(isinstance(one, int) for one in predicted), (
    "predict before you compute: two numbers of masks"
)
halves = [
    in_region(centers, (1, 1 + 2 * k * (image.shape[1] - 1) / 3), [word])
    for k, word in ((1, "right"), (2, "left"))
]
assert (in_middle == np.logical_and(*halves)).all(), "from W - 1 thirds to two thirds"
assert (by_median == in_region(centers, scene.size_hw, ["right"], "median")).all(), "np.median"
print(f"predicted {predicted}, counted {by_median.sum()} and {in_middle.sum()} of {len(masks)}")

# %% [markdown]
# The median always keeps about half of the masks, even if all of them stand on the left.
#
# Now the answer: the best total *inside the region*, or of all masks where the region is empty.

# %%
total, inside = answer.total, answer.in_region
# solution: begin
#: chosen = ...  # the best of `inside`
#: unrectified = ...  # the best of all
chosen = int(np.where(inside, total, -np.inf).argmax() if inside.any() else total.argmax())
unrectified = int(total.argmax())
# solution: end

# %%
# check
assert chosen == answer.best, "among the masks of the region the highest total wins"
assert unrectified == answer.unrectified, "the highest total of all"
print(f"with the rectifier mask {chosen}, without it mask {unrectified}")

# %% [markdown]
# ## Traps
#
# Three readers of direction words: the article's four words (`paper`), more words with rules for when they do not count (`extended`), and the released code's, which searches for *parts of words*.
#
# **Predict first:** for which of these sentences would a reader that looks for parts of words find a direction?

# %%
sentences = [
    "the laptop",
    "the bright flower",
    "the dog on the left",
    "the car left of the dog",
    "the second dog from the left",
    "the bird at the top",
    "the plate at the bottom",
]
# solution: begin
#: trapped = [...]  # your sentences, or their numbers
trapped = [0, 1, 2, 3, 4, 5]
# solution: end

# %%
found = pd.DataFrame(index=sentences, columns=["paper", "extended", "released"], dtype=object)
for sentence in sentences:
    # solution: begin
    #: found.loc[sentence, "paper"] = ...  # the names that find_directions finds, joined
    #: found.loc[sentence, "extended"] = ...
    paper, extended = (find_directions(sentence, form) for form in ("paper", "extended"))
    found.loc[sentence, "paper"] = " ".join(word.name for word in paper)
    found.loc[sentence, "extended"] = " ".join(word.name for word in extended)
    # solution: end
    parts = find_directions(sentence, "official", "substring")
    found.loc[sentence, "released"] = " ".join(word.name for word in parts)
found

# %%
# check
assert trapped != [...], "predict before you compute"
assert found.loc["the dog on the left"].eq("left").all(), "word.name of each word that is found"
assert found.loc["the car left of the dog", "paper"] == "left"
assert not found.loc["the car left of the dog", "extended"], "there it says where the dog stands"
wrong = [s for s in sentences[:2] if found.loc[s, "released"]]
print(f"{len(wrong)} of 2 sentences without any direction have one by parts of words: {wrong}")

# %% [markdown]
# ## To think about
#
# * "The plate at the bottom": which reader misses it, although it is one of the article's own four words?
# * "The second dog from the left" may stand in the right half. What would a rectifier need to know to get it right?
# * A mask that touches both halves has one centre. When does that mislead?
