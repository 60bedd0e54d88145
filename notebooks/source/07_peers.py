# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 07 · The peers: does TAS beat the others?
#
# In this notebook you set TAS beside the methods that it is compared with: all of them choose among the same masks, with the same networks, for the same sentences, and are measured by the same rule. So a difference in the table is a difference between methods, and nothing else.
#
# **What you'll do:** look at one picture through the eyes of every method, write one of them out in torch, read the table and who is right on which sentences, and add a method of your own in a few lines.
# **What you'll learn:** what a map, a crop and a caption each see; how much of a published gap is proposals rather than method.
# **What you'll need:** nothing but the repository. Where several methods have answered a split (`tas evaluate refscenes val --method all`), those runs are shown; without them the first pictures are answered here, and nothing is written but their scenes. **Takes:** about a minute on two idle CPU cores, without stored runs.

# %% tags=["parameters"]
preset = "tiny"
data = "refscenes val"  # data set and split of the pictures below
number = 7  # which picture to look at, from 0; of fewer the last
limit = 8  # pictures that are answered here
map_limit = 3  # pictures whose maps are judged alone
n_boot = 1000  # bootstrap resamples of images
results = ""  # the folder of the runs; empty: results

# %%
from importlib.resources import files
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from IPython.display import Markdown, display
from torch.nn.functional import normalize

import tasutils
from tasutils import paths, study
from tasutils.baselines import METHODS, answers_of, lacking, make_method
from tasutils.classifier import COLORS, color_shares
from tasutils.controls import MASKS, picks
from tasutils.datasets import load_dataset
from tasutils.engines import counted
from tasutils.metrics import bootstrap
from tasutils.notebooks import refuse_unknown
from tasutils.refer import parse_expression
from tasutils.runs import list_runs
from tasutils.store import SceneStore, scene_key

refuse_unknown()

# %% [markdown]
# ## One picture, three sentences
#
# The picture is described once; its scene is kept in the store. What follows differs only in who chooses.

# %%
tas, dataset = tasutils.load(preset), load_dataset(*data.split())
results = Path(results or paths.RESULTS)
store, digest = SceneStore(results / "scenes"), tas.preset.describe_digest()


def described(image_id):
    """A picture and its scene, out of the store if it is there."""
    image = tasutils.read_image(dataset.image_path(image_id))
    scene = store.get(scene_key(image, digest))
    if scene is None:
        scene = tas.describe(image, image_id)
        store.put(scene_key(image, digest), scene)
    return image, scene


# %%
image_id = dataset.image_ids[min(number, len(dataset.image_ids) - 1)]
image, scene = described(image_id)
masks = scene.proposals.masks()  # bool (n, H, W)
samples = dataset.by_image()[image_id]
three = [samples[i] for i in np.linspace(0, len(samples) - 1, 3).astype(int)]
read = [parse_expression(sample.text, tas.language, tas.preset) for sample in three]
truths = [dataset.gt_mask(sample) for sample in three]
here = [name for name in METHODS if not lacking(name)]
methods = {name: make_method(name, tas, dataset.name) for name in here}
print(len(methods), "methods choose among", len(masks), "masks")


# %%
def iou(a, b):
    return (a & b).sum() / max((a | b).sum(), 1)


def line(ax, mask, color, **look):
    """The outline of a mask; the rim is added so that it closes at the picture's edge."""
    y, x = (np.arange(-1, side + 1) for side in mask.shape)
    if mask.any():
        ax.contour(x, y, np.pad(mask, 1), [0.5], colors=[color], **look)


def row(method):
    """What a method answers to the three sentences, and the map that it draws, if it does."""
    figure, axes = plt.subplots(1, 3, figsize=(10, 2.9), layout="constrained")
    answers = answers_of(method, scene, read, image)
    for ax, expression, truth, answer in zip(axes, read, truths, answers, strict=True):
        if hasattr(method, "heatmap"):
            ax.imshow(image.mean(axis=2), cmap="gray")
            ax.imshow(method.heatmap(image, expression), cmap="inferno", vmin=0, vmax=1, alpha=0.65)
        else:
            ax.imshow(image)
        line(ax, answer.mask(), "#E69F00", linewidths=2)
        line(ax, truth, "#56B4E9", linewidths=1.2, linestyles="dashed")
        title = f"{expression.text}\nIoU {iou(answer.mask(), truth):.2f}"
        ax.set_title(title, fontsize=8, wrap=True, parse_math=False)
        ax.set_axis_off()
    return figure


# %% [markdown]
# ## Those that look at crops, captions and patches
#
# Orange: the answer. Dashed blue: what is meant.
#
# * **clip_only**: each mask is cut out of the picture, everything outside it painted black, and CLIP says how well the sentence fits the cutting. This is V of TAS, taken alone. It knows what a thing is, and nothing of where it lies: a cutting carries no left or right, and no neighbour to be left of.
# * **text_only**: the captioner puts each cutting into words, and CLIP's text tower compares two sentences: the caption and yours. This is P of TAS, taken alone. What the caption leaves out is lost, and what it gets wrong is believed.
# * **tas**: V and P together, less N, the mean cosine with noun phrases that are *not* meant. Then the rectifier keeps the masks whose centres lie where the sentence's direction word says. Notebook 06 takes it apart.
# * **global_local** (Yu, Seo, Son 2023): two views of each mask, the whole picture with the features outside the mask put out late in the network, so that the context has already been seen, and the cutting on a plain ground. Their features are mixed, 95 to 5; on the text side the sentence is mixed with its head noun phrase, half and half. `_rn` is its form for a ResNet.
# * **hybridgl** (HybridGL, 2025): two views of each mask, all else of one colour or blurred, run side by side through CLIP and are mixed in its last blocks. Of the three masks that fit best, those win that stand to other things as the sentence says, and on which a map of the head phrase lies. In its released code "right" states no relation; a switch mends it.

# %%
print("the best mask of each:", *(f"{max(iou(m, truth) for m in masks):.2f}" for truth in truths))
for name in ("clip_only", "text_only", "tas", "global_local", "global_local_rn", "hybridgl"):
    display(Markdown(f"**{name}**"))
    display(row(methods[name]))
    plt.close()


# %% [markdown]
# ## Written out: Region Token (Yu, Seo, Son 2023)
#
# Nothing is cut out. A class token for each mask runs beside the picture's own through all blocks of CLIP's ViT, and may look only at the patches that its mask covers and at itself. So all there is to it is one attention mask: rows ask, columns are asked.
#
# The grid is coarse: a mask smaller than a patch may cover none, and then its token sees nothing at all. The package does it in the same way.

# %% tags=["region-token"]
def region_tokens(clip, pixels, masks):
    """One embedding for each of the masks bool (n, H, W), float32 (n, d); pixels: (1, 3, s, s)."""
    visual, n = clip.model.visual, len(masks)
    grid = visual.conv1(pixels)  # (1, width, h, w)
    patches = grid.flatten(2).mT[0]  # (p, width)
    x = torch.cat([visual.class_embedding[None], patches]) + visual.positional_embedding
    covered = torch.from_numpy(masks)[:, None].float()
    covered = torch.nn.functional.interpolate(covered, grid.shape[2:]).flatten(1) > 0  # (n, p)
    p = len(patches)
    sees = torch.full((1 + p + n, 1 + p + n), -torch.inf)
    sees[: 1 + p, : 1 + p] = 0  # the picture's own tokens: each other
    sees[1 + p :, 1 : 1 + p] = torch.where(covered, 0.0, -100.0)  # a mask's: its patches
    sees[1 + p :, 1 + p :].fill_diagonal_(0)  # and itself
    x = visual.ln_pre(torch.cat([x, x[:1].expand(n, -1)]))  # class, patches, then the masks
    for block in visual.transformer.resblocks:
        x = block(x[None], attn_mask=sees)[0]
    return normalize(visual.ln_post(x[1 + p :]) @ visual.proj, dim=-1)


# %%
method = methods["region_token"]
clip, side = method.encoder, method.encoder.image_size
square = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255
square = torch.nn.functional.interpolate(
    square, (side, side), mode="bicubic", antialias=True, align_corners=False
).clamp(0, 1)  # stretched, not cut: the grid lies over the whole picture
with torch.inference_mode():
    tokens = region_tokens(clip, clip.pixel_values(square), masks).numpy()
template = clip.config.template
for expression, answer in zip(read, answers_of(method, scene, read, image), strict=True):
    scores = tokens @ clip.encode_text([template.format(expression.text)])[0]
    # masks that cover the same patches tie but for rounding
    assert np.allclose(scores, answer.total, atol=1e-4)
row(method)
plt.show()

# %% [markdown]
# ## Those that draw a map
#
# Bright: where the sentence is likeliest. The mask with the highest mean inside is the answer (orange).
#
# * **score_map** (after Zhou, Loy, Dai 2022): CLIP's pooling is left out; its value projection is applied to every place of the last map, and each place is compared with the sentence by itself. Known to be turned around on ViTs (`_vit`), where things come out dark and their surroundings bright.
# * **grad_cam** (Selvaraju and others 2017): the similarity of picture and sentence is differentiated by the last map; channels that would raise it count with their mean gradient, and what remains positive is drawn. It answers "what made the whole picture fit the sentence", which need not be the thing that is meant.
# * **clip_surgery** (Li and others 2023): the attention of the last blocks compares values with values, so that a place keeps to its own kind; then what all texts have in common is taken away. A sentence is the mean over 85 templates, which makes it the dearest of all in text.
# * **tseg** (Strudel, Laptev, Schmid 2022): the only one that is trained for the task, from pictures and sentences without masks. No public code exists; this one is written from the article, and appendix A6 trains it.

# %%
for name, method in methods.items():
    if hasattr(method, "heatmap"):
        display(Markdown(f"**{name}**"))
        display(row(method))
        plt.close()


# %% [markdown]
# ### The maps without proposals
#
# *pointing*: the share of sentences whose brightest pixel lies on the target. *cut at 0.5*: mIoU of the map cut at one half. *best cut*: at the cut that is best on these very sentences, so it flatters. Compare with the oracle of the masks below: what proposals add to a map is shape.

# %%
def map_rows(image_ids):
    """One row a method, sentence and cut: IoU of the map alone, and whether it points right."""
    for image_id in counted(image_ids, "maps alone", len(image_ids)):
        image = tasutils.read_image(dataset.image_path(image_id))
        for sample in dataset.by_image()[image_id]:
            truth = dataset.gt_mask(sample)
            expression = parse_expression(sample.text, tas.language, tas.preset)
            for name, method in methods.items():
                if hasattr(method, "heatmap"):
                    heat = method.heatmap(image, expression)
                    hit = truth.flat[heat.argmax()]
                    for cut in np.arange(1, 10) / 10:
                        yield name, cut, hit, iou(heat > cut, truth)


found = map_rows(dataset.image_ids[:map_limit])
alone = pd.DataFrame(found, columns=["method", "cut", "hit", "iou"])
by_cut = alone.pivot_table(index="method", columns="cut", values="iou", sort=False)  # mIoU
maps = pd.DataFrame({
    "pointing": alone.groupby("method", sort=False)["hit"].mean(), "cut at 0.5": by_cut[0.5],
    "best cut": by_cut.idxmax(axis=1), "mIoU there": by_cut.max(axis=1),
})  # fmt: skip
print(f"{data}, partial: the first {map_limit} of {len(dataset.image_ids)} pictures")
maps.astype(float).round(3)

# %% [markdown]
# ## Those of today, that draw a mask of their own
#
# None of the methods above asks a network of 2025. These do, and they need no proposals:
#
# * **sam3** (Carion and others 2025): SAM 3 looks for every thing that a few words name, and draws each. A referring sentence is more than that, as its own card says; its surest thing is taken here.
# * **grounded**: Grounding DINO finds the surest box for the sentence, and SAM 2 draws what stands in it.
# * **florence2** (Xiao and others 2024): one network writes the outline as a row of words for places.
#
# Each is asked twice. `sam3` is measured by the mask that it draws. `sam3_chooses` takes the proposal which that mask fits best, so that everyone has the same masks to choose among: what is left of a gap then is the choice, not the shape. Where a network draws nothing sure, its best guess is taken, and the answer says so.
#
# Their weights are large and do not ship. What is missing is named here, with the command that fetches it.

# %%
for name in METHODS:
    if "_chooses" not in name and (what := lacking(name)):
        print(f"{name}: {what}")
for name in ("sam3", "sam3_chooses", "grounded", "florence2"):
    if name in methods:
        display(Markdown(f"**{name}**"))
        display(row(methods[name]))
        plt.close()

# %% [markdown]
# ### What each network has seen
#
# All of RefCOCO's pictures, those of val and test too, lie in COCO's train set of 2014. A network that learned from COCO's masks, or from RefCOCO's sentences, has seen the very pictures of the exam, and its number there is no zero-shot number, however it is called. Half of Visual Genome, and with it PhraseCut, are COCO pictures as well. *not stated*: the sources that were read name it neither way, which is not the same as no.

# %%
seen = files("tasutils") / "seen.csv"
pd.read_csv(seen.open(encoding="utf-8"), dtype=str, keep_default_na=False)


# %% [markdown]
# ## The table
#
# Runs of several methods over the same sentences: the newest there are, or else the first pictures answered now. *won* and *lost* count sentences whose IoU is more than 0.05 above or below that of the first line.

# %%
def finished(folder):
    """Samples of the newest runs of as many methods as possible over the same sentences."""
    same = {}
    for run in sorted(list_runs(folder), key=lambda run: run.record.created):
        record = run.record
        if record.preset == tas.preset.name and record.metrics:
            split = same.setdefault((record.dataset, record.split), {})
            split.setdefault((record.index_digest, record.n_used), {})[record.method] = run
    for split in same.values():
        runs = max(reversed(list(split.values())), key=len)  # of as many methods the newest
        for name in [m for m in METHODS if m in runs] if len(runs) > 1 else []:
            record, table = runs[name].record, runs[name].samples
            table = table[table["gt_area_px"].notna()]
            for who in MASKS if "central_union_px" in table else ():
                alone = table[f"{who}_intersection_px"] / table[f"{who}_union_px"]
                table = table.assign(**{f"{who}_iou": alone})
            yield table.assign(method=name, split=f"{record.dataset} {record.split}")


def answered(methods, image_ids):
    """The same columns for some pictures, answered now; one row a method and sentence."""
    for image_id in counted(image_ids, "answered", len(image_ids)):
        image, scene = described(image_id)
        masks, asked = scene.proposals.masks(), dataset.by_image()[image_id]
        truths = [dataset.gt_mask(sample) for sample in asked]
        best = [max((iou(mask, truth) for mask in masks), default=0.0) for truth in truths]
        for method in methods:
            texts = [s.raw if getattr(method, "field", "") == "raw" else s.text for s in asked]
            said = [parse_expression(text, tas.language, tas.preset) for text in texts]
            answers = answers_of(method, scene, said, image)
            for sample, truth, oracle, answer in zip(asked, truths, best, answers, strict=True):
                mask = answer.mask()
                yield {
                    "method": method.name, "split": data, "sample_id": sample.sample_id,
                    "image_id": image_id, "text": sample.text, "oracle_iou": oracle,
                    "intersection_px": (mask & truth).sum(), "union_px": (mask | truth).sum(),
                    "gt_area_px": truth.sum(), "iou": iou(mask, truth),
                    **{
                        f"{who}_iou": iou(masks[k], truth) if k >= 0 else 0.0
                        for who, k in picks(scene, sample.sample_id).items()
                    },
                }  # fmt: skip


# %%
shown = list(finished(results))
if not shown:
    shown = [pd.DataFrame(answered(methods.values(), dataset.image_ids[:limit]))]
columns = ["method", "split", "sample_id", "image_id", "text", "oracle_iou", "gt_area_px", "iou"]
columns += ["intersection_px", "union_px", *(f"{who}_iou" for who in MASKS)]
rows = pd.concat(shown).reindex(columns=columns)
whole = {split: len(load_dataset(*split.split())) for split in rows["split"].unique()}
first = "tas" if "tas" in set(rows["method"]) else rows["method"].iloc[0]
n = rows.drop_duplicates(["split", "sample_id"]).groupby("split").size()
note = "; ".join(f"{s}: {n[s]} sentences{'' if n[s] == whole[s] else ', partial'}" for s in n.index)
note = f"preset {tas.preset.name}; {note}"
print(note)


# %%
def pixels(part):
    part = part.sort_values(["split", "sample_id"])
    return (part["intersection_px"], part["union_px"]), part["image_id"], part["iou"].to_numpy()


def line_of(part, base):
    """mIoU of a method's sentences in percent, with intervals over pictures, beside another's."""
    (pair, images, own), (other, _, theirs) = pixels(part), pixels(base)
    found = bootstrap(*pair, images, ("miou",), n_resamples=n_boot)["miou"]
    gain = study.gain(pair, other, images, n_boot)
    return {
        "n": found.n, "mIoU": 100 * found.value, "low": 100 * found.low, "high": 100 * found.high,
        "gain": 100 * gain["mean"], "gain low": 100 * gain["low"], "gain high": 100 * gain["high"],
        "won": (own > theirs + 0.05).sum(), "lost": (own < theirs - 0.05).sum(),
        "oracle": 100 * part["oracle_iou"].mean(),
    }  # fmt: skip


def beside(rows, first):
    """One line a split and method, each beside the first method's answers."""
    for split, part in rows.groupby("split", sort=False):
        base = part[part["method"] == first]
        for name, own in part.groupby("method", sort=False):
            yield {"split": split, "method": name} | line_of(own, base)


table = pd.DataFrame(beside(rows, first))
chooses = ~table["method"].isin(["sam3", "grounded", "florence2"])  # the rest draw their own
assert (table["mIoU"] <= table["oracle"] + 1e-9)[chooses].all()
table.round(1)

# %% [markdown]
# ### Without reading the sentence
#
# What a random mask, the largest and the most central one reach on the same sentences, in percent. An answer that is always empty reaches nothing. A method that is not clearly above the best of these may not have read the sentence at all; `tas compare` stars it.

# %%
blind = rows[rows["method"] == first].groupby("split", sort=False)
blind = blind[[f"{who}_iou" for who in MASKS]].mean().mul(100).round(1)
blind.rename(columns={f"{who}_iou": name for who, name in MASKS.items()})

# %%
splits = list(table["split"].unique())
figure, axes = plt.subplots(
    1, len(splits), figsize=(3 + 2.6 * len(splits), 4), sharey=True, squeeze=False,
    layout="constrained",
)  # fmt: skip
for ax, (split, part) in zip(axes.flat, table.groupby("split", sort=False), strict=True):
    color = ["#D55E00" if name == first else "#0072B2" for name in part["method"]]
    ax.hlines(part["method"], part["low"], part["high"], color=color)
    ax.scatter(part["mIoU"], part["method"], color=color, zorder=3)
    ax.axvline(part["oracle"].iloc[0], color="grey", ls="--", lw=1)
    ax.set_title(f"{split}, n = {part['n'].iloc[0]}", fontsize=9, loc="left")
    ax.set_xlabel("mIoU, % (95 %); dashed: the oracle", fontsize=8)
axes[0, 0].invert_yaxis()

# %% [markdown]
# ## For which sentences
#
# The same answers, by what the sentence and its target are like. A method that is good at naming things need not be good at telling two of a kind apart. ▼ and ▲: below and above the first method, with a paired interval that leaves 0 out; no mark where there are fewer than 10 sentences, or an interval without width.

# %%
words = rows["text"].str.split().str.len()
picture_px = {split: load_dataset(*split.split()).size_hw for split in splits}
places = zip(rows["split"], rows["image_id"], strict=True)
share = rows["gt_area_px"] / [np.prod(picture_px[split](name)) for split, name in places]
groups = {
    "up to 3 words": words <= 3, "4 to 6 words": (words > 3) & (words <= 6),
    "7 words and more": words > 6, "under 1 % of the picture": share < 0.01,
    "1 to 5 %": (share >= 0.01) & (share < 0.05), "5 % and more": share >= 0.05,
}  # fmt: skip
cells = []
for group, member in groups.items():
    part = rows[member]
    for name, own in part.groupby("method", sort=False):
        found = line_of(own, part[part["method"] == first])
        sure = found["n"] >= 10 and found["gain low"] < found["gain high"]
        mark = "▼" * (found["gain high"] < 0) + "▲" * (found["gain low"] > 0)
        text = f"{found['mIoU']:.1f}{mark if sure else ''}"
        cells.append({"group": group, "n": found["n"], "method": name, "mIoU": text})
by_group = pd.DataFrame(cells)
by_group.pivot(index=["group", "n"], columns="method", values="mIoU")[list(rows["method"].unique())]

# %% [markdown]
# ## What has been published
#
# **Not comparable with anything above**: RefCOCO's photographs, other proposals, other networks; percent. *metric* is what the source calls it, with a question mark where it does not say. kind P is the authors' own table, S another paper's. *doubt* says what keeps a row from being read beside its neighbours. A blank cell has no source here.

# %%
published = files("tasutils") / "published.csv"
pd.read_csv(published.open(encoding="utf-8"), dtype=str, keep_default_na=False)


# %% [markdown]
# ## A method of your own
#
# A class with a name and a `score`: one number for each mask; the highest is its answer. One that chooses several masks or none, or draws a mask itself, has `answer` instead, which returns an `Answer` for each sentence. This one asks CLIP-only, and adds how much of a mask's pixels have a colour that the sentence names. Change it and run the cells below again.

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
row(Colored(tas))
plt.show()

# %% [markdown]
# Beside CLIP-only, on the first pictures: does the colour of the pixels add to what CLIP sees?

# %%
pair = [methods["clip_only"], Colored(tas)]
both = pd.DataFrame(answered(pair, dataset.image_ids[:limit]))
own = pd.DataFrame(beside(both, "clip_only"))
own.round(1)

# %% [markdown]
# ## What was seen
#
# * The networks of the preset tiny learned in this very world, so nothing here is zero-shot.
# * The oracle stands above every choice: proposals come first, and every method here shares them.
# * Published gaps between methods with *different* proposals are partly gaps between proposals.
# * And computed from the tables above, not written beforehand:

# %%
lines = [f"{note}."]
for split, part in table.groupby("split", sort=False):
    rest, lead = part[part["method"] != first], part[part["method"] == first].iloc[0]
    below = ", ".join(rest.loc[rest["gain high"] < 0, "method"]) or "none"
    above = ", ".join(rest.loc[rest["gain low"] > 0, "method"]) or "none"
    lines.append(
        f"{split}: {first} reaches {lead['mIoU']:.1f} [{lead['low']:.1f}, {lead['high']:.1f}] % of "
        f"the oracle's {lead['oracle']:.1f}. Clearly below it: {below}; clearly above: {above}; "
        "the rest is not told apart."
    )
gain = own.iloc[1]
ends = f"[{gain['gain low']:+.1f}, {gain['gain high']:+.1f}]"
lines.append(f"Colour of pixels on top of CLIP-only: {gain['gain']:+.1f} {ends} points of mIoU.")
display(Markdown("\n".join(f"* {line}" for line in lines)))
