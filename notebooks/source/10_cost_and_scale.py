# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 10 · What things cost
#
# In this notebook you see what it is worth to describe a picture once: you write the loop that the released code runs, find that it gives the same answers, and measure both. Then you see where the time goes, what is kept for a further sentence, how batches help, and what a full bench of the whole package says.
#
# **What you'll need:** nothing but the repository. **Takes:** under a minute on two idle cores. A full bench is made by `make bench` and takes ten minutes; the one that came with the repository is shown at the end.
#
# Seconds are this machine's, at this moment. A ratio is of two ways measured in turn, after both were found to give the same; it holds better than seconds do where the machine has other work.

# %% tags=["parameters"]
preset = "tiny"
images = 2  # pictures of RefScenes val to describe here
threads = 1  # of the networks
bench = ""  # a file that `python tests/bench --json FILE` wrote; empty: the one that came along

# %%
import json
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

os.environ["KINETO_LOG_LEVEL"] = "6"  # the profiler writes no log of its own
import torch
from torch.profiler import profile

import tasutils
from tasutils import paths
from tasutils.captioners import clean_caption
from tasutils.crops import masked_crops
from tasutils.datasets import load_dataset
from tasutils.engines import counted
from tasutils.notebooks import refuse_unknown
from tasutils.store import SceneStore, scene_key

refuse_unknown()

torch.set_num_threads(threads)
tas, data = tasutils.load(preset, device="cpu"), load_dataset("refscenes", "val")
refer = partial(tas.refer, dataset=data.name)


# %% [markdown]
# ## The loop that describe-once replaces
#
# The released code asks reference by reference. For each it proposes masks and captions every crop, and for each sentence of it, it embeds every crop and every caption again, one at a time. Here is that shape in ten lines; the parts are the preset's, and the last step is the same sum and rectifier as ours.

# %% tags=["plain-loop"]
def crop_of(image, mask, size, rules):
    """One mask's crop, float32 (1, 3, size, size)."""
    y, x = np.nonzero(mask)
    box = np.array([[x.min(), y.min(), x.max() + 1, y.max() + 1]], np.float32)  # x0, y0, x1, y1
    return masked_crops(image, mask[None], box, size, rules)


def plain_loop(tas, image, scene, references):
    """The chosen mask of every sentence; of the scene only the phrases of the picture are used."""
    chosen, seen, told = [], tas.preset.crop, tas.preset.captioner.crop
    for sentences in references:
        masks = tas.proposer(image).masks()
        views = [crop_of(image, mask, tas.captioner.image_size, told) for mask in masks]
        captions = [clean_caption(tas.captioner.caption(view)[0]) for view in views]
        for sentence in sentences:
            crops = [crop_of(image, mask, tas.encoder.image_size, seen) for mask in masks]
            crops = np.stack([tas.encoder.encode_images(crop)[0] for crop in crops])
            words = np.stack([tas.encoder.encode_text([text])[0] for text in captions])
            known = replace(scene, views={"crop": crops}, caption_embeddings=words)
            chosen.append(tas.refer(known, sentence, dataset="refscenes").best)
    return chosen


# %%
def described(tas, image, references):
    """The same by describing once: the picture first, then each sentence."""
    scene = tas.describe(image)
    return [refer(scene, text).best for texts in references for text in texts]


def timed(run):
    """Seconds of a call, and what it gave."""
    start = perf_counter()
    found = run()
    return perf_counter() - start, found


# %%
cases = []  # a picture with two sentences each of two references
for image_id, samples in data.by_image().items():
    texts = pd.Series([s.text for s in samples]).groupby([s.ref_id for s in samples]).agg(list)
    references = [found[:2] for found in texts if len(found) > 1][:2]
    if len(references) == 2 and len(cases) < images:
        cases.append((tasutils.read_image(data.image_path(image_id)), references))
scenes = [tas.describe(image, image_id=f"picture {k}") for k, (image, _) in enumerate(cases)]
refer(scenes[0], "the thing on the left")  # loads the parser, so that no timing pays for it

# %%
rows = []
for (image, references), scene in counted(zip(cases, scenes), "measured", len(cases)):
    ours_s, ours = timed(partial(described, tas, image, references))
    plain_s, plain = timed(partial(plain_loop, tas, image, scene, references))
    assert ours == plain, "the loop chooses other masks"
    rows.append((len(scene.proposals), len(ours), ours_s, plain_s))
columns = ["masks", "sentences", "ours_s", "loop_s"]
measured = pd.DataFrame(rows, [scene.image_id for scene in scenes], columns)
measured.assign(times=measured["loop_s"] / measured["ours_s"]).round(2)

# %% [markdown]
# The same masks are chosen. The more sentences a picture has, the larger the difference: the loop's cost grows with sentences times masks, ours with masks plus sentences.
#
# ## Stage by stage
#
# Each scene carries the seconds of its stages. A store keeps scenes, so that all of this is paid once for a picture.

# %%
folder = TemporaryDirectory()
keys = [scene_key(image, tas.preset.describe_digest()) for image, _ in cases]
with SceneStore(folder.name) as store:
    for key, scene in zip(keys, scenes, strict=True):
        store.put(key, scene)
times = pd.DataFrame({scene.image_id: scene.times_s for _, scene in store.scenes()}).T
size = (8.4, 0.6 * len(times) + 1.4)
times.plot.barh(stacked=True, figsize=size, xlabel="seconds", cmap="viridis")
plt.legend(ncols=len(times.columns), loc="lower left", bbox_to_anchor=(0, 1.02), frameon=False)
plt.show()

# %%
assert len(times) == len(set(keys)) and (times >= 0).all().all() and times.to_numpy().sum() > 0
shares = times.sum() / times.to_numpy().sum()
shares.round(3).to_frame("share").T


# %% [markdown]
# ## Operation by operation
#
# One picture and one sentence, seen by torch's profiler: the time that each operation spends in itself, and how often it is called. The loop calls the networks once for each mask; ours calls them once for a batch of masks, so the same arithmetic comes in fewer and larger pieces.

# %%
def operations(run):
    """torch's operations of a call: calls and own milliseconds, the most expensive first."""
    with profile() as seen:
        run()
    found = [(e.key, e.count, e.self_cpu_time_total / 1e3) for e in seen.key_averages()]
    table = pd.DataFrame(found, columns=["operation", "calls", "own_ms"]).set_index("operation")
    return table.sort_values("own_ms", ascending=False)


image, ((sentence, *_), *_) = cases[0]
before = operations(partial(plain_loop, tas, image, scenes[0], [[sentence]]))
after = operations(partial(described, tas, image, [[sentence]]))

# %%
both = before.join(after, how="outer", lsuffix=" of the loop", rsuffix=" of ours").fillna(0)
both = both.sort_values("own_ms of the loop", ascending=False).head(10)
both[["own_ms of the loop", "own_ms of ours"]].iloc[::-1].plot.barh(figsize=(8.4, 4), xlabel="ms")
plt.show()
both.round(1)

# %% [markdown]
# ## What is kept
#
# Describing is done once for a picture. Its scene is read from the store; a further sentence needs the parser and the text tower; a sentence that was parsed before needs less.

# %%
scene = store.get(keys[0])
asked = {text for _, references in cases for texts in references for text in texts}
fresh = [sample.text for sample in data.samples if sample.text not in asked]
refer(scene, fresh[0])
costs = pd.Series(
    {
        "describe a picture": times.sum(axis=1).median(),
        "read its scene": timed(lambda: SceneStore(folder.name).get(keys[0]))[0],
        "a new sentence": np.median([timed(partial(refer, scene, text))[0] for text in fresh[1:6]]),
        "the same again": min(timed(partial(refer, scene, fresh[0]))[0] for _ in range(5)),
    }
)
ax = costs.iloc[::-1].plot.barh(figsize=(8.4, 2.2), logx=True, xlabel="seconds (log)")
ax.bar_label(ax.containers[0], [f" {value:.3g} s" for value in costs.iloc[::-1]])
ax.set_xlim(costs.min() / 3, costs.max() * 8)
plt.show()

# %%
folder.cleanup()
assert scene.image_id == "picture 0" and refer(scene, sentence).best is not None
assert costs["the same again"] < costs["describe a picture"]

# %% [markdown]
# ## How many at a time
#
# The same crops through CLIP and through the captioner, some at a time. What is gained on a CPU is the cost of each call; a GPU gains far more.

# %%
masks, boxes = scene.proposals.masks(), scene.proposals.boxes_xyxy
crops = masked_crops(image, masks, boxes, tas.encoder.image_size, tas.preset.crop)
views = masked_crops(image, masks, boxes, tas.captioner.image_size, tas.preset.captioner.crop)
sizes = [size for size in (1, 2, 4, 8, 16) if size <= len(crops)]
networks = {"CLIP": (tas.encoder.encode_images, crops), "captioner": (tas.captioner.caption, views)}
waits = pd.DataFrame(index=pd.Index(sizes, name="pictures at a time"))
for name, (network, x) in networks.items():
    seconds = [timed(partial(list, map(network, x.split(size))))[0] for size in sizes]
    waits[name] = np.array(seconds) / len(x)
(1e3 * waits).plot(style=["o-", "s--"], logx=True, figsize=(7.2, 2.8), ylabel="ms a picture")
plt.ylim(bottom=0)
plt.xticks(sizes, sizes)
plt.show()

# %% [markdown]
# ## The full bench
#
# `make bench` measures all sections of `tests/bench`: describing against the released shape with and without its per-image results kept, crops, SAM, sweeps, sentences, the store, peers, Ray, and the command, a picture and a sentence beside a process that never rests; `BENCH="describe crops --preset paper"` measures the published architectures where their weights and a GPU are. Before anything is timed both sides are found to give the same. What is shown here was measured beforehand, on the machine and at the commit named above the picture.

# %%
full = json.loads(Path(bench or paths.DATA / "bench.json").read_text(encoding="utf-8"))
state, table = full["conditions"], pd.DataFrame(full["rows"])
table["name"] = table["section"] + ": " + table["what"]
table["low"], table["ratio"], table["high"] = (
    table["ratio"].map(lambda r, f=f: f(r) if r else np.nan) for f in (np.min, np.median, np.max)
)
targets = table["target"].map(lambda t: f"{t[0]} {t[1].replace('_', ' ')} {t[2]:g}" if t else "")
verdict = table["met"].map({True: "reached", False: "not reached"}).fillna("no target")

# %%
ratios = table.assign(verdict=verdict).dropna(subset="ratio")
colors = {"reached": "#009E73", "not reached": "#D55E00", "no target": "#56B4E9"}
hatches = {"reached": "", "not reached": "//", "no target": ".."}
figure, ax = plt.subplots(figsize=(9.4, 0.36 * len(ratios) + 1.2))
for kind, rows in ratios.groupby("verdict"):
    y = [list(ratios.index).index(index) for index in rows.index]
    look = {"color": colors[kind], "hatch": hatches[kind], "ec": "white", "label": kind}
    ax.barh(y, rows["ratio"] - 1, left=1, **look)
ax.hlines(range(len(ratios)), ratios["low"], ratios["high"], color="black", label="its range")
for y, target in enumerate(ratios["target"]):
    if target and target[0] == "ratio":
        ax.plot([target[2]] * 2, [y - 0.4, y + 0.4], color="black", lw=2.5)
ax.set(xscale="log", xlabel="times faster than the plain loop (log); thick stroke: its target")
ax.set_yticks(range(len(ratios)), ratios["name"], fontsize=8)
ax.invert_yaxis()
ax.legend(ncols=4, loc="lower left", bbox_to_anchor=(-0.5, 1.0), frameon=False)
made = f"{state['created'][:10]}, commit {state['commit'][:7]}, preset {state['preset']}"
print(f"{state['device_name']}, {state['cores']} cores, {state['threads']} threads, {made}")
plt.show()

# %% [markdown]
# What each section measured besides, and the targets of other numbers than the ratio (the store's is scenes read a second, the sweep's seconds for all settings):

# %%
said = [", ".join(f"{k} {v:.4g}" for k, v in row.items()) for row in table["measures"]]
ours_ms = table["ours_s"].map(lambda s: 1e3 * np.median(s) if s else np.nan)
shown = {"ours, ms": ours_ms, "times faster": table["ratio"], "target": targets, "verdict": verdict}
shown |= {"measured besides": said, "not measured": table["skipped"]}
pd.DataFrame({"what": table["name"], **shown}).set_index("what").round(2).fillna("")

# %% [markdown]
# ## What was seen
#
# Computed from the numbers above, not written beforehand:

# %%
again = costs["describe a picture"] / costs["a new sentence"]
gain = (measured["loop_s"] / measured["ours_s"]).median()
print(f"With {len(ours)} sentences a picture the loop takes {gain:.1f} times as long.")
print(f"{shares.idxmax()} takes {shares.max():.0%} of describing a picture.")
print(f"Describing a picture costs as much as {again:.0f} new sentences about it.")
for name, values in waits.items():
    print(f"{name}: {values.iloc[0] / values.min():.1f} times faster at best than one at a time.")
for name, kind in zip(table["name"], verdict, strict=True):
    if kind != "no target":
        print(f"{name}: target {kind}.")
