# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise 8 · A method of your own
#
# In this exercise you write two methods that never read the sentence, let them compete with TAS on the same masks, and learn what a benchmark gives away for nothing.
#
# **You need:** notebook 07. **Takes:** 20 minutes. Fill in every `...`; a check cell complains until its answer is right.

# %%
import numpy as np
import pandas as pd

import tasutils
from tasutils import compare, paths
from tasutils.datasets import load_dataset
from tasutils.evaluate import evaluate_all
from tasutils.refer import parse_expression
from tasutils.runs import read_run
from tasutils.store import SceneStore

# %%
tas, data = tasutils.load("tiny"), load_dataset("refscenes", "val")
image_id = data.image_ids[5]
image = tasutils.read_image(data.image_path(image_id))
scene = tas.describe(image, image_id)
expression = parse_expression("the dog on the right", tas.language, tas.preset)

# %% [markdown]
# ## The largest
#
# A method is a class with a `name` and a `score`: one number for each mask, the highest is the answer. *Hint:* `scene.proposals.areas_px`.


# %%
class Largest:
    name = "largest"

    def score(self, scene, expression, image):
        # solution: begin
        #: return ...  # (n_masks,)
        return scene.proposals.areas_px.astype(float)
        # solution: end


# %%
# check
scores = Largest().score(scene, expression, image)
assert np.shape(scores) == (len(scene.proposals),), "a number for each mask"
assert np.argmax(scores) == np.argmax(scene.proposals.areas_px), "the largest has the highest"

# %% [markdown]
# ## The middle
#
# People photograph what they mean: near the middle of the picture. So the second method prefers masks whose centre (`scene.proposals.centers_xy`, x and y) is near the middle of the picture (`scene.size_hw`, height and width).


# %%
class Middle:
    name = "middle"

    def score(self, scene, expression, image):
        height, width = scene.size_hw
        # solution: begin
        #: distance = ...  # of each centre from ((width - 1) / 2, (height - 1) / 2), in px
        #: return ...  # nearer is better
        x, y = scene.proposals.centers_xy.T
        distance = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2)
        return -distance
        # solution: end


# %%
# check
scores = Middle().score(scene, expression, image)
height, width = scene.size_hw
offsets = scene.proposals.centers_xy - [(width - 1) / 2, (height - 1) / 2]
assert np.argmax(scores) == np.argmin((offsets**2).sum(axis=1)), "the nearest has the highest"

# %% [markdown]
# ## The competition
#
# **Predict first:** a mask drawn at random, the largest, the middle, CLIP-only, TAS: in which order, by mIoU? And does a blind method reach half of TAS?

# %%
# solution: begin
#: order = [...]  # of "largest", "middle", "clip_only", "tas", the best first
#: half = ...  # True or False: the better of the blind ones reaches half of TAS's mIoU
order = ["tas", "clip_only", "middle", "largest"]
half = False
# solution: end


# %%
def beside(table):
    """What each method reaches, in percent; differences are from the first, with their interval."""
    columns = {"mIoU": "miou", "low": "miou_low", "high": "miou_high", "oracle": "oracle_miou"}
    columns |= {"against the first": "miou_difference", "from": "miou_difference_low"}
    columns |= {"to": "miou_difference_high"}
    numbers = {head: 100 * table[name] for head, name in columns.items()}
    return pd.DataFrame({"method": table["method"], "n": table["n"], **numbers}).round(1)


# %%
kept = {"store": SceneStore(paths.RESULTS / "scenes"), "out": paths.RESULTS / "peers"}
methods = ["tas", "clip_only", Largest(), Middle()]
folders = evaluate_all([data], tas, methods, limit_images=12, progress=False, **kept)
table = compare.compare_runs([read_run(folder) for folder in folders])
beside(table)

# %%
# check
runs = {read_run(folder).record.method: read_run(folder) for folder in folders}
assert set(order) == {"clip_only", "largest", "middle", "tas"}, "predict before you look"
assert half in (True, False), "predict before you look"
blind = runs["largest"].samples.groupby("image_id")["chosen"].nunique()
assert (blind == 1).all(), "a method that reads no sentence gives one answer a picture"
miou = table.set_index("method")["miou"]
share = miou[["largest", "middle"]].max() / miou["tas"]
found = miou.sort_values(ascending=False)
print("predicted", order, "found", list(found.index))
print(
    f"the better of the blind ones reaches {share:.0%} of TAS's mIoU, n = {table['n'].iloc[0]}, partial"
)

# %% [markdown]
# ## Now yours
#
# Join what you have: V of CLIP-only plus a little of a prior, or anything else that comes to mind. There is nothing to be checked here but the table. Choose weights on val, and never on a test split.


# %%
class Mine:
    name = "mine"

    def score(self, scene, expression, image):
        # solution: begin
        #: return ...
        text = tas.encoder.encode_text([expression.text])[0]
        size = np.sqrt(scene.proposals.areas_px / np.prod(scene.size_hw))
        return scene.crop_embeddings @ text + 0.1 * size
        # solution: end


# %%
folders = evaluate_all([data], tas, ["clip_only", Mine()], limit_images=12, progress=False, **kept)
own = compare.compare_runs([read_run(folder) for folder in folders])
beside(own)

# %% [markdown]
# ## To think about
#
# * What does a blind method's score say about the data set? Where would it be higher: in RefScenes, or in photographs?
# * A paper reports only oIoU. Which of the two blind methods would you fear there, and why? (Exercise 1.)
# * Twelve pictures: is the difference between CLIP-only and yours a difference? The columns *from* and *to* are its interval.
