# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 · Proposals: what do the masks allow at best?
#
# In this notebook you look at the masks before any sentence is read. An answer is one of the masks that were proposed, so it can only be as good as the best of them: the *oracle*. How good is that, which things have no good mask, and does FreeSOLO fall behind SAM where things hide and overlap, as the article says?
#
# **What you'll do:** write out non-maximum suppression and the oracle for one picture, check that the package gives the same, then run all makers over many pictures and turn their knobs.
# **What you'll learn:** what each maker misses, and what a setting costs in masks.
# **What you'll need:** nothing but the repository; for the preset `photo` its extra, which `make setup` installs. **Takes:** about a minute on two idle CPU cores.
#
# Mind what each maker was taught. The tiny SAM learned **from masks**: of drawn scenes, and of photographic cut-outs of which none is in valP or testP. The tiny FreeSOLO learned **without any mask label**, from free masks (appendix A5). So where SAM is ahead here, labels are a reason, beside the architecture. Published: SAM from 11 million pictures with masks, FreeSOLO from unlabelled ones. Free masks and merged superpixels, which stand beside SAM in the preset `photo`, never saw a mask: one has the features of an ImageNet classifier, the other colour and texture alone.

# %% tags=["parameters"]
preset = "tiny"  # whose maker of masks; its rivals come with it
data = "refscenes val"  # data set and split; choose settings on val and valP alone
limit = 20  # pictures
n_boot = 1000  # bootstrap resamples of images
number = 3  # which picture to look at, from 0; of fewer the last
knob_limit = 2  # pictures on which settings are turned

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

import tasutils
from tasutils import study
from tasutils.config import OverlapConfig
from tasutils.datasets import load_dataset
from tasutils.engines import counted
from tasutils.metrics import bootstrap
from tasutils.notebooks import refuse_unknown

refuse_unknown()

# %% [markdown]
# ## One picture, its masks and its targets
#
# Thin white lines: all masks that the preset's maker proposes. Dashed: the targets, the things that some sentence of the data set means. Filled: the best mask for each.

# %%
settings, samples = tasutils.load_preset(preset), load_dataset(*data.split())
image_id = samples.image_ids[min(number, len(samples.image_ids) - 1)]
image = tasutils.read_image(samples.image_path(image_id))  # uint8 (H, W, 3)
targets = {sample.ref_id: sample for sample in samples.by_image()[image_id]}
truths = [samples.gt_mask(sample) for sample in targets.values()]  # bool (H, W) each
print("targets:", *{sample.category: None for sample in targets.values()}, sep=" · ")


# %% tags=["definition"]
def iou(masks, truth):
    """Intersection over union of each mask (n, H, W) with one (H, W)."""
    both = (masks & truth).sum(axis=(1, 2))
    return both / np.maximum((masks | truth).sum(axis=(1, 2)), 1)


# %%
def line(ax, mask, color, **look):
    """The outline of a mask; the rim is added so that it closes at the picture's edge."""
    y, x = (np.arange(-1, side + 1) for side in mask.shape)
    ax.contour(x, y, np.pad(mask, 1), [0.5], colors=[color], **look)


def draw(ax, masks, title):
    ax.imshow(image)
    for mask in masks:
        line(ax, mask, "white", linewidths=0.5)
    for place, truth in enumerate(truths):
        if len(masks):
            best = masks[iou(masks, truth).argmax()]
            ax.imshow(np.where(best[..., None], plt.cm.tab10(place % 10, alpha=0.4), 0))
        line(ax, truth, f"C{place % 10}", linewidths=1.5, linestyles="dashed")
    ax.set_title(title, fontsize=9, loc="left", parse_math=False)
    ax.set_axis_off()


# %%
proposer = tasutils.load(settings, device="cpu").proposer
masks = proposer(image).masks()  # bool (n, H, W)
figure, ax = plt.subplots(figsize=(6, 4.6), layout="constrained")
draw(ax, masks, f"{len(masks)} masks of preset {settings.name}")


# %% [markdown]
# ## Written out: non-maximum suppression
#
# SAM is asked at a grid of points, and neighbouring points give the same thing over and over. So masks are taken by falling score, and one goes when its box overlaps that of a better one by more than a threshold.

# %% tags=["nms"]
def nms(boxes_xyxy, scores, iou_thresh):
    """Indices of the boxes (n, 4) that stay, the best first."""
    sides = boxes_xyxy[:, 2:] - boxes_xyxy[:, :2]
    area, kept = sides.prod(axis=1), []
    for index in np.argsort(-scores, kind="stable"):
        low = np.maximum(boxes_xyxy[index, :2], boxes_xyxy[kept, :2])
        high = np.minimum(boxes_xyxy[index, 2:], boxes_xyxy[kept, 2:])
        shared = np.clip(high - low, 0, None).prod(axis=1)
        iou = (shared / (area[index] + area[kept] - shared)).astype(float)
        if not (iou > iou_thresh).any():
            kept.append(int(index))
    return kept


# %%
own = settings.proposals
sam = own if own.kind == "sam" else getattr(own, "sam", None)
if sam is None:
    print(f"{own.kind} has no box NMS: FreeSOLO lowers the scores of doubles instead (matrix NMS)")
elif sam.crop_n_layers or sam.min_mask_region_area:
    print("crop_n_layers or min_mask_region_area is set: SAM then suppresses twice, not once")
else:
    every = sam.model_copy(update={"box_nms_thresh": 1.0}).make(OverlapConfig())(image)
    package = sam.make(OverlapConfig())(image)
    boxes = every.boxes_xyxy - np.float32([0, 0, 1, 1])  # SAM's end on a mask's last pixel
    kept = nms(boxes, every.predicted_iou, sam.box_nms_thresh)
    assert [every.rles[index] for index in kept] == package.rles
    print(f"{len(every)} masks, of which {len(kept)} stay: those of the package")

# %% [markdown]
# ## Written out: the oracle
#
# For each target the mask with the highest IoU. That is all: nothing that comes later can do better.

# %%
oracle = np.array([iou(masks, truth).max(initial=0.0) for truth in truths])
for sample, best in zip(targets.values(), oracle, strict=True):
    print(f"{best:.2f}  {sample.category}")


# %% [markdown]
# ## The makers side by side
#
# Each is a preset that differs from the others in its part `proposals`, and in nothing else. Those whose weights are not here are left out.

# %%
def rivals(settings):
    """Changes of a preset by the maker of masks that they put in its place."""
    own = settings.proposals
    if own.kind == "sam":
        size = "tiny" if own.size == "tiny" else "r101"
        file = "tiny/freesolo.safetensors" if size == "tiny" else "paper/FreeSOLO_R101_30k_pl.pth"
        freesolo = {"kind": "freesolo", "size": size, "checkpoint": file}
        return {"SAM": {}, "FreeSOLO": {"proposals": freesolo}}
    if own.kind != "union":
        return {own.kind: {}}
    no = {name: {f"proposals.{name}": None} for name in ("sam", "merge", "free")}
    free = {"proposals.free": {"kind": "free", "checkpoint": settings.encoder.checkpoint}}
    return {
        "SAM": no["merge"] | no["free"], "free masks": no["sam"] | no["merge"] | free,
        "merged superpixels": no["sam"] | no["free"], "SAM and merged": no["free"],
        "all three": free,
    }  # fmt: skip


# %%
makers = {}
for name, changes in rivals(settings).items():
    made = settings.override(changes)
    files = [path for field, path in made.weight_paths().items() if field.startswith("proposals")]
    if all(path.exists() for path in files):
        makers[name] = tasutils.load(made, device="cpu").proposer
first, second = list(makers)[0], list(makers)[min(1, len(makers) - 1)]

# %%
figure, axes = plt.subplots(
    -(-len(makers) // 2), 2, figsize=(10, 4 * -(-len(makers) // 2)), layout="constrained",
    squeeze=False,
)  # fmt: skip
for ax in axes.flat[len(makers) :]:
    ax.set_axis_off()
for ax, (name, maker) in zip(axes.flat, makers.items(), strict=False):
    found = maker(image).masks()
    best = ", ".join(f"{iou(found, truth).max(initial=0.0):.2f}" for truth in truths)
    draw(ax, found, f"{name}: {len(found)} masks, best IoU {best}")


# %% [markdown]
# ## Many pictures
#
# The same for every picture and maker: one row for each target with the pixels of its best mask. Beside them stands what may make a target hard: how large it is, how much of it is hidden, if the data set knows, and how much of its box other targets cover (*crowding*).

# %% tags=["definition"]
def crowding(truths):
    """Of each target's box the share that other targets cover, 0..1; truths: bool (n, H, W)."""
    claimed = np.sum(truths, axis=0)
    shares = []
    for truth in truths:
        y, x = np.nonzero(truth)
        others = (claimed > truth) & ~truth
        box = others[y.min() : y.max() + 1, x.min() : x.max() + 1] if len(y) else others[:0]
        shares.append(box.mean() if box.size else 0.0)
    return shares


# %% tags=["definition"]
def oracle_rows(makers, samples, image_ids):
    """One row a maker and target: the pixels of its best mask, and what kind of target it is."""
    by_image = samples.by_image()
    for image_id in counted(image_ids, "proposals", len(image_ids)):
        image = tasutils.read_image(samples.image_path(image_id))
        targets = {sample.ref_id: sample for sample in by_image[image_id]}
        truths = np.stack([samples.gt_mask(sample) for sample in targets.values()])
        crowds = crowding(truths)
        for name, maker in makers.items():
            masks = maker(image).masks()
            for sample, truth, crowd in zip(targets.values(), truths, crowds, strict=True):
                ious = iou(masks, truth)
                best = masks[ious.argmax()] if len(masks) else np.zeros_like(truth)
                yield {
                    "maker": name, "image_id": image_id, "masks": len(masks),
                    "share": truth.mean(), "hidden": sample.flags.get("hidden_fraction", np.nan),
                    "crowding": crowd, "oracle_iou": ious.max(initial=0.0),
                    "intersection_px": (best & truth).sum(), "union_px": (best | truth).sum(),
                }  # fmt: skip


# %% [markdown]
# *Oracle mIoU*: the mean over targets of the IoU of their best mask; *oracle oIoU*: intersections over unions, both summed, so that large things count more. *Recall*: the share of targets with a mask of more than that IoU. *Masks*: the mean number a picture.

# %% tags=["definition"]
def summary(table):
    """One row a maker, in the order of the table."""
    by_maker = table.groupby("maker", sort=False)
    once = table.drop_duplicates(["maker", "image_id"]).groupby("maker", sort=False)
    over = {
        bar: table["oracle_iou"].gt(bar).groupby(table["maker"], sort=False) for bar in (0.5, 0.75)
    }
    return pd.DataFrame({
        "oracle_miou": by_maker["oracle_iou"].mean(),
        "oracle_oiou": by_maker["intersection_px"].sum() / by_maker["union_px"].sum(),
        **{f"recall@{bar}": better.mean() for bar, better in over.items()},
        "masks": once["masks"].mean(),
        "n_targets": by_maker.size(), "n_images": once.size(),
    })  # fmt: skip


# %%
table = pd.DataFrame(oracle_rows(makers, samples, samples.image_ids[:limit]))
here = table[(table["maker"] == first) & (table["image_id"] == image_id)]
if settings == settings.override(rivals(settings)[first]) and len(here):
    assert np.allclose(here["oracle_iou"], oracle)  # as written out above

found = summary(table)
n_images, whole = int(found["n_images"].iloc[0]), len(samples.image_ids)
n_targets = found["n_targets"].iloc[0]
note = f"preset {settings.name}, {data}, {n_targets} targets in {n_images} pictures"
note += f", partial: the first of {whole}" if n_images < whole else ""
print(note)
found[["oracle_miou", "oracle_oiou", "recall@0.5", "recall@0.75", "masks"]].round(3)

# %%
bars = np.arange(0.05, 1, 0.05)
reached = {name: part["oracle_iou"] for name, part in table.groupby("maker", sort=False)}
recall = pd.DataFrame(
    {name: [(ious > bar).mean() for bar in bars] for name, ious in reached.items()},
    index=pd.Index(bars, name="IoU of a target's best mask is over"),
)
assert (recall.diff().dropna() <= 0).all().all()
(100 * recall[list(makers)]).plot(
    figsize=(7, 3.6), ylabel="targets, %", ylim=(0, 100), marker="o", ms=4, grid=True
);

# %% [markdown]
# ## Where it gets hard
#
# Targets partly behind others, targets in whose box others reach, and small ones. Each group is one condition on the table. The intervals resample pictures, not targets, since targets of one picture are alike.

# %%
hidden, crowded, share = (table[name] for name in ("hidden", "crowding", "share"))
groups = {
    "all targets": share > 0,
    "10 % and more hidden": hidden >= 0.1,
    "less than 10 % hidden": hidden < 0.1,
    "others reach into 10 % of its box": crowded >= 0.1,
    "they reach into less": crowded < 0.1,
    "under 1 % of the picture": share < 0.01,
    "1 to 5 %": (share >= 0.01) & (share < 0.05),
    "5 % and more": share >= 0.05,
}


# %%
def reach(rows):
    """Oracle mIoU of some targets with its interval over pictures, percent."""
    pixels = (rows["intersection_px"], rows["union_px"])
    found = bootstrap(*pixels, rows["image_id"], ("miou",), n_resamples=n_boot)["miou"]
    return {"mIoU": 100 * found.value, "low": 100 * found.low, "high": 100 * found.high}


rows = [
    {"group": group, "maker": name, "n": len(part)} | reach(part)
    for group, member in groups.items()
    for name, part in table[member].groupby("maker", sort=False)
]
by_group = pd.DataFrame(rows)
wide = by_group.pivot(index="group", columns="maker", values="mIoU")
wide.loc[by_group["group"].unique()].round(1)

# %%
names, step = list(by_group["group"].unique()), 0.6 / len(makers)
figure, ax = plt.subplots(figsize=(8, 0.5 * len(names) + 1), layout="constrained")
for place, (name, part) in enumerate(by_group.groupby("maker", sort=False)):
    y = [names.index(group) + step * (place - (len(makers) - 1) / 2) for group in part["group"]]
    ax.hlines(y, part["low"], part["high"], color=f"C{place}")
    ax.plot(part["mIoU"], y, "osD^v"[place % 5], color=f"C{place}", label=name)
numbers = by_group.drop_duplicates("group")["n"]
ax.set_yticks(range(len(names)), [f"{g}, n = {n}" for g, n in zip(names, numbers, strict=True)])
ax.invert_yaxis()
ax.set_xlabel(f"oracle mIoU, % (95 % interval); {note}", fontsize=9)
ax.legend(ncols=3, fontsize=9, loc="upper left", bbox_to_anchor=(0, 1.14), frameon=False);


# %% [markdown]
# ### Does the second maker fall behind there?
#
# If hidden and overlapping things were its weakness, its distance to the first must be larger there than elsewhere. The differences are paired: same targets, same pictures.

# %%
def gap(rows):
    """The first maker's oracle mIoU less the second's, points, with its paired interval."""
    both = [rows[rows["maker"] == name] for name in (first, second)]
    pixels = [(part["intersection_px"], part["union_px"]) for part in both]
    found = study.gain(*pixels, both[0]["image_id"], n_boot)
    return {
        "points": 100 * found["mean"],
        "low": 100 * found["low"],
        "high": 100 * found["high"],
        "n": found["n"],
    }


gaps = pd.DataFrame({group: gap(table[who]) for group, who in groups.items() if who.any()}).T
assert np.isclose(
    gaps.loc["all targets", "points"],
    100 * (found.loc[first, "oracle_miou"] - found.loc[second, "oracle_miou"]),
)
gaps.astype({"n": int}).round(1)


# %% [markdown]
# ## Turning the knobs
#
# One setting at a time, on a few pictures. More points ask for more masks, higher thresholds keep fewer, and the article's filter drops masks under 2000 px and, of a pair that overlaps by more than 0.4, the smaller one. Those pixels were meant for photographs: 2000 px are 0.7 % of 640 x 480, and 2.6 % of a drawn scene. What is not proposed cannot be chosen; but each mask more is one more to embed, to caption, and to be wrong about.

# %%
def around(field, values):
    """Changes of one setting of the masks, by its value; the preset's own is among them."""
    own = getattr(settings.proposals, field)
    return {f"{value:g}": {f"proposals.{field}": value} for value in sorted({own, *values(own)})}


def near(own):
    return [round(own + step, 2) for step in (-0.2, 0.2) if own + step < 1]


kinds = {
    "sam": {
        "points_per_side": lambda own: (max(own // 2, 1), 2 * own), "pred_iou_thresh": near,
        "stability_score_thresh": near, "box_nms_thresh": lambda own: (0.5, 0.9),
    },
    "union": {"mask_nms_thresh": lambda own: (0.6, 0.9)},
}  # fmt: skip
knobs = {field: around(field, values) for field, values in kinds.get(own.kind, {}).items()}
knobs["filter after it"] = {
    "its own": {}, "none": {"overlap.min_area_px": 0, "overlap.max_overlap": None},
    "over 2000 px": {"overlap.min_area_px": 2000, "overlap.max_overlap": None},
    "over 2000 px, no pairs": {"overlap.min_area_px": 2000, "overlap.max_overlap": 0.4},
}  # fmt: skip

# %%
turned = []
for field, values in knobs.items():
    presets = {value: settings.override(changes) for value, changes in values.items()}
    made = {value: tasutils.load(one, device="cpu").proposer for value, one in presets.items()}
    few = samples.image_ids[: min(limit, knob_limit)]
    seen = summary(pd.DataFrame(oracle_rows(made, samples, few)))
    turned.append(seen.rename_axis("value").reset_index().assign(setting=field))
turned = pd.concat(turned)[["setting", "value", "oracle_miou", "recall@0.5", "masks", "n_targets"]]
print(f"{data}, partial: {turned['n_targets'].iloc[0]} targets")
turned.round(3)

# %%
figure, axes = plt.subplots(
    1, len(knobs), figsize=(2.6 * len(knobs), 3), sharey=True, squeeze=False, layout="constrained"
)
for ax, (field, part) in zip(axes.flat, turned.groupby("setting", sort=False), strict=True):
    ax.plot(part["value"], 100 * part["oracle_miou"], "o-")
    ax.set_title(field, fontsize=9, loc="left")
    ax.tick_params(axis="x", rotation=30 if field == "filter after it" else 0, labelsize=8)
    ax.grid(axis="y")
axes[0, 0].set_ylabel("oracle mIoU, %");

# %% [markdown]
# ## What was seen
#
# * No choice among masks can be better than the oracle: every later number of the study stands below these. `06_study` shows how much of it the scores reach.
# * With the presets tiny and photo one maker learned from masks and the other did not; with `paper` both are as published.
# * And computed from the tables above, not written beforehand:

# %%
lines = [f"{note}."]
for name, row in found.sort_values("oracle_miou", ascending=False).iterrows():
    lines.append(
        f"{name}: oracle mIoU {row['oracle_miou']:.1%}, oIoU {row['oracle_oiou']:.1%}, a mask over "
        f"IoU 0.5 for {row['recall@0.5']:.0%} of the targets; {row['masks']:.0f} masks a picture."
    )
pairs = [
    ("10 % and more hidden", "less than 10 % hidden"),
    ("others reach into 10 % of its box", "they reach into less"),
]
for hard, easy in pairs if first != second else []:
    if {hard, easy} <= set(gaps.index):
        a, b = gaps.loc[hard], gaps.loc[easy]
        apart = a["low"] > b["high"] or a["high"] < b["low"]
        told = "the intervals are apart" if apart else "the intervals overlap, no clear difference"
        told = told if min(a["n"], b["n"]) >= 10 else "too few to tell"
        lines.append(
            f"{second} is behind {first} by {a['points']:.1f} points where {hard} "
            f"(n = {a['n']:.0f}), by {b['points']:.1f} where {easy} (n = {b['n']:.0f}): {told}."
        )
for field, part in turned.groupby("setting", sort=False):
    part = part.sort_values("oracle_miou", kind="stable")
    (low, high), (few, many) = part["oracle_miou"].iloc[[0, -1]], part["masks"].iloc[[0, -1]]
    worst, best = part["value"].iloc[[0, -1]]
    told = f"from {low:.1%} at {worst} ({few:.0f} masks) to {high:.1%} at {best} ({many:.0f} masks)"
    lines.append(f"{field}: {told if low < high else 'changes nothing here'}.")
display(Markdown("\n".join(f"* {line}" for line in lines)))
