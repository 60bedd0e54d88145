# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 08 · Real data: from an annotation to a number
#
# In this notebook you open a data set by hand: you draw one annotation of each published layout in plain numpy, compare it with what the reader gives, and then let the readers open everything that lies on this disk, and the method answer it.
#
# **What you'll do:** see what is here and what is to be fetched, decode run lengths and fill polygons, look at references, answer them, split the answers by groups of sentences.
# **What you'll learn:** what the files of RefCOCO, RefCOCO+, RefCOCOg and PhraseCut hold, and how one polygon can be two different masks.
# **What you'll need:** nothing; for the published data sets themselves their files (see the first table) and a preset that knows photographs: `photo` here, `paper` and `official` with their published weights. **Takes:** half a minute without them.
#
# RefScenes, the embedded world, is written in the very layouts of the published sets. Where none of these is on the disk, it takes their place, through the same readers: the cells are the ones that make the real numbers, the numbers are those of a drawn world and comparable with nobody's.

# %% tags=["parameters"]
preset = "photo"  # of published data; RefScenes always takes tiny
data = "refcoco val"  # a published data set and split; any other name: val of all that are here
limit = 12  # pictures to answer, where there is no run of as many
n_boot = 1000  # bootstrap resamples of images
results = ""  # the folder of runs and described pictures; empty: results
root = ""  # the folder of published data sets; empty: data
images = ""  # the folder of their images; empty: the published place in root

# %%
import json

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from PIL import Image, ImageDraw

import tasutils
from tasutils.datasets import DATASETS, dataset, load_dataset
from tasutils.datasets.files import load_plain
from tasutils.datasets.phrasecut import load_phrasecut
from tasutils.datasets.published import file_sets
from tasutils.evaluate import run_of
from tasutils.language.reading import read_directions
from tasutils.notebooks import refuse_unknown
from tasutils.paths import REFSCENES

refuse_unknown()

# %% [markdown]
# ## What there is, and what to fetch
#
# Nothing is fetched by a notebook. The commands are for a terminal: each shows address, size and terms before it fetches, checks digests where they are published, and unpacks what lies there already. RefCOCO's three sets share one archive of images.

# %%
published = {name: dataset(name) for name in DATASETS if hasattr(dataset(name), "entry")}
here = [name for name, entry in published.items() if entry.here(root or None)]
rows = []
for name, files in file_sets().items():
    users = [user for user, entry in published.items() if name in entry.entry.get]
    sizes = [part.size for part in files.parts]
    rows.append(
        {
            "command": f"tas data get {name}",
            "needed for": ", ".join(f"{user} (here)" if user in here else user for user in users),
            "GB": "unknown" if None in sizes else f"{sum(sizes) / 1e9:.2f}",
            "terms": files.terms,
        }
    )
pd.DataFrame(rows).style.hide(axis="index").format(escape="html")

# %% [markdown]
# ## One annotation, decoded
#
# RefCOCO's layout is two files. `instances.json` is COCO's: images, annotations, categories. `refs(unc).p` is a pickled list of references: an annotation and the sentences that mean it. A pickle is a program; `load_plain` knows only its instructions for plain data.

# %%
refs = load_plain(REFSCENES / "refscenes" / "refs(tas).p")
instances = json.loads((REFSCENES / "refscenes" / "instances.json").read_text())
ref = next(ref for ref in refs if ref["split"] == "val")
annotation = next(entry for entry in instances["annotations"] if entry["id"] == ref["ann_id"])
print({key: value for key, value in ref.items() if key != "sentences"})
print([sentence["sent"] for sentence in ref["sentences"]])
print(annotation["segmentation"])


# %% [markdown]
# The mask is a text of run lengths. Each number is written in groups of five bits, the lowest first, one printable character a group; a sixth bit says that more follow. From the fourth number on only the difference to the one before the last is written. The runs alternate background and foreground, *down the columns*.

# %% tags=["written"]
def run_lengths(text):
    runs, value, shift = [], 0, 0
    for bits in np.frombuffer(text.encode(), np.uint8).astype(int) - 48:
        value += int(bits & 31) << shift
        shift += 5
        if not bits & 32:  # the last group of this number, whose sign is its highest bit
            value -= (1 << shift) * bool(bits & 16)
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value, shift = 0, 0
    return runs


def decoded(segmentation):
    height, width = segmentation["size"]
    runs = run_lengths(segmentation["counts"])
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T


# %%
val = load_dataset("refscenes", "val")  # the reader of RefCOCO's layout
sample = next(sample for sample in val.samples if sample.ref_id == str(ref["ref_id"]))
mask = decoded(annotation["segmentation"])
assert (mask == val.gt_mask(sample)).all() and mask.sum() == annotation["area"]
figure, axes = plt.subplots(1, 2, figsize=(8, 3.2))
axes[0].imshow(Image.open(val.image_path(sample.image_id)))
axes[0].set_title(sample.text)
axes[1].imshow(mask, cmap="gray")
axes[1].set_title(f"{mask.sum()} px, equal to the reader's")
[ax.axis("off") for ax in axes]


# %% [markdown]
# ## One polygon, two masks
#
# Published RefCOCO has polygons, and so has PhraseCut, whose task names *all* instances that a phrase fits: its truth is their union. Which pixels lie in a polygon is a question of convention.
#
# COCO walks along the outline on a grid five times finer, notes in each column of pixels where it is crossed, and lets the foreground begin and end there.

# %% tags=["written"]
def walked(start, end):
    """The points of one edge on the fine grid, rounded as COCO rounds them."""
    steps = abs(end - start)
    along = int(steps[1] > steps[0])  # the axis on which every step is 1
    back = start[along] > end[along]
    first, last = (end, start) if back else (start, end)
    slope = (last - first) / max(steps[along], 1)
    line = first + slope * np.arange(steps[along] + 1)[:, None]
    points = np.trunc(line + 0.5 * (np.arange(2) != along)).astype(int)
    return points[::-1] if back else points


def coco_filled(points, size_hw, scale=5):
    height, width = size_hw
    corners = np.trunc(scale * np.array(points) + 0.5).astype(int)
    edges = zip(corners, np.roll(corners, -1, axis=0), strict=True)
    x, y = np.concatenate([walked(start, end) for start, end in edges]).T
    moves = np.flatnonzero(np.diff(x))  # where the walk enters the next fine column
    column = (np.minimum(x[moves], x[moves + 1]) + 0.5) / scale - 0.5
    row = np.clip((np.minimum(y[moves], y[moves + 1]) + 0.5) / scale - 0.5, 0, height)
    kept = (column == np.floor(column)) & (column >= 0) & (column < width)
    places = (column * height + np.ceil(row))[kept].astype(int)
    flips = np.bincount(places, minlength=height * width + 1)[: height * width]
    return (flips.cumsum() % 2 == 1).reshape(width, height).T


# %% [markdown]
# PhraseCut's own evaluator cuts the points to whole numbers and draws outline and fill. That is what `load_dataset("phrasecut", ...)` gives, so that numbers are comparable with the published ones.

# %% tags=["written"]
def outlined(points, size_hw):
    picture = Image.new("1", size_hw[::-1])
    whole = [(int(x), int(y)) for x, y in points]
    ImageDraw.Draw(picture).polygon(whole, fill=1, outline=1)
    return np.array(picture)


# %%
folder = REFSCENES / "phrasescenes"
tasks = json.loads((folder / "refer_val.json").read_text())
task = next(task for task in tasks if len(task["Polygons"]) > 1)  # several things are meant
phrases = {kind: load_phrasecut(folder, "val", raster=kind) for kind in ("coco", "outline")}
meant = next(s for s in phrases["coco"].samples if s.sample_id == task["task_id"])
size_hw = phrases["coco"].size_hw(meant.image_id)
drawn = {}
for kind, fill in {"coco": coco_filled, "outline": outlined}.items():
    parts = [fill(points, size_hw) for polygons in task["Polygons"] for points in polygons]
    drawn[kind] = np.any(parts, axis=0)
    assert (drawn[kind] == phrases[kind].gt_mask(meant)).all()
both = (drawn["coco"] & drawn["outline"]).sum() / (drawn["coco"] | drawn["outline"]).sum()
figure, axes = plt.subplots(1, 2, figsize=(8, 3.2))
axes[0].imshow(drawn["coco"], cmap="gray")
axes[0].set_title(f"{task['phrase']}: {len(task['Polygons'])} instances")
axes[1].imshow(drawn["coco"] ^ drawn["outline"], cmap="gray")
axes[1].set_title(f"where the two differ; their IoU is {both:.3f}")
[ax.axis("off") for ax in axes]

# %% [markdown]
# ## All of it, with the readers
#
# The published sets that are here; else RefScenes, through the readers of RefCOCO and PhraseCut.

# %%
name, _, split = data.partition(" ")
wanted = {name: split} if name in published else dict.fromkeys(published, "val")
real = any(name in here for name in wanted)
if real:
    sets = [
        load_dataset(n, s, None, root or None, images or None)
        for n, s in wanted.items()
        if n in here
    ]
else:
    sets = [load_dataset(name, "val") for name in ("refscenes", "phrasescenes")]
    print("No published data set is here: these are RefScenes' families, in the same layouts.")


# %%
def has_direction(text):
    """Whether a direction word counts, as the rectifier's form `extended` reads it."""
    return any(not word.skipped for word in read_directions(text, "extended"))


def facts(data):
    truths = {(s.image_id, s.ref_id): data.gt_mask(s) for s in data.samples[:300]}
    return {
        "set": f"{data.name} {data.split}",
        "images": len(data.image_ids),
        "references": len({s.ref_id for s in data.samples}),
        "sentences": len(data),
        "words": np.median([len(s.text.split()) for s in data.samples]),
        "with a direction": np.mean([has_direction(s.text) for s in data.samples]),
        "share of the picture": np.median([mask.mean() for mask in truths.values()]),
    }


pd.DataFrame(map(facts, sets)).round(3).style.hide(axis="index").format(precision=3, escape="html")

# %% [markdown]
# ## References
#
# The first picture of each set with its references, numbered, and all sentences about them.

# %%
for each in sets:
    first = each.image_ids[0]
    figure, ax = plt.subplots(figsize=(6, 4.5), layout="constrained")
    ax.imshow(tasutils.read_image(each.image_path(first)))
    ax.set(xticks=[], yticks=[], title=f"{each.name} {each.split}")
    refs = list(dict.fromkeys(sample.ref_id for sample in each.by_image()[first]))
    for sample in each.by_image()[first]:
        k, mask = refs.index(sample.ref_id), each.gt_mask(sample)
        ax.contour(mask, [0.5], colors=[f"C{k % 10}"])
        rows, columns = np.nonzero(mask)
        ax.text(columns.mean(), rows.mean(), str(k), color="white", backgroundcolor=f"C{k % 10}")
        print(k, sample.raw)
    plt.show()

# %% [markdown]
# ## Answers
#
# The newest run of the preset over each set, or one made now over its first pictures. Intervals are 95 % bootstrap intervals over images, since the sentences of one picture are not independent; the oracle is the best mask that was proposed.

# %%
tas = tasutils.load(preset if real else "tiny")
runs = [run_of(each, tas, limit, results) for each in sets]
answers = pd.concat([run.samples.assign(set=run.record.dataset) for run in runs])
answers["direction"] = answers["text"].map(has_direction)
assert (answers["iou"] <= answers["oracle_iou"] + 1e-12).all()


# %% tags=["written"]
def interval(answers, rng):
    """The 95 % interval of the mean IoU: pictures are drawn anew, with all their sentences."""
    sums = answers.groupby("image_id")["iou"].agg(["sum", "count"]).to_numpy()
    draws = sums[rng.integers(len(sums), size=(n_boot, len(sums)))].sum(axis=1)
    return np.percentile(draws[:, 0] / draws[:, 1], [2.5, 97.5])


# %%
rows = []
for run in runs:
    own = answers[answers["set"] == run.record.dataset]
    low, high = interval(own, np.random.default_rng(0))
    assert np.isclose(own["iou"].mean(), run.record.metrics["miou"].value)
    rows.append({
        "set": f"{run.record.dataset} {run.record.split}", "n": len(own),
        "mIoU": own["iou"].mean(), "low": low, "high": high, "oracle": own["oracle_iou"].mean(),
    })  # fmt: skip
table = pd.DataFrame(rows)
table.style.hide(axis="index").format(precision=3, escape="html")

# %% [markdown]
# ## For whom
#
# By what the sentences are like. PhraseCut's phrases may mean several things at once; one mask that covers one of them is capped.

# %%
words = answers["text"].str.split().str.len()
groups = {
    "a direction word": answers["direction"],
    "no direction word": ~answers["direction"],
    "up to 3 words": words <= 3,
    "7 words and more": words >= 7,
}
if "multi" in answers:
    groups |= {
        f"means {what}": answers["multi"] == (what == "several") for what in ("one", "several")
    }
found = {name: answers[member.astype(bool)] for name, member in groups.items() if member.any()}
figure, ax = plt.subplots(figsize=(7, 0.4 * len(found) + 0.8))
for place, own in enumerate(found.values()):
    low, high = interval(own, np.random.default_rng(0))
    ax.plot([low, high], [place, place], color="#0072B2")
    ax.plot(own["iou"].mean(), place, "o", color="#0072B2")
ax.set_yticks(range(len(found)), [f"{name}, n = {len(own)}" for name, own in found.items()])
ax.set_xlabel("mean IoU, 95 % interval over images")
ax.invert_yaxis()

# %% [markdown]
# ## From here to the real thing
#
#     tas data get refcoco
#     tas data get coco-train2014
#     tas data check refcoco
#     tas evaluate refcoco val --preset paper
#     tas report --only 08 --preset paper --dataset refcoco --split val
#
# With the data elsewhere, `--root` names their folder and `--images` that of the pictures.

# %% [markdown]
# ## What was seen
#
# Computed from the tables above, not written beforehand:

# %%
lines = (
    []
    if real
    else [
        "These are RefScenes' pictures: numbers of a drawn world, in which the models were trained."
    ]
)
for row in table.itertuples():
    lines.append(
        f"{row.set}, n = {row.n}: mIoU {row.mIoU:.3f} [{row.low:.3f}, {row.high:.3f}] of "
        f"{row.oracle:.3f}, the best masks that were proposed."
    )
if {"means one", "means several"} <= set(found):
    one, several = (found[f"means {what}"]["iou"].mean() for what in ("one", "several"))
    word = "lower" if several < one else "not lower"
    lines.append(
        f"Where a phrase means several things, mean IoU is {word}: {several:.3f}, else {one:.3f}."
    )
lines.append(
    f"One polygon, drawn by two rules: IoU {both:.3f}. So a number needs its rule beside it."
)
display(Markdown("\n".join(f"* {line}" for line in lines)))
