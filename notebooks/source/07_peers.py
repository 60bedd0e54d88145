# %% [markdown]
# # 07 · The peers: does TAS beat the others?
#
# In this notebook you set TAS beside the methods that it is compared with: all of them choose among the same masks, with the same networks, for the same sentences, and are measured by the same rule. So a difference in the table is a difference between methods, and nothing else.
#
# **What you'll do:** look at one picture through the eyes of every method, read the table and who is right on which sentences, and add a method of your own in a few lines.
# **What you'll learn:** what a map, a crop and a caption each see; how much of a published gap is proposals rather than method.
# **What you'll need:** nothing but the repository. Where all methods have answered a split (`tas evaluate refscenes val --method all`), those runs are shown; without them the first pictures are answered here. **Takes:** two minutes.

# %% tags=["parameters"]
preset = "tiny"
data = "refscenes val"  # data set and split of the pictures below
number = 7  # which picture to look at, from 0; of fewer the last
limit = 8  # pictures that are answered here, where there are no runs of all methods
map_limit = 3  # pictures whose maps are judged alone
n_boot = 1000  # bootstrap resamples of images
results = ""  # the folder of the runs; empty: results

# %%
from pathlib import Path

import numpy as np
from IPython.display import Markdown, display

import tasutils
from tasutils import compare, paths, peer_study, readable
from tasutils.baselines import make_method, method_names
from tasutils.datasets import load_dataset
from tasutils.encoders.colors import COLORS, color_shares
from tasutils.evaluate import evaluate_all
from tasutils.peer_charts import Question, peer_row, peers_plot
from tasutils.peer_maps import map_scores
from tasutils.refer import parse_expression
from tasutils.runs import read_run
from tasutils.store import SceneStore

# %% [markdown]
# ## One picture, three sentences
#
# The picture is described once. What follows differs only in who chooses.

# %%
tas, dataset = tasutils.load(preset), load_dataset(*data.split())
image_id = dataset.image_ids[min(number, len(dataset.image_ids) - 1)]
image = tasutils.read_image(dataset.image_path(image_id))
scene = tas.describe(image, image_id)

# %%
samples = dataset.by_image()[image_id]
three = [samples[i] for i in np.linspace(0, len(samples) - 1, 3).astype(int)]
read = [parse_expression(sample.text, tas.language, tas.preset) for sample in three]
questions = [Question(e, dataset.gt_mask(s)) for e, s in zip(read, three, strict=True)]
seen = image, scene, questions

# %%
methods = {name: make_method(name, tas, dataset.name) for name in method_names()}
print(len(methods), "methods choose among", len(scene.proposals), "masks")

# %% [markdown]
# ## Those that look at crops and captions
#
# Orange: the answer. White: the next best two. Dashed blue: what is meant. Below: what the method is shown of each, and its score.

# %% [markdown]
# ### CLIP-only
#
# Each mask is cut out of the picture, everything outside it painted black, and CLIP says how well the sentence fits the cutting. This is V of TAS, taken alone.
#
# It knows what a thing is, and nothing of where it lies: a cutting carries no left or right, and no neighbour to be left of.

# %%
peer_row(methods["clip_only"], *seen)

# %% [markdown]
# ### Text-only
#
# The captioner puts each cutting into words, and CLIP's text tower compares two sentences: the caption and yours. This is P of TAS, taken alone.
#
# Words of one tower are closer to one another than words to pictures, so the cosines are high; but what the caption leaves out is lost, and what it gets wrong is believed.

# %%
peer_row(methods["text_only"], *seen)

# %% [markdown]
# ### TAS
#
# V and P together, less N: the mean cosine with noun phrases that are *not* meant, taken from a caption of the whole picture. Then the rectifier keeps the masks whose centres lie where the sentence's direction word says.
#
# The score below is minus the rank, since the rectifier makes an order that no single sum tells. Notebook 06 takes it apart.

# %%
peer_row(methods["tas"], *seen)

# %% [markdown]
# ### Region Token (Yu, Seo, Son 2023)
#
# Nothing is cut out. A class token for each mask runs beside the picture's own through all blocks of CLIP's ViT, and may look only at the patches that its mask covers. The picture is encoded once, whatever the number of masks.
#
# The grid is coarse: a mask smaller than a patch may cover none, and then its token sees nothing at all.

# %%
peer_row(methods["region_token"], *seen)

# %% [markdown]
# ### Global-Local (Yu, Seo, Son 2023)
#
# Two views of each mask: the whole picture with the features outside the mask put out late in the network, so that the context has already been seen, and the cutting on a plain ground. Their features are mixed, 95 to 5. On the text side the sentence is mixed with its head noun phrase, half and half.
#
# The ViT puts out patch tokens before its last three blocks; the ResNet its last map before the pooling.

# %%
for name in ("global_local", "global_local_rn"):
    display(Markdown(f"**{name}**"), peer_row(methods[name], *seen))

# %% [markdown]
# ## Those that draw a map
#
# Bright: where the sentence is likeliest. The mask with the highest mean inside is the answer (orange).

# %% [markdown]
# ### Score Map (after Zhou, Loy, Dai 2022)
#
# CLIP's pooling is left out: its value projection is applied to every place of the last map, and each place is compared with the sentence by itself.
#
# Simple, and known to be turned around on ViTs, where things come out dark and their surroundings bright. Both are drawn, so that you can see whether it is so here.

# %%
for name in ("score_map", "score_map_vit"):
    display(Markdown(f"**{name}**"), peer_row(methods[name], *seen))

# %% [markdown]
# ### Grad-CAM (Selvaraju and others 2017)
#
# The similarity of picture and sentence is differentiated by the last map: channels that would raise it count with their mean gradient, and what remains positive is drawn.
#
# It answers "what made the whole picture fit the sentence", which need not be the thing that is meant; and it needs one backward pass a sentence.

# %%
for name in ("grad_cam", "grad_cam_vit"):
    display(Markdown(f"**{name}**"), peer_row(methods[name], *seen))

# %% [markdown]
# ### CLIP-Surgery (Li and others 2023)
#
# The attention of the last blocks compares values with values instead of queries with keys, on a second path without the feed-forward networks, so that a place keeps to its own kind. Then what all texts have in common is taken away from the similarities.
#
# A sentence is the mean over 85 templates, which makes it the dearest of all in text: the table below has the milliseconds.

# %%
for name in ("clip_surgery", "clip_surgery_rn"):
    display(Markdown(f"**{name}**"), peer_row(methods[name], *seen))

# %% [markdown]
# ### TSEG (Strudel, Laptev, Schmid 2022)
#
# The only one that is trained for the task, from pictures and sentences without masks: patches are given to sentences or to nobody, and a picture's score for a sentence pools the patches given to it. Appendix A6 trains it.
#
# No public code exists; this one is written from the article. Its maps can also be read without any proposal, as below.

# %%
peer_row(methods["tseg"], *seen)

# %% [markdown]
# ## The maps without proposals
#
# *pointing*: the brightest pixel lies on the target. *miou@0.5*: of the map cut at one half. *best_miou*: at the cut that is best on these very sentences, so it flatters. Compare with the oracle of the masks: what proposals add to a map is shape.

# %%
alone = map_scores(methods.values(), dataset, tas, map_limit)
print(f"{data}, the first {map_limit} of {len(dataset.image_ids)} pictures, partial")
alone.round(3)

# %% [markdown]
# ## The table
#
# Runs of all methods over the same sentences: the newest there are, or else the first pictures answered now. Differences are from the first line, on the same sentences, so their intervals are paired; *won* and *lost* count sentences whose IoU is more than 0.05 above or below. Milliseconds are a method's own on a described picture, on the machine that made the runs.

# %%
results = Path(results or paths.RESULTS)
runs = peer_study.peer_runs(results, tas.preset.name)
if not runs:
    store = SceneStore(results / "scenes")
    kept = {"store": store, "limit_images": limit, "out": results / "peers", "progress": False}
    runs = [read_run(run) for run in evaluate_all([dataset], tas, method_names(), **kept)]

# %%
table = compare.compare_runs(runs)
note = f"preset {preset}, {'partial' if table['partial'].any() else 'whole splits'}"
readable.peers_table(table, f"percent; {note}")

# %%
peers_plot(table, note=note)

# %% [markdown]
# ## For which sentences
#
# The same answers, by what the sentence and its target are like. A method that is good at naming things need not be good at telling two of a kind apart.

# %%
groups = peer_study.peer_breakdown(runs, n_boot)
readable.peer_groups_table(groups, f"mIoU in percent; {note}; coloured: clearly unlike the first")

# %% [markdown]
# ## What has been published
#
# **Not comparable with anything above**: RefCOCO's photographs, other proposals, other networks. kind P is the authors' own table, S another paper's. A blank cell has no source here.

# %%
readable.published_table()


# %% [markdown]
# ## A method of your own
#
# A class with a name and a `score`: one number for each mask. This one asks CLIP-only, and adds how much of a mask's pixels have a colour that the sentence names. Change it and run the cells below again.

# %%
class Colored:
    name = "colored"

    def __init__(self, tas):
        self.clip = make_method("clip_only", tas)

    def score(self, scene, expression, image):
        wanted = [COLORS.index(w) for w in expression.text.lower().split() if w in COLORS]
        shares = [color_shares(image[mask] / 255)[wanted].sum() for mask in scene.proposals.masks()]
        return self.clip.score(scene, expression, image) + 0.1 * np.array(shares)


# %%
peer_row(Colored(tas), *seen)

# %% [markdown]
# Beside CLIP-only, on the first pictures: does the colour of the pixels add to what CLIP sees?

# %%
kept = {"store": SceneStore(results / "scenes"), "out": results / "peers", "progress": False}
pair = ["clip_only", Colored(tas)]
folders = evaluate_all([dataset], tas, pair, limit_images=limit, **kept)
own = compare.compare_runs([read_run(folder) for folder in folders])
readable.peers_table(own, f"percent; partial, the first {limit} pictures")

# %%
assert (table["miou"] <= table["oracle_miou"] + 1e-12).all() and len(table) == len(runs)
assert groups["mean"].between(0, 1).all() and set(groups["method"]) == set(table["method"])

# %% [markdown]
# ## What was seen
#
# * The networks of the preset tiny learned in this very world, so nothing here is zero-shot; the preset photo has its own runs.
# * The oracle stands above every choice: proposals come first, and every method here shares them.
# * Published gaps between methods with *different* proposals are partly gaps between proposals.
# * And computed from the tables above, not written beforehand:

# %%
lines = peer_study.peer_words(table, groups)
gain = own.iloc[1]
ends = [gain[f"miou_difference{end}"] for end in ("", "_low", "_high")]
lines.append(f"Colour of pixels on top of CLIP-only: {readable.percent(*ends, signed=True)} mIoU.")
display(Markdown("\n".join(f"* {line}" for line in lines)))
