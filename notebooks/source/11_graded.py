# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 11 · Graded terms: how far left, how small, next to what
#
# In this notebook you give TAS words that it does not have. Its rectifier cuts the picture in halves, and for a size, a relation or an order it has nothing at all. Here each of them is a score: how far left, how large, how well beside the thing that is named. The sum decides, as it does for V, P and N.
#
# **What you'll do:** see why halves fail, write each term out in a few lines, check it against the package, take the terms away one by one, and look at what is still wrong.
# **What you'll learn:** a term that is 0 where the sentence does not ask for it changes no other answer; a word that one term answers for only disturbs the others.
# **What you'll need:** nothing but the repository. Where there is no run of the preset with so many pictures, one is made and kept.
#
# The preset `tiny_graded` was trained in the drawn world that it is asked about here, so nothing of it is zero-shot.

# %% tags=["parameters"]
preset = "tiny_graded"
data = "refscenes val"  # data set and split
limit = 20  # pictures to answer, where there is no run of as many
n_boot = 1000  # bootstrap resamples of images
results = ""  # the folder of runs and described pictures; empty: results

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

import tasutils
from tasutils import show, tables
from tasutils.baselines import answers_of, make_method
from tasutils.compare import asked, diff_runs
from tasutils.datasets import load_dataset
from tasutils.evaluate import run_of
from tasutils.gallery import Gallery
from tasutils.metrics import bootstrap_ratios
from tasutils.notebooks import refuse_unknown
from tasutils.rectifier import in_region
from tasutils.refer import parse_expression, refer

refuse_unknown()

# %%
chosen = tasutils.load_preset(preset)
if "d" not in chosen.terms:  # of a report on tiny or photo: the same with graded terms
    terms = tasutils.load_preset("tiny_graded" if chosen.name == "tiny" else "photo_graded").terms
    changes = {f"terms.{name}": terms[name] for name in terms if name in "dzrohw"}
    chosen = chosen.override({**changes, "rectifier.form": "none"})
run = run_of(data, tasutils.load(chosen), limit, results)
gallery = Gallery(run)
tas, samples, scores = gallery.tas, run.samples, run.scores
note = f"{data}, {tables.scope_note([run])}"
print(note)

# %% [markdown]
# ## What a sentence asks for
#
# spaCy's words are read once: directions of the picture, a size, a relation with its landmark, an order, and the *thing* that is left when all these words are gone.

# %%
for text in (
    "the biggest dog on the left",
    "second red car from the right",
    "the small cup next to the big bowl",
    "the brown horse",
):
    asks = tas.language.parse(text).asks
    print(f"{text!r}: {asks.findings()}, thing {asks.thing!r}")

# %%
read = [tas.language.parse(text).asks for text in samples["text"]]
kinds = asked(run)[["direction", "size", "relation", "order"]]
kinds["none of these"] = ~kinds.any(axis=1)
kinds.mean().mul(100).round(1).rename("percent of the sentences").to_frame()

# %% [markdown]
# ## Why halves fail
#
# *The leftmost dog* stands in the right half if all dogs do. Of the sentences with a direction, how often is the best proposal, the one that covers most of what is meant, outside the half that the rectifier would look in?

# %%
scenes = {one: gallery.picture(one)[1] for one in dict.fromkeys(samples["image_id"])}
iou = scores["intersection_px"] / scores["union_px"]
oracle = scores.loc[iou.groupby(scores["sample_id"]).idxmax()].set_index("sample_id")["proposal"]

outside = []
for row, asks in zip(samples.itertuples(), read, strict=True):
    if asks.directions and row.sample_id in oracle:
        scene = scenes[row.image_id]
        inside = in_region(scene.proposals.centers_xy, scene.size_hw, asks.directions)
        if not inside[oracle[row.sample_id]]:
            outside.append(row.Index)
n_asked = sum(bool(asks.directions) for asks in read)
print(f"{len(outside)} of {n_asked} sentences with a direction: the target's best mask is outside")

# %% [markdown]
# One of them that is mended, by the article's halves and by the graded direction. Orange: the answer; dashed blue: what is meant.

# %%
halves = tas.preset.override({"rectifier.form": "extended"})


def ask(row, one, weights=None):
    """The answer to a sentence of the run by a preset, with other weights if given."""
    row = samples.loc[row]
    scene = scenes[row["image_id"]]
    return refer(scene, row["text"], tas.encoder, tas.language, one, run.family, weights)


none = dict.fromkeys(("d", "z", "r", "o", "h", "w"), 0)
mended = [row for row in outside if samples.loc[row, "iou"] > 0.5] or outside
if mended:
    example = gallery.example(mended[0])
    by = {"halves": ask(mended[0], halves, none), "graded": ask(mended[0], tas.preset)}
    display(
        show.gallery(
            [
                show.Example(example.image, answer, example.truth, name)
                for name, answer in by.items()
            ]
        )
    )


# %% [markdown]
# ## d: how far along the direction
#
# From -1 at one edge of the picture to 1 at the other. Two directions add up.

# %% tags=["definition"]
def direction(centers_xy, size_hw, directions):
    """The place of each centre, (n, 2) px, along the directions: (n,)."""
    ways = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "bottom": (0, 1)}
    middle = (np.array(size_hw[::-1]) - 1) / 2  # x, y
    return sum(
        ((centers_xy - middle) / middle @ ways[one] for one in directions),
        np.zeros(len(centers_xy)),
    )


# %% [markdown]
# ## z: how large
#
# The logarithm of the area, since twice as large should count the same from a mouse to a house; less the mean, so that the picture's scale drops out. It is bounded, or else the largest mask, the ground, would win whatever it shows.

# %% tags=["definition"]
def size(areas_px, word):
    """The log of each area against their mean, turned round for small: (n,)."""
    sign = {"big": 1, "biggest": 1, "small": -1, "smallest": -1}.get(word, 0)
    logs = np.log(areas_px)
    return sign * np.clip(logs - logs.mean(), -1.5, 1.5)


# %% [markdown]
# ## r: beside a thing that we do not know
#
# The landmark is a mask too, but which? Every mask is the landmark by its share of a softmax over V of the landmark's phrase. *Left of* is then the mean, over all masks that may be the landmark, of how much of the way from it to this one goes left. A mask is never its own landmark, nor is one that shares more than half of the smaller of the two.

# %% tags=["definition"]
def beside(centers_xy, overlaps, fits, way, softness=0.05):
    """How far each mask lies on one side of a soft landmark, 0..1: (n,).

    fits: (n,), V of the landmark's phrase; overlaps: (n, n), share of the smaller mask.
    """
    weights = np.exp((fits - fits.max()) / softness) * (overlaps <= 0.5)  # (n, n)
    steps = centers_xy[:, None].astype(float) - centers_xy[None]  # (n, n, 2)
    stands = np.clip(steps @ way / np.maximum(np.hypot(*steps.transpose(2, 0, 1)), 1e-9), 0, 1)
    return (weights * stands).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-12)


# %% [markdown]
# ## o: the second from the left
#
# Count, softly, the masks that fit the thing and lie further left; of masks that overlap only the best counts. The second from the left has one before it.

# %% tags=["definition"]
def order_from(at, fits, overlaps, k, margin=0.2, softness=0.05):
    """Minus how many places each mask is off place k, at most 2: (n,); at: (n,), small is first."""
    same, kept = overlaps > 0.5, []
    for index in np.argsort(-fits, kind="stable"):
        if not same[index, kept].any():
            kept.append(index)
    counts = 1 / (1 + np.exp((fits.max() - margin - fits[kept]) / softness))
    before = (counts * ~same[:, kept] * (at[kept] < at[:, None])).sum(axis=1)
    return -np.minimum(np.abs(before - (k - 1)), 2)


# %% [markdown]
# ## h: the thing alone
#
# CLIP reads "the biggest cat on the left" as one text, and the crop of a cat is no picture of "left". What d, z, r and o answer for is taken out of the sentence: h is V of the bare thing less V of the sentence, so that V + h is V of "cat".
#
# ## w: a part is no whole
#
# Minus how far the logarithm of the area is from that of a usual thing, less what a mask is nested in larger ones. It asks for nothing, so it moves every answer: it is a prior.
#
# All of them on every sentence of the run, by these lines and by the package:

# %%
WAYS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "bottom": (0, 1)}
SIDES = {"left of": "left", "right of": "right", "above": "up", "below": "bottom"}
checked = dict.fromkeys("dzroh", 0)
for row, asks in zip(samples.itertuples(), read, strict=True):
    answer = ask(row.Index, tas.preset)
    masks, terms, texts = answer.scene.proposals, answer.terms, answer.texts
    if not len(masks):
        continue
    crops = answer.scene.crop_embeddings / np.linalg.norm(
        answer.scene.crop_embeddings, axis=1, keepdims=True
    )
    v = {text: crops @ vector for text, vector in texts.phrases.items()}
    mine = {
        "d": direction(masks.centers_xy, answer.scene.size_hw, asks.directions),
        "z": size(masks.areas_px, asks.size),
    }
    if asks.relation in SIDES:
        fits = v[asks.landmarks[0]].astype(float)
        mine["r"] = beside(masks.centers_xy, masks.overlaps, fits, WAYS[SIDES[asks.relation]])
    if asks.order and asks.order[1] in WAYS and asks.thing:
        at = -masks.centers_xy @ np.array(WAYS[asks.order[1]])
        mine["o"] = order_from(at, v[asks.thing].astype(float), masks.overlaps, asks.order[0])
    if terms["h"].any():
        mine["h"] = v[asks.thing] - terms["v"]
    for name, values in mine.items():
        assert np.allclose(values, terms[name], atol=1e-4), (name, row.text)
        checked[name] += bool(np.any(terms[name]))
print("sentences in which each term is not 0, all of them as written here:", checked)


# %% [markdown]
# ## What each term brings
#
# Each term left out, by what the sentence asks for; and TAS as it was. The same sentences, so the interval is of each sentence's own change; pictures are drawn, not sentences.

# %% tags=["definition"]
def answered(scores, weights, sample_ids):
    """IoU of each sentence's best sum of terms; 0 where no mask was proposed."""
    total = sum(weight * scores[f"term_{name}"] for name, weight in weights.items() if weight)
    best = total.groupby(scores["sample_id"]).idxmax()
    found = scores["intersection_px"][best] / scores["union_px"][best]
    return pd.Series(found.to_numpy(), best.index).reindex(sample_ids).fillna(0).to_numpy()


# %% tags=["definition"]
def interval(values, pictures, n_boot=1000):
    """The 95 % interval of a mean, pictures drawn with replacement: notebook 06 writes it out."""
    ratio = {"mean": (np.asarray(values), np.ones(len(values)))}
    found = bootstrap_ratios(ratio, pictures, n_resamples=n_boot)["mean"]
    return found.low, found.high


# %%
own, ids = run.record.weights, samples["sample_id"]
whole = answered(scores, own, ids)
assert np.allclose(whole, samples["iou"], atol=1e-6)
without = {f"without {name}": own | {name: 0} for name in "dzrohw"}
without |= {"without P and N": own | {"p": 0, "n": 0}}
without |= {"V, P and N alone": own | none, "V alone": dict.fromkeys(own, 0) | {"v": 1}}
rows = []
for name, weights in without.items():
    change = whole - answered(scores, weights, ids)
    for kind in kinds:
        some = kinds[kind].to_numpy()
        if some.any():
            low, high = interval(change[some], run.images[some], n_boot)
            rows.append([name, kind, some.sum(), 100 * change[some].mean(), 100 * low, 100 * high])
gains = pd.DataFrame(rows, columns=["against", "asks", "n", "gain", "low", "high"])
said = gains.assign(
    gain=[f"{g:+.1f} [{a:+.1f}, {b:+.1f}]" for g, a, b in gains[["gain", "low", "high"]].to_numpy()]
)
table = said.pivot(index="against", columns="asks", values="gain").loc[list(without)]
sizes = gains.groupby("asks")["n"].first()
table.columns = [f"{kind} (n = {sizes[kind]})" for kind in table]
display(table)

# %% [markdown]
# Points of mIoU that the whole preset gains over each row. The terms d, z, r, o and h leave a sentence that asks for none of these exactly as it was, which the next cell asserts.

# %%
rest = kinds["none of these"].to_numpy()
plain = own | dict.fromkeys("dzroh", 0)
assert (whole[rest] == answered(scores, plain, ids)[rest]).all()

# %% [markdown]
# ## The same terms with other methods
#
# Are the terms worth something apart from TAS? Any method that scores the masks by cosines can carry them: it is asked for the bare thing, and d, z, r, o and w are added with the same weights.

# %%
added = {name: own[name] for name in "dzrow" if name in own}
of_masks = {name: some.to_numpy() for name, some in iou.groupby(scores["sample_id"])}
carried = []
for image_id, rows in samples.groupby("image_id"):
    image, scene = gallery.picture(image_id)
    things = [read[samples.index.get_loc(row)].thing or rows.loc[row, "text"] for row in rows.index]
    for name in ("clip_only", "text_only", "global_local") if len(scene.proposals) else ():
        method = make_method(name, tas, run.family)
        for bare, texts in ((False, rows["text"]), (True, things)):
            said = [parse_expression(text, tas.language, tas.preset) for text in texts]
            for row, found in zip(rows.index, answers_of(method, scene, said, image), strict=True):
                terms = ask(row, tas.preset).terms
                total = found.total + bare * sum(w * terms[t] for t, w in added.items())
                right = of_masks[rows.loc[row, "sample_id"]][total.argmax()]
                carried.append([name, row, image_id, bare, right])
carried = pd.DataFrame(carried, columns=["method", "row", "picture", "graded", "iou"])
both = carried.pivot(
    index=["method", "row", "picture"], columns="graded", values="iou"
).reset_index()
peers = {
    name: [
        some[False].mean(),
        some[True].mean(),
        (gain := some[True] - some[False]).mean(),
        *interval(gain, some["picture"], n_boot),
    ]
    for name, some in both.groupby("method", sort=False)
}
pd.DataFrame(peers, index=["alone", "with the terms", "gain", "low", "high"]).T.mul(100).round(1)

# %% [markdown]
# ## Where it fails
#
# The relation of each sentence, and how often its answer is right (IoU of at least a half) where a mask was right at all. *In front of* and *behind* are told from the lower edges of two masks, which says little in a drawn world without a floor.

# %%
relation = pd.Series([asks.relation for asks in read], index=samples.index)
able = samples["oracle_iou"] >= 0.5
right = (samples["iou"] >= 0.5)[able & relation.ne("")].groupby(relation)
pd.DataFrame({"right, percent": right.mean().mul(100).round(0), "n": right.size()})

# %%
wrong = samples.index[able & (samples["iou"] < 0.1) & kinds[["order", "relation"]].any(axis=1)][:3]
show.gallery(
    [
        show.Example(one.image, ask(row, tas.preset), one.truth, f"row {row}")
        for row, one in ((row, gallery.example(row)) for row in wrong)
    ]
) if len(wrong) else print("no such failure among these sentences")

# %% [markdown]
# ## A ladder: parts replaced by the truth
#
# The drawn world knows what stands in it. So one part after another can be made perfect, and the rest of the method is left to work with it: the captions, told from the scene graph (each mask is called by the colour and name of the thing that it covers, one that covers none by nothing, the picture by all of its things; `gallery.told`); then the masks as well. P and N live on the captions, and here their weights may be larger (0.3 each, set beforehand).

# %%
ladder, bold = [], {"p": 0.3, "n": 0.3}
drawn = all(gallery.things(one)[0] for one in scenes)
for image_id, rows in samples.groupby("image_id") if drawn else ():
    image, scene = gallery.picture(image_id)
    perfect = tas.describe(image, image_id, masks=gallery.things(image_id)[1])
    rungs = {
        "as it is": (scene, None),
        "true captions": (gallery.told(image_id, scene), bold),
        "true captions and masks": (gallery.told(image_id, perfect), bold),
    }
    for row, text in rows["text"].items():
        truth = gallery.example(row).truth
        for rung, (one, weights) in rungs.items():
            found = refer(one, text, tas.encoder, tas.language, tas.preset, run.family, weights)
            mask = found.mask()
            ladder.append([rung, image_id, (mask & truth).sum() / max((mask | truth).sum(), 1)])
ladder = pd.DataFrame(ladder, columns=["replaced", "picture", "iou"])
steps = {
    rung: [some["iou"].mean(), *interval(some["iou"], some["picture"], n_boot)]
    for rung, some in ladder.groupby("replaced", sort=False)
}
pd.DataFrame(steps, index=["mIoU", "low", "high"]).T.mul(100).round(1)

# %% [markdown]
# The last rung is not 100: what remains is telling things apart by their crops, and reading.
#
# ## On photographs
#
# The same terms with smaller weights (`photo_graded`) against `photo`, of which no network was trained here: three pictures of valP, composed of cut-outs of photographs, the same sentences. So few show how it is done and decide nothing. On the whole of testP, which was looked at once, the gain on refscenes was +4.6 [3.4, 5.8] points (n = 1722).

# %%
of_photos = [
    run_of("refscenes valP", tasutils.load(name), min(limit, 3), results, progress=False)
    for name in ("photo", "photo_graded")
]
photos = (
    diff_runs(*of_photos)
    .numbers.query("metric == 'miou'")
    .rename(
        columns={
            "first": "photo",
            "second": "photo_graded",
            "n_images": "pictures",
            "difference": "mean",
        }
    )
)
columns = ["photo", "photo_graded", "pictures", "mean", "low", "high", "n"]
tables.interval_table(
    photos[columns],
    "refscenes valP, the first pictures: mIoU of both as fractions, then the gain in points",
    signed=True,
)

# %% [markdown]
# ## What it would mean for RefCOCO
#
# The share of sentences that ask, counted in the annotations where they are there (`tas data get refcoco`); the terms can do nothing for the others.

# %%
shares = {}
for family in ("refscenes", "refscenes+", "refscenesg", "refcoco", "refcoco+", "refcocog"):
    try:
        texts = [s.text for s in load_dataset(family, "val").samples]
    except tasutils.TasError:
        print(f"{family} is not here; get it with: tas data get {family}")
        continue
    found = pd.DataFrame([tas.language.parse(text).asks.findings() for text in texts]).notna()
    shares[f"{family} val (n = {len(texts)})"] = found.mean().mul(100).round(1)
pd.DataFrame(shares).fillna(0)

# %% [markdown]
# ## Your turn
#
# * Set `preset = "photo_graded"` and `data = "refscenes valP"`: which term helps on photographs, and which does not?
# * Give *middle* to `order_from`: as many before as behind.
# * Let `beside` ask for *between*: two landmarks, and near to both.

# %% [markdown]
# ## What was seen
#
# Computed from the tables above, not written beforehand:

# %%
best = gains[gains["against"] == "V, P and N alone"].set_index("asks")
clear = best[best["low"] > 0]
told = "; ".join(f"{kind} {row['gain']:+.1f}" for kind, row in clear.iterrows())
Markdown(f"""
* {len(outside)} of {n_asked} sentences with a direction mean a thing whose best mask lies outside of the halves.
* Against V, P and N without a rectifier the gain is clear for these, in points: {told or "none"} (n = {len(samples)}).
* With the same terms other methods gain too: {", ".join(f"{name} {100 * told[2]:+.1f}" for name, told in peers.items())} points.
* mIoU with parts replaced by the truth: {"; ".join(f"{rung} {100 * step[0]:.1f}" for rung, step in steps.items())}.
* On {photos["n"].iloc[0]} sentences about photographs the gain is {tables.percent(*photos.iloc[0][["mean", "low", "high"]], signed=True)} points.
* Sentences that ask for none of these are answered as they were by d, z, r, o and h, all {int(rest.sum())} of them.
""")
