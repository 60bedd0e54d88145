# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 03 · P: what the captioner says of a mask
#
# In this notebook you read what the captioner says of each mask, compute P from it, and see when words beat pixels.
#
# **What you'll do:** read captions beside their masks, compute P by hand, count how many captions name the thing, clean the degenerate ones, and set the gain of P against the quality of the caption, from bad ones to true ones.
# **What you'll learn:** P = cos(caption, sentence) compares two texts, so what the caption gets wrong is believed.
# **What you'll need:** nothing but the repository. Where there is no run of the preset with so many pictures, one is made and kept; a line tells how far it is.
#
# The captioner of the preset `tiny` learned in the drawn world that it is tested in; nothing about it is zero-shot. With the preset `photo` captions are composed from the classifier that also gives V, so there P is no second opinion.

# %% tags=["parameters"]
preset = "tiny"
data = "refscenes val"  # data set and split
limit = 12  # pictures
n_boot = 1000  # bootstrap resamples of images
results = ""  # the folder of runs and scenes; empty: results
number = 0  # which picture to look at, from 0
other_alpha = 1.0  # a second weight of P, to see more of what it does

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

import tasutils
from tasutils import charts, show, study, tables
from tasutils.captioners import clean_caption
from tasutils.describe import describe_again
from tasutils.evaluate import run_of
from tasutils.gallery import Gallery
from tasutils.language import SYNONYM_RULES
from tasutils.notebooks import refuse_unknown
from tasutils.store import scene_key

refuse_unknown()

# %% [markdown]
# ## The run
#
# Every sentence of the first pictures, answered once. The terms of each mask are stored, so another weight is arithmetic; captions lie in the scenes.

# %%
run = run_of(data, tasutils.load(preset), limit, results)
gallery, tas = Gallery(run), Gallery(run).tas
samples, scores, alpha = run.samples, run.scores, run.record.weights["p"]
note = f"{data}, {tables.scope_note([run])}"
print(f"{note}; alpha {alpha:g}")

# %% [markdown]
# ## One picture, mask by mask
#
# Each mask lit up, and above it what the captioner says of it. It is shown the cutting alone.

# %%
image_ids = list(dict.fromkeys(samples["image_id"]))
image_id = image_ids[number % len(image_ids)]
image, scene = gallery.picture(image_id)
show.proposals_grid(image, scene)


# %% [markdown]
# ## P, step by step
#
# The caption of each mask goes through the very text tower that reads the sentence. P is the cosine of the two texts; an empty caption has no direction, and its P is 0. (Stored embeddings are rounded to float16, so they are brought back to length 1 first.)

# %% tags=["definition"]
def p_score(captions, text):
    """P of each mask: embedded captions (n, d), zero where empty, against one sentence (d,)."""
    length = np.linalg.norm(captions, axis=1, keepdims=True)
    return captions / np.where(length > 0, length, 1) @ (text / np.linalg.norm(text))


# %%
text = samples.loc[samples["image_id"] == image_id, "text"].iloc[0]
answer = tas.refer(scene, text)
sentence = tas.encoder.encode_text([tas.preset.encoder.template.format(answer.expression.text)])[0]
p = p_score(scene.caption_embeddings, sentence)
ranked = pd.DataFrame({"caption": scene.captions, "P": p}).sort_values("P", ascending=False)
tables.styled(ranked.head(8), f"“{text}”", index=True)

# %%
if tas.preset.scores.logit_scale:
    print(f"preset {preset} multiplies P by the encoder's scale: not compared")
else:
    assert np.allclose(p, answer.terms["p"], atol=1e-6)
    assert p.argmax() == answer.terms["p"].argmax()

# %% [markdown]
# ## Good captions and bad ones
#
# A mask covers a thing if their IoU is above 0.5. Its caption is good if WordNet calls its noun and the thing's name synonyms, by the rule that mines negatives. The name of a wider kind ("animal" for a dog) does not count.

# %%
pairs = scores.merge(samples[["sample_id", "image_id", "ref_id", "category"]], on="sample_id")
pairs["iou"] = pairs["intersection_px"] / pairs["union_px"]
covers = pairs[pairs["iou"] > 0.5].sort_values("iou", kind="stable")
covers = covers.drop_duplicates(["image_id", "proposal"], keep="last").sort_index()


# %%
def names_it(caption, category):
    """Whether the rule of negatives calls the caption's head phrase a synonym of the thing."""
    judge, threshold = SYNONYM_RULES["nearest"], tas.preset.language.synonym_threshold
    phrase = tas.language.parse(caption).phrase if caption else ""
    return (
        bool(phrase)
        and not judge(phrase, tas.language.parse(category), tas.language, threshold).kept
    )


# %%
said = {one: gallery.picture(one)[1].captions for one in covers["image_id"].unique()}
covers["caption"] = [said[i][k] for i, k in zip(covers["image_id"], covers["proposal"])]
covers["good"] = [names_it(*one) for one in zip(covers["caption"], covers["category"])]
share = covers["good"].mean()
print(f"{covers['good'].sum()} of {len(covers)} captions name the thing that their mask covers")
columns = ["category", "caption", "iou", "good"]
tables.styled(covers.groupby("good").head(6).sort_values("good")[columns], precision=2)

# %% [markdown]
# Is a ragged mask harder to name?

# %%
fit = pd.cut(
    covers["iou"],
    [0.5, 0.7, 0.8, 0.9, 1],
    labels=["0.5 to 0.7", "0.7 to 0.8", "0.8 to 0.9", "above 0.9"],
)
named = covers.groupby(fit, observed=True)["good"].agg(["mean", "size"])
labels = [f"{group}\nn = {n}" for group, n in named["size"].items()]
ax = (
    named["mean"]
    .mul(100)
    .plot.bar(rot=0, ylabel="captions that name the thing, %", xlabel="IoU of the mask")
)
ax.set_xticklabels(labels)
ax.figure.set_size_inches(7, 2.8)

# %% [markdown]
# ## Cleaning
#
# Captioners stutter, or stop after "a photo of". Both are known of BLIP-2; what its users reported is cleaned like this:

# %%
reported = [
    "a man with ray ban ray ban ray ban ray ban",
    "a photo of",
    "a person is standing on a street with a person on a street with a person on a street",
    "the the the cat sits on a mat",
]
pd.DataFrame({"as generated": reported, "cleaned": [clean_caption(raw) for raw in reported]})

# %%
scenes = {one: gallery.picture(one)[1] for one in image_ids}
raw = [(a, b) for one in scenes.values() for a, b in zip(one.captions_raw, one.captions)]
changed = sum(a.strip() != b for a, b in raw)
print(f"cleaning changed {changed} of {len(raw)} captions of this run")

# %% [markdown]
# And the answers? The same run with the switch of cleaning turned, on the same sentences:

# %%
switch = not tas.preset.language.clean_captions
other = tasutils.load(tas.preset.override({"language.clean_captions": switch}))
with gallery.store as store:  # the captions are read again, and no picture is described again
    for one in image_ids[:limit]:
        image, scene = gallery.picture(one)
        parts = {"encoder": other.encoder, "language": other.language, "preset": other.preset}
        again = describe_again(scene, image, **parts, read_only=True)
        store.put(scene_key(image, other.preset.describe_digest()), again)
turned = run_of(data, other, limit, results, aside="changed", progress=False)
both = samples.merge(turned.samples, on="sample_id", suffixes=("", "_turned"))
moved = (both["chosen"] != both["chosen_turned"]).sum()
print(f"cleaning {'on' if switch else 'off'}: {moved} of {len(both)} answers differ")


# %% [markdown]
# ## When the caption beats the crop
#
# Right is an IoU above 0.5. V alone against V and P together, with the run's alpha, with a larger one, and P alone; no rectifier.

# %%
def best(total):
    """Of each sentence the row with the highest total, the first of equals; index: sample."""
    rows = scores.loc[total.groupby(scores["sample_id"], sort=False).idxmax()]
    return rows.set_index("sample_id")[["proposal", "intersection_px", "union_px"]]


def is_right(rows):
    """Whether each answer has an IoU above 0.5."""
    return 2 * rows["intersection_px"] > rows["union_px"]


# %%
v, caption = scores["term_v"], scores["term_p"]
ways = {"V alone": best(v), f"V + {alpha:g} P": best(v + alpha * caption)}
ways |= {f"V + {other_alpha:g} P": best(v + other_alpha * caption), "P alone": best(caption)}
right = pd.DataFrame({name: is_right(rows) for name, rows in ways.items()})
duels = {
    name: {
        "both right": (right["V alone"] & right[name]).sum(),
        "only V alone": (right["V alone"] & ~right[name]).sum(),
        "only with P": (~right["V alone"] & right[name]).sum(),
        "neither": (~right["V alone"] & ~right[name]).sum(),
    }
    for name in list(ways)[1:]
}
pd.DataFrame(duels)

# %%
assert all(sum(duel.values()) == len(right) for duel in duels.values())

# %% [markdown]
# ### Sentences that P alone wins, and loses
#
# Where V alone is wrong the caption says what the pixels did not; where V alone is right, another caption sounds more like the sentence.

# %%
order = right.index.to_series().map(dict(zip(samples["sample_id"], range(len(samples)))))
for title, fits in {
    "P wins": ~right["V alone"] & right["P alone"],
    "P loses": right["V alone"] & ~right["P alone"],
}.items():
    rows = order[fits].iloc[:3]
    shown = [
        gallery.example(int(row), weights={"v": 0, "p": 1, "n": 0}, form="none") for row in rows
    ]
    display(Markdown(f"**{title}: {fits.sum()} sentences**"))
    display(show.gallery(shown) if shown else Markdown("None in these pictures."))

# %% [markdown]
# ## The gain of P against the quality of the caption
#
# Sentences sorted by the caption of the mask that should be chosen, the best there is above IoU 0.5. If P is worth its captions, it gains where they are good and costs where they are bad.

# %%
meant = pairs.loc[pairs.groupby("sample_id", sort=False)["iou"].idxmax()].set_index("sample_id")
meant = (
    meant.reset_index()
    .merge(covers[["image_id", "proposal", "good"]], "left", ["image_id", "proposal"])
    .set_index("sample_id")
)
quality = meant["good"].map({True: "good caption", False: "bad caption"})
quality = quality.where(meant["iou"] > 0.5, "no mask above 0.5").loc[right.index]

# %%
rows = []
for weight in dict.fromkeys((alpha, other_alpha)):
    after, before = best(v + weight * caption), ways["V alone"]
    for group in ("good caption", "bad caption", "no mask above 0.5"):
        some = quality.index[quality == group]
        if len(some):
            pixels = [
                (one.loc[some, "intersection_px"], one.loc[some, "union_px"])
                for one in (after, before)
            ]
            where = meant.loc[some, "image_id"]
            found = study.gain(*pixels, where, n_boot)
            rows.append({"group": f"alpha {weight:g}, {group}", **found})
gains = pd.DataFrame(rows)
charts.interval_plot(gains, value="gain of P over V, points", note=note)

# %%
tables.interval_table(gains, f"change of mIoU in points; {note}", signed=True)

# %% [markdown]
# ## From these captions to true ones
#
# The drawn world knows what stands in it, so a perfect captioner can be had: it calls a mask by the colour and name of the thing that it covers, and all else stays. Of a mask that covers no thing it says nothing, and a mask without a caption has P = 0. That is knowledge of masks rather than words, so it comes as a step of its own. How much of what P is worth is the captioner's?

# %%
rows = []
if all(gallery.things(one)[0] for one in image_ids):
    told = {one: gallery.told(one, scenes[one]) for one in image_ids}
    written = [tas.preset.encoder.template.format(text) for text in samples["text"]]
    embedded = zip(samples["image_id"], tas.encoder.encode_text(written), strict=True)
    true = np.concatenate([p_score(told[one].caption_embeddings, row) for one, row in embedded])
    silent = np.concatenate([np.array(told[one].captions) == "" for one in samples["image_id"]])
    captioners = {
        "this captioner": caption,
        "true where a thing is covered": caption.where(silent, true),
        "and silent elsewhere": pd.Series(true, caption.index),
    }
    for captioner, column in captioners.items():
        for weight in dict.fromkeys((alpha, 0.3)):
            both = best(v + weight * column), ways["V alone"]
            pixels = [(one["intersection_px"], one["union_px"]) for one in both]
            found = study.gain(*pixels, meant.loc[both[0].index, "image_id"], n_boot)
            rows.append({"group": f"alpha {weight:g}, {captioner}", **found})
truer = pd.DataFrame(rows)
if rows:
    display(charts.interval_plot(truer, value="gain of P over V, points", note=note))
    display(tables.interval_table(truer, f"change of mIoU in points; {note}", signed=True))
else:
    print("nobody knows what stands in these pictures, so there are no true captions")

# %% [markdown]
# ## What was seen
#
# * A caption is judged by one word of it; the colours and numbers in it help or harm as well, and P sees all of it.
# * Cleaning is a matter of the captioner: a caption that comes clean is left as it is.
# * And computed from the tables above, not written beforehand:

# %%
wins, losses = duels["P alone"]["only with P"], duels["P alone"]["only V alone"]
display(
    Markdown(f"""
* {100 * share:.0f} % of the captions of masks that cover a thing name it (n = {len(covers)}; {note}).
* P alone wins {wins} sentences against V and loses {losses}.
* With alpha {alpha:g} P changes {(ways["V alone"]["proposal"] != list(ways.values())[1]["proposal"]).sum()} of {len(right)} answers of V.
* With true captions: {"; ".join(tables.finding(row) for row in truer[2:].to_dict("records")) or "not known here"}.
""")
)
