# %% [markdown]
# # 08 · Real data: RefCOCO, RefCOCO+, RefCOCOg and PhraseCut
#
# In this notebook the study of RefScenes is done on the published data sets, as far as they are on this disk. Where none is, it says what to fetch, and shows that everything runs on *miniatures*: two drawn pictures of RefScenes, written in the published layouts and read by the very readers that read the published files.
#
# **What you'll do:** see what is here and what is not, look at references and masks, run the ablation, split it by groups of sentences.
# **What you'll learn:** which files each data set consists of, how large they are and on which terms they are given.
# **What you'll need:** nothing for the miniatures; for the real thing the data (see the first table) and a preset that knows photographs: `photo` here, `paper` and `official` with their published weights. **Takes:** half a minute on miniatures.
#
# A miniature measures nothing. Its numbers stand here only because the cells that make them are the ones that make the real ones.

# %% tags=["parameters"]
preset = "tiny"  # of published data; miniatures always take tiny
data = "refcoco val"  # a published data set and split; any other name: val of all that are here
limit = 12  # pictures to answer, where there is no run of as many; at most 2 of a miniature
n_boot = 1000  # bootstrap resamples of images
results = ""  # the folder of runs and described pictures; empty: results
root = ""  # the folder of published data sets; empty: data
images = ""  # the folder of their images; empty: the published place in root

# %%
from tempfile import TemporaryDirectory

from IPython.display import Markdown, display

import tasutils
from tasutils import charts, readable, real_data, show, study
from tasutils.datasets import overview
from tasutils.datasets.miniature import write_miniatures
from tasutils.gallery import Gallery, reference_sheet
from tasutils.newest import part_of

# %% [markdown]
# ## What there is, and what to fetch
#
# Nothing is fetched by a notebook. The commands are for a terminal: each shows address, size and terms before it fetches, checks digests where they are published, and unpacks what lies there already. RefCOCO's three sets share one archive of images.

# %%
table = real_data.fetch_table(root or None)
table.style.hide(axis="index").format(escape="html")

# %% [markdown]
# ## The data of this notebook
#
# Published files where they are here. Else the miniatures, in a temporary folder that goes with the notebook's kernel. Below them, what the doctor counts beside what was published: a miniature is nearly nothing.

# %%
sets = real_data.open_sets(data, root or None, images or None)
real, folder = bool(sets), TemporaryDirectory()
if not real:
    place = write_miniatures(folder.name, min(limit, 2))
    sets = real_data.open_sets("all", place)
    lines = [line for line in overview.list_lines(place) if line.startswith("  ")]
    print("MINIATURES", *lines, sep="\n")

# %%
for each in sets:
    kind = "published" if real else "miniature"
    print(f"{kind} {each.name} {each.split}: {len(each.image_ids)} images, {len(each)} sentences")

# %% [markdown]
# ## References
#
# The first picture of each set with its references, numbered, and all sentences about them. PhraseCut names *all* instances that a phrase fits at once; its truth is their union, and no single mask can cover what lies apart.

# %%
for each in sets:
    display(Markdown(f"**{each.name} {each.split}**"))
    first = real_data.first_pictures(each, 1)
    display(reference_sheet(first, columns=1, width_in=6.0))

# %% [markdown]
# ## The runs
#
# The newest run of the preset over each set, or one made now over its first pictures. All sets of a miniature have the same two pictures, which are described once.

# %%
tas = tasutils.load(preset if real else "tiny")
kept = results if real else folder.name
runs = [part_of(each, tas, limit, kept).run for each in sets]
parts = [real_data.WordedPart(run) for run in runs]
note = real_data.real_note(parts, real)

# %% [markdown]
# ## Variants
#
# As in notebook 06: V alone, with P, with N, with both, each without and with the rectifier, between a mask drawn at random and the oracle. In brackets 95 % bootstrap intervals over images.

# %%
ablation = study.ablation(parts, n_boot)
charts.ablation_plot(ablation, note=note)

# %%
readable.ablation_table(ablation, f"percent; {note}")

# %%
best = ablation[ablation["variant"] == "oracle"].set_index(["family", "split"])["mean"]
reached = ablation.groupby(["family", "split"])["mean"].max()
assert (reached <= best.loc[reached.index] + 1e-12).all()

# %% [markdown]
# ## What each piece brings
#
# Differences on the same sentences, so the intervals are paired. Published data sets do not say which sentences have a direction; here it is a word that the rectifier's form `extended` counts.

# %%
pieces = study.contributions(parts, n_boot)
readable.interval_table(pieces, f"change of mIoU in points; {note}", signed=True)

# %% [markdown]
# ## For whom
#
# The whole method, all sets together, by what the sentences are like. Questions that a set cannot answer leave it out.

# %%
groups = study.breakdown(parts, n_boot, real_data.GROUPS)
charts.breakdown_plot(groups, note=note)

# %% [markdown]
# ## Examples
#
# Orange: the answer. Dashed blue: what is meant. Spread over the images of each run, not picked by hand.

# %%
for part, each in zip(parts, sets, strict=True):
    gallery = Gallery(part, each)
    found = gallery.examples("right", 2) + gallery.examples("wrong", 1)
    if found:
        display(Markdown(f"**{part.family} {part.split}**"), show.gallery(found))

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
lines = real_data.path_words(parts)
if real:
    lines = readable.summary(ablation, pieces, groups, note)
display(Markdown("\n".join(f"* {line}" for line in lines)))
