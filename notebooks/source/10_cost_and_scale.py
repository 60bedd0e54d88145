# %% [markdown]
# # 10 · Cost and scale: describe once, refer many times
#
# In this notebook you see what a picture costs and where the time goes: stage by stage, function by function, against the released code's shape of the work, which does everything again for each reference and sentence. Then what a cache, batches and engines bring, and the ratios with their targets.
#
# **What you'll need:** nothing but the repository. **Takes:** about half a minute; a full bench is made by `tas bench --json FILE` and takes ten minutes; the one that came with the repository is shown at the end.
#
# Seconds are this machine's, at this moment. A ratio is of two ways measured in turn, after both were found to give the same; it holds better than seconds do where the machine has other work.

# %% tags=["parameters"]
preset = "tiny"
images = 2  # pictures of RefScenes val to describe here
threads = 1  # of the networks
bench = ""  # a file that `tas bench --json` wrote; empty: the one that came with the repository

# %%
from functools import partial
from tempfile import TemporaryDirectory

import torch
from tasutils.bench import charts, profile, released_loop, rows, run_bench, timing
from tasutils.bench.plan import DATASET, Plan, drawn_cases

import tasutils
from tasutils import paths
from tasutils.config import load_preset
from tasutils.crops import masked_crops
from tasutils.store import SceneStore, scene_key

# %% [markdown]
# ## Stage by stage
#
# Each scene carries the seconds of its stages. Here they are read back from a store, as they would be for a data set that `tas describe` went through.

# %%
torch.set_num_threads(threads)
tas = tasutils.load(load_preset(preset), device="cpu")
cases = drawn_cases(images, references=2, sentences=2)
tas.segment(cases[0].image, cases[0].sentences[0])  # loads the networks, so that no stage pays
folder = TemporaryDirectory()
store = SceneStore(folder.name)

# %%
keys = [scene_key(case.image, tas.preset.describe_digest()) for case in cases]
for number, (key, case) in enumerate(zip(keys, cases, strict=True)):
    store.put(key, tas.describe(case.image, image_id=f"picture {number}"))
times = profile.stage_times(scene for _, scene in store.scenes())
charts.stages_plot(times)

# %%
assert len(times) == len(set(keys)) and (times >= 0).all().all()
assert times.to_numpy().sum() > 0

# %% [markdown]
# ## Function by function
#
# One picture and one sentence, by the plain loop with nothing done twice, and by ours: the time that each function spends in itself, and how often it is called. The loop calls the networks once for each mask.

# %%
image, sentence = cases[0].image, cases[0].sentences[0]
loop = partial(released_loop.answer_cached, image, [[sentence]], tas, DATASET)
before = profile.profiled(loop)
after = profile.profiled(lambda: tas.refer(tas.describe(image), sentence, dataset=DATASET))
charts.profiles_plot(before, after)

# %%
after.head(8).round(3)

# %% [markdown]
# ## What is kept
#
# Describing is done once for a picture. Its scene is read from the store; a further sentence needs the parser and the text tower; other weights for a known sentence are arithmetic.

# %%
scene = store.get(keys[0])
known = partial(tas.refer, scene, sentence, dataset=DATASET)
fresh = iter([text for case in cases[1:] for text in case.sentences] + ["the thing on the left"])
costs = {
    "describe a picture": times.sum(axis=1).median(),
    "read its scene": timing.timed(lambda: SceneStore(folder.name).get(keys[0])),
    "a new sentence": timing.timed(lambda: tas.refer(scene, next(fresh), dataset=DATASET)),
    "a sentence parsed before": min(timing.timed(known) for _ in range(5)),
}

# %%
charts.seconds_plot(costs, note=f"preset {preset}, {threads} thread, {len(scene.proposals)} masks")

# %%
folder.cleanup()
assert scene.image_id == "picture 0" and known().best < len(scene.proposals)
assert costs["a sentence parsed before"] < costs["describe a picture"]

# %% [markdown]
# ## How many at a time
#
# The same crops through CLIP and through BLIP-2, some at a time. What is gained on a CPU is the cost of each call; a GPU gains far more.

# %%
masks, boxes = scene.proposals.masks(), scene.proposals.boxes_xyxy
crops = masked_crops(image, masks, boxes, tas.encoder.image_size, tas.preset.crop)
views = masked_crops(image, masks, boxes, tas.captioner.image_size, tas.preset.captioner.crop)
sizes = [size for size in (1, 2, 4, 8, 16) if size <= len(crops)]

# %%
networks = {"CLIP": (tas.encoder.encode_images, crops), "BLIP-2": (tas.captioner.caption, views)}
waits = {name: [] for name in networks}
for name, (network, pictures) in networks.items():
    for size in sizes:
        seconds = timing.timed(partial(list, map(network, pictures.split(size))))
        waits[name].append(seconds / len(pictures))
charts.batches_plot(sizes, waits, note=f"{len(crops)} crops, one timing each, {threads} thread")

# %% [markdown]
# ## A quick bench
#
# Some sections of `tas bench`, small and with few repeats. Before anything is timed, both sides are found to give the same: what was compared stands under each table.

# %%
plan = Plan(load_preset(preset), "cpu", images=10, threads=threads, repeats=2)
quick = run_bench(plan, ["crops", "sentence", "store"])

# %%
state = quick.conditions
note = f"preset {state['preset']}, {state['cores']} cores, {state['threads']} threads, "
note += f"load average {state['load_before']:.1f} before"
charts.ratios_plot(quick, note=note)

# %% [markdown]
# ## The full bench
#
# `tas bench --json FILE` measures all sections: describing against the released shape, SAM, sweeps, the store, Ray, and cost against the number of images; on a GPU also the published architectures at their true size. What is shown here was measured beforehand, on the machine and at the commit named below the picture, with nothing else running; `bench` names a file of your own. Engines are its section `ray`: two actors against one process, start-up apart, row for row the same store.

# %%
full = rows.read_bench(bench or paths.DATA / "bench.json")
state = full.conditions
print(state["device_name"], state["created"], f"load {state['load_before']:.1f} before")

# %%
note = f"preset {state['preset']}, {state['cores']} cores, {state['threads']} threads, "
note += f"{state['created'][:10]}, commit {state['commit'][:7]}"
charts.ratios_plot(full, note=note)

# %%
for row in full.rows:
    if row.measures or row.skipped:
        print(f"{row.section}: {row.what}:", row.skipped or row.measures)

# %% [markdown]
# ## What was seen
#
# Computed from the numbers above, not written beforehand:

# %%
shares = times.sum() / times.to_numpy().sum()
again = costs["describe a picture"] / costs["a new sentence"]
print(f"{shares.idxmax()} takes {shares.max():.0%} of describing a picture.")
print(f"Describing a picture costs as much as {again:.0f} new sentences about it.")
print(f"Profiled, the loop takes {before['own_s'].sum() / after['own_s'].sum():.1f} times ours.")
for name, values in waits.items():
    print(f"{name}: {values[0] / min(values):.1f} times faster at best than one crop at a time.")
for row in full.rows:
    if row.met is not None:
        print(f"{row.section}, {row.what}: target {'reached' if row.met else 'NOT reached'}.")
