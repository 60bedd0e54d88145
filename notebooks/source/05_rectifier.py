# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 05 · The spatial rectifier: left, right, up, bottom
#
# In this notebook you see the one piece of TAS that knows where things are: direction words are looked for in the sentence, the picture is cut where they say, and only masks whose centre lies in that part may win.
#
# **What you'll do:** write the region test, look at regions cut in the middle and at the medians, count which words are read and which are not, measure what each form of the rectifier changes, and go through its failures.
# **What you'll learn:** why a word that is found need not count, and what the article, the released code and this project do with the same sentence.
# **What you'll need:** nothing but the repository. Where there is no run of the preset with so many pictures, one is made and kept; a line tells how far it is.
#
# The preset `tiny` was trained in the drawn world that it is asked about here, so nothing of it is zero-shot.

# %% tags=["parameters"]
preset = "tiny"
data = "refscenes val"  # data set and split
limit = 12  # pictures to answer, where there is no run of as many
n_boot = 1000  # bootstrap resamples of images
results = ""  # the folder of runs and described pictures; empty: results

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

import tasutils
from tasutils import charts, show, study, tables
from tasutils.evaluate import run_of
from tasutils.gallery import Gallery
from tasutils.language.reading import read_directions
from tasutils.notebooks import refuse_unknown
from tasutils.refer import parse_expression, refer

refuse_unknown()

# %%
run = run_of(data, tasutils.load(preset), limit, results)
gallery, tas = Gallery(run), Gallery(run).tas
samples, scores = run.samples, run.scores
note = f"{data}, {tables.scope_note([run])}"
print(note)


# %% [markdown]
# ## The region test
#
# A centre is the mean of a mask's pixels. The picture is cut at its middle, since the article does not say where; a centre exactly on the middle belongs to both halves, so that a mirrored picture has mirrored regions. Several words intersect.

# %% tags=["definition"]
def in_region(centers_xy, size_hw, words):
    """Which centres, (n, 2) px, lie in every half that the words name."""
    x, y = centers_xy.T
    middle_y, middle_x = (size_hw[0] - 1) / 2, (size_hw[1] - 1) / 2
    halves = {
        "left": x <= middle_x,
        "right": x >= middle_x,
        "up": y <= middle_y,
        "bottom": y >= middle_y,
    }
    return np.logical_and.reduce([np.ones(len(x), bool), *(halves[word] for word in words)])


# %% tags=["definition"]
def rectify(total, inside):
    """The best mask of the region, or of all masks where the region is empty."""
    return int(np.where(inside, total, -np.inf).argmax() if inside.any() else total.argmax())


# %% [markdown]
# Every sentence of the run, by these lines and by the package:

# %%
scenes = {one: gallery.picture(one)[1] for one in dict.fromkeys(samples["image_id"])}
rules = tas.preset.rectifier
plain = rules.form in ("paper", "extended") and rules.cut == "middle" and rules.centers == "mean"
asked = 0
for sample in samples.itertuples():
    scene = scenes[sample.image_id]
    answer = tas.refer(scene, sample.text, dataset=run.family)
    words = [direction.name for direction in answer.expression.directions]
    inside = in_region(scene.proposals.centers_xy, scene.size_hw, words)
    asked += bool(words)
    if plain and answer.best is not None:
        assert (inside == answer.in_region).all() and rectify(answer.total, inside) == answer.best
print(
    f"{asked} of {len(samples)} sentences have a direction word that counts;",
    "all regions and answers agree" if plain else f"form {rules.form} cuts otherwise: not compared",
)

# %% [markdown]
# ## One sentence, by each form
#
# Bright: the part of the picture that may win. Orange: the answer. Dashed blue: what is meant.
#
# * **none**: the best sum wins.
# * **paper**: the article's four words, cut at the picture's middle.
# * **extended**: more words, and uses that say nothing about the picture's halves do not count.
# * **official**: the released code's words, its four parts and its cut at the medians of the centres; it looks inside words, and a gate lets it act only on some parses.
#
# The sentence is the first of the run whose answer the rectifier moved.

# %%
official = {
    f"rectifier.{name}": value
    for name, value in tasutils.load_preset("official").rectifier.model_dump().items()
}
forms = ("none", "paper", "extended")
presets = {form: tas.preset.override({"rectifier.form": form}) for form in forms}
presets["official"] = tas.preset.override(official)
presets["extended, cut at the medians"] = presets["extended"].override({"rectifier.cut": "median"})


def ask(image_id, text):
    """The answers by every form, by name."""
    return {
        name: refer(scenes[image_id], text, tas.encoder, tas.language, one, run.family)
        for name, one in presets.items()
    }


# %%
moved = np.flatnonzero(samples["rectified"])
moved = [k for k in moved if "which changed the answer" in samples["reason"].iloc[k]]
row = int(moved[0]) if moved else 0
example = gallery.example(row)
answers = ask(samples["image_id"].iloc[row], samples["text"].iloc[row])
truth = example.truth
show.gallery(
    [
        show.Example(example.image, answer, truth, f"{name}: {answer.reason.split('; ')[-1]}")
        for name, answer in answers.items()
    ]
)

# %% [markdown]
# ### Where the cut runs
#
# The same region twice, larger: at the middle of the picture, then at the medians of the centres. With medians about half of the *masks* lie on each side, wherever in the picture they are.

# %%
display(show.region_picture(example.image, answers["extended"]))
display(show.region_picture(example.image, answers["extended, cut at the medians"]))

# %% [markdown]
# ## Words that count, and words that do not
#
# Every sentence of the split, not only those of the run, as the form `extended` reads it. A word that is found is not counted where it tells of another thing (*left of the dog*), of an order (*second from left*), or is no place at all (*facing left*, *right behind*, *red top*).

# %%
texts = [sample.text for sample in gallery.dataset.samples]
read = [
    (word.token, word.skipped or "counts")
    for text in texts
    for word in read_directions(text, "extended")
]
words = pd.DataFrame(read, columns=["word", "verdict"])
table = words.groupby(["word", "verdict"]).size().unstack(fill_value=0)
table = table.loc[table.sum(axis=1).nlargest(16).index]
table = table[["counts", *table.columns.drop("counts")]] if "counts" in table else table
if len(table):  # refscenes+ has no such word
    ax = table[::-1].plot.barh(
        stacked=True, figsize=(8, 4.6), width=0.75, xlabel="occurrences in the split"
    )
    ax.legend(fontsize=8, title=f"{data}, n = {len(texts)} sentences", title_fontsize=8)


# %% [markdown]
# ## What each form changes
#
# mIoU against the same answers without any rectifier, on the same sentences, so the intervals are paired. *Mended* and *broken* count answers whose IoU came to be above 0.5, or ceased to be.

# %%
def chosen(inside):
    """The rows chosen among `inside`, or among all masks of a sentence that has none there."""
    some = inside.groupby(scores["sample_id"]).transform("any")
    total = sum(
        weight * np.nan_to_num(scores[f"term_{name}"])
        for name, weight in run.record.weights.items()
    )
    total = pd.Series(np.where(inside | ~some, total, -np.inf), scores.index)
    return scores.loc[total.groupby(scores["sample_id"], sort=False).idxmax()].set_index(
        "sample_id"
    )


# %%
every = pd.Series(True, scores.index)
regions = {f"{rules.form} (this preset)": scores["region"]}
regions |= {
    name.removeprefix("region_"): scores[name] for name in scores if name.startswith("region_")
}
before, rows = chosen(every), []
images = samples.set_index("sample_id").loc[before.index, "image_id"]
counts_here = pd.Series(
    {
        s.sample_id: "with a word that counts"
        if parse_expression(s.text, tas.language, presets["extended"]).directions
        else "without one"
        for s in samples.itertuples()
    }
)
for form, region in regions.items():
    after = chosen(region.astype(bool))
    for group in ("with a word that counts", "without one"):
        some = before.index[counts_here.loc[before.index] == group]
        pixels = [
            (r.loc[some, "intersection_px"], r.loc[some, "union_px"]) for r in (after, before)
        ]
        right = [2 * inter > union for inter, union in pixels]
        mended, broken = (right[0] & ~right[1]).sum(), (~right[0] & right[1]).sum()
        row = {"group": f"{form}, {group}", "mended": mended, "broken": broken}
        rows.append(row | study.gain(*pixels, images.loc[some], n_boot))
changes = pd.DataFrame(rows)
charts.interval_plot(changes, value="change of mIoU, points", note=note)

# %%
tables.interval_table(changes, f"change of mIoU in points; {note}", signed=True)

# %%
if rules.form == "extended":
    idle = changes[
        changes["group"].str.startswith("extended") & changes["group"].str.endswith("without one")
    ]
    assert (idle[["mended", "broken", "mean"]] == 0).all(axis=None)

# %% [markdown]
# ## The failures, one by one
#
# Four ways to be wrong about a direction, asked about the first picture, so that there is no truth. Under each form stands what it read.

# %%
first = samples["image_id"].iloc[0]
image = gallery.picture(first)[0]
for text, why in {
    "the dog left of the car": "a relation, not a half of the picture",
    "second from the left": "an order; the half is right, but the rank is lost",
    "the laptop": "a word inside a word, for those who look there",
    "the thing facing left": "no place at all",
}.items():
    display(Markdown(f"**“{text}”**: {why}"))
    display(
        show.gallery(
            [
                show.Example(image, answer, None, f"{name}: {answer.reason.split('; ')[-1]}")
                for name, answer in ask(first, text).items()
            ]
        )
    )

# %% [markdown]
# ## What was seen
#
# Computed from the tables above, not written beforehand:

# %%
own = changes.iloc[0]
told = words["verdict"].eq("counts").mean()
display(
    Markdown(f"""
* Of {len(words)} direction words in {len(texts)} sentences {100 * told:.0f} % count by the form extended.
* {tables.finding(own)}: the rectifier of this preset mends {own["mended"]} answers and breaks {own["broken"]}.
* “left dog” is often said of the leftmost dog, which need not lie in the left half: a region of the picture cannot tell; [notebook 11](11_graded.ipynb) scores how far left a mask is instead.
""")
)
