# %% [markdown]
# # 02 · V: what the encoder sees of a mask
#
# In this notebook each mask is cut out of its picture as the encoder is shown it, and chosen by that cutting alone. Then you see what it is mistaken for, and what TAS adds to it with one encoder and with another.
#
# **What you'll do:** look at one mask cut out in six ways, go through the mistakes of V, ask whether a clear lead can be trusted, and change the encoder.
# **What you'll learn:** V = cos(crop, sentence) knows what a thing is and little else; whether the gain of TAS hangs on the encoder, which the article says it does not.
# **What you'll need:** nothing but the repository. Where there is no run of the preset with so many pictures, one is made and kept. **Takes:** half a minute, a minute the first time.
#
# The encoders tiny-ViT and tiny-RN were trained in the drawn world that they are tested in, on crops with black around the thing: nothing here is zero-shot with them, and another fill is something they never saw.

# %% tags=["parameters"]
preset = "tiny"
data = "refscenes val"  # data set and split
limit = 8  # pictures
n_boot = 1000  # bootstrap resamples of images
results = ""  # the folder of runs and scenes; empty: results
number = 16  # which sentence to look at, from 0
crop_limit = 8  # pictures on which other crops are tried, of these

# %%
import numpy as np
from IPython.display import Markdown, display

import tasutils
from tasutils import charts, covering, newest, paths, readable, show, visual_charts, visual_study
from tasutils.changed_runs import changed_part
from tasutils.errors import TasError
from tasutils.gallery import Gallery
from tasutils.masks import intersection_union
from tasutils.metrics import iou
from tasutils.config import CropConfig

# %% [markdown]
# ## The run
#
# Every sentence of the first pictures, answered with the preset's own encoder. V, P and N of each mask are stored with it, so leaving P, N and the rectifier out is arithmetic.

# %%
part = newest.part_of(data, tasutils.load(preset), limit, results)
examples = Gallery(part)
tas = examples.tas
note = readable.scope_note([part])
print(f"{data}: {part.run.record.n_images} pictures, {note}")

# %% [markdown]
# ## What the encoder is shown
#
# One sentence, answered by V alone. Orange: its answer. Dashed blue: what is meant.

# %%
row = number % len(part.samples)
example = examples.example(row, alpha=0, lam=0, form="none")
show.overlay(example.image, example.answer, example.truth)

# %% [markdown]
# Each mask is cut out and everything around it painted over. The article paints black for the encoder and blurs for the captioner; the released code cuts a pixel less and resizes otherwise. CLIP's mean colour and a crop without padding are there for comparison. Below each crop: V, the cosine with the sentence.

# %%
paper, official = tasutils.load_preset("paper"), tasutils.load_preset("official")
ways = {
    "black, square: V of tiny, photo and paper": paper.crop,
    "blurred, square: captioner of paper": paper.captioner.crop,
    "black, the released box: V of official": official.crop,
    "blurred, the released box: captioner of official": official.captioner.crop,
    "mean colour, square: no preset": CropConfig(fill="mean"),
    "black, stretched: no preset": CropConfig(pad_square=False),
}

# %%
scene, text = example.answer.scene, example.answer.expression.text
overlap = iou(*intersection_union(scene.proposals.masks(), example.truth))
meant, order = int(overlap.argmax()), np.argsort(-example.answer.v, kind="stable")
masks = [meant, *order[order != meant][:5].tolist()]
some = example.image, scene.proposals.take(np.array(masks)), text
looks = {name: visual_study.look(tas, *some, crop) for name, crop in ways.items()}
visual_charts.crops_grid(looks, masks)

# %% [markdown]
# Does the paint matter? V alone with other crops over the first pictures, against the preset's own: the same masks, the same sentences, so the intervals are paired. The crops are embedded again, masks and captions are kept.

# %%
fills = {
    "blurred": {"crop.fill": "blur"},
    "mean colour": {"crop.fill": "mean"},
    "stretched": {"crop.pad_square": False},
}
few = min(crop_limit, limit)
others = {name: changed_part(part, changes, few) for name, changes in fills.items()}
crops = visual_study.crop_gains(part, others, n_boot)
charts.breakdown_plot(crops, value="V alone, change of mIoU", note=f"{data}; {note}")

# %% [markdown]
# ## What it confuses
#
# Every sentence that V alone answers wrongly (IoU of 0.5 or less), by what its mask lies on. Only things that some sentence asks for are known by name, so a mask of anything else is counted as nothing asked for.

# %%
found = visual_study.mistakes(part)
counts = found["kind"].value_counts().rename("sentences").to_frame()
counts["share of the mistakes, %"] = (100 * counts["sentences"] / max(len(found), 1)).round(0)
counts

# %%
both = found[(found["meant"] >= 0) & (found["chosen"] >= 0)]
some = both.groupby("kind", sort=False).head(4).sort_values("kind", kind="stable")
visual_charts.confusion_pairs(some, visual_study.pair_crops(part, some))

# %% [markdown]
# Which kinds are taken for which, the commonest first:

# %%
known = found[found["taken"] != ""]
pairs = known.groupby(["category", "taken"]).size().rename("sentences").reset_index()
pairs.sort_values("sentences", ascending=False, kind="stable", ignore_index=True).head(10)

# %%
right = covering.is_right(part, part.scores.choose(0, 0, "none"))
assert len(found) == (~right).sum() and counts["sentences"].sum() == len(found)
assert (found["v_chosen"] >= found["v_meant"]).where(found["meant"] >= 0, True).all()

# %% [markdown]
# ## Is a clear lead a right answer?
#
# V is a cosine, and cosines of one encoder lie close together. What counts is the lead of the best mask over the second.

# %%
leads = visual_study.by_lead(part, n_boot)
charts.breakdown_plot(leads, value="V alone, mIoU", note=f"lead of the best V; {note}")

# %% [markdown]
# ## Does TAS hang on the encoder?
#
# The article changes the encoder and finds a gain of TAS over V with each. Here the encoder is one override of the preset; masks, captions, alpha and lambda stay as they were, though the weights were chosen for the preset's own encoder.

# %%
here, missing = visual_study.encoders(tas.preset)
by_encoder = {visual_study.encoder_name(tas.preset.encoder): part}
by_encoder |= {name: changed_part(part, changes, limit) for name, changes in here.items()}
print("compared here:", *by_encoder, sep="  ")
for name, remedy in missing.items():
    print(f"{name}: not here, so not shown; {remedy}")

# %% [markdown]
# The preset `photo` has other pictures as well as another encoder (ConSE: an ImageNet classifier and a sentence encoder, published by others). Its runs are shown where they lie beside this one.

# %%
try:
    photos = newest.find_parts(results or paths.RESULTS, "photo")
    photos = [run for run in photos if run.run.record.preset != part.run.record.preset]
    by_encoder |= {f"ConSE, {run.family} {run.split}": run for run in photos}
    print(f"preset photo: {readable.scope_note(photos)}" if photos else "this preset is photo")
except TasError:
    print("no runs of preset photo here; make them: tas evaluate refscenes valP --preset photo")

# %%
gains = visual_study.encoder_gains(by_encoder, n_boot)
charts.breakdown_plot(gains, value="gain over V, mIoU", note=f"{data}; {note}")

# %%
cells = {name: [f"{100 * value:.1f}" for value in gains[name]] for name in ("V", "after")}
table = gains.assign(**cells).rename(columns={"question": "data", "group": "gain"})
caption = f"V and after: mIoU, percent; last: the gain in points, paired; {note}"
readable.interval_table(table, caption, signed=True)

# %%
assert np.allclose(gains["after"] - gains["V"], gains["mean"])
assert (gains["low"] <= gains["mean"]).all() and (gains["mean"] <= gains["high"]).all()

# %% [markdown]
# ## What was seen
#
# * The encoder sees a cutting on a plain ground: what a thing is, in part what colour; nothing of where it lies or what is beside it.
# * A mask that is a piece of a thing, or of nothing that was asked for, can look more like the words than the thing itself.
# * And computed from the tables above, not written beforehand:

# %%
lines = [f"{data}, {note}.", *visual_study.summary(part, found, leads, crops, gains)]
display(Markdown("\n".join(f"* {line}" for line in lines)))
