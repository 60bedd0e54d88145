# %% [markdown]
# # 03 · P: what the captioner says of a mask
#
# In this notebook you read what the captioner says of each mask, sort good captions from bad ones, and see when words beat pixels.
#
# **What you'll do:** look at captions beside their masks, count how many name the thing, clean the degenerate ones, find the sentences that P wins and loses, and set the gain of P against the quality of the captions.
# **What you'll learn:** P = cos(caption, sentence) compares two texts, so what the caption gets wrong is believed.
# **What you'll need:** nothing but the repository. Where there is no run of the preset with so many pictures, one is made and kept. **Takes:** half a minute, a minute the first time.
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
from tasutils import caption_charts, caption_study, charts, newest, readable, show
from tasutils.captioners import clean_caption
from tasutils.changed_runs import changed_part
from tasutils.gallery import Gallery

# %% [markdown]
# ## The run
#
# Every sentence of the first pictures, answered once. V, P and N of each mask are stored, so another weight is arithmetic; captions lie in the scenes.

# %%
part = newest.part_of(data, tasutils.load(preset), limit, results)
examples, alpha = Gallery(part), part.run.record.alpha
note = readable.scope_note([part])
print(f"{data}: {part.run.record.n_images} pictures, alpha {alpha:g}, {note}")

# %% [markdown]
# ## One picture, mask by mask
#
# Each mask lit up, and above it what the captioner says of it. It is shown the cutting alone.

# %%
images = list(dict.fromkeys(part.images))
image, scene = examples.picture(images[number % len(images)])
show.proposals_grid(image, scene)

# %% [markdown]
# ## Good captions and bad ones
#
# A mask covers a thing if their IoU is above 0.5. Its caption is good if WordNet calls its noun and the thing's name synonyms, by the very rule that mines negatives. The name of a wider kind ("animal" for a dog) does not count.

# %%
table = caption_study.captions(part)
judged = table.loc[table["verdict"] != "", "verdict"]
judged.value_counts().rename("captions of masks that cover a thing").to_frame()

# %%
good = caption_study.cards(part, table, caption_study.NAMES, 6)
display(caption_charts.caption_cards(good) if good else Markdown("None here is good."))

# %%
bad = caption_study.cards(part, table, caption_study.OTHER, 12)
display(caption_charts.caption_cards(bad) if bad else Markdown("None here is bad."))

# %%
covering = table["covers"].to_numpy(bool)
assert ((table["verdict"] != "") == covering).all() and (table["iou"][covering] > 0.5).all()

# %% [markdown]
# Is a ragged mask harder to name? The share of good captions, by how well the mask fits:

# %%
shares = caption_study.naming(table, n_boot)
charts.breakdown_plot(shares, value="captions that name the thing", note=f"n counts masks; {note}")

# %% [markdown]
# ## Cleaning
#
# Captioners stutter, or stop after "a photo of". Both are known of BLIP-2; what its users reported is cleaned like this:

# %%
reported = caption_study.REPORTED
pd.DataFrame({"as generated": reported, "cleaned": [clean_caption(raw) for raw in reported]})

# %% [markdown]
# An empty caption has no embedding: its P is 0, and the mask must win by V. In this run cleaning changed:

# %%
clean = caption_study.cleaned(part, table)
changed = clean.loc[clean["changed"], ["raw", "caption"]]
print(f"{len(changed)} of {len(clean)} captions; mask -1 is the whole picture")
display(
    changed.head(8).style.format(escape="html")
    if len(changed)
    else Markdown("None, so there is nothing to show.")
)

# %% [markdown]
# And the answers? The same run with the switch of cleaning turned, paired on the same sentences:

# %%
switch = not examples.tas.preset.language.clean_captions
turned = changed_part(part, {"language.clean_captions": switch}, limit)
same = part.samples["sample_id"].isin(turned.samples["sample_id"])
before, after = part.samples.loc[same, "iou"].to_numpy(), turned.samples["iou"].to_numpy()
print(f"cleaning {'on' if switch else 'off'}: mIoU {100 * (after - before).mean():+.2f} points,")
print(f"{(before != after).sum()} of {len(after)} answers differ")

# %% [markdown]
# ## When the caption beats the crop
#
# Right is an IoU above 0.5. V alone against V and P together, with the run's alpha, with a larger one, and with one so large that P decides alone; no rectifier.

# %%
weights = {f"alpha {a:g}": a for a in (alpha, other_alpha)} | {"P alone": caption_study.ALONE}
fights = {name: caption_study.duels(part, weight) for name, weight in weights.items()}
pd.DataFrame({name: pd.Series(kinds).value_counts() for name, kinds in fights.items()}).reindex(
    caption_study.DUELS, fill_value=0
).fillna(0).astype(int)

# %% [markdown]
# ### Sentences that P alone wins
#
# Answered by P alone where V alone is wrong. The caption says what the pixels did not.

# %%
kinds = fights["P alone"]
won = caption_study.heard(part, kinds, caption_study.DUELS[2], 3)
display(show.gallery(won) if won else Markdown("None in these pictures."))

# %% [markdown]
# ### Sentences that P alone loses
#
# Where V alone is right, P alone took another mask: what is said of it sounds more like the sentence.

# %%
lost = caption_study.heard(part, kinds, caption_study.DUELS[1], 3)
display(show.gallery(lost) if lost else Markdown("None in these pictures."))

# %%
one = fights[f"alpha {alpha:g}"]
with_v = np.isin(one, [caption_study.DUELS[0], caption_study.DUELS[1]]).sum()
assert with_v == np.isin(kinds, [caption_study.DUELS[0], caption_study.DUELS[1]]).sum()
assert set(kinds) <= set(caption_study.DUELS)

# %% [markdown]
# ## The gain of P against the quality of the caption
#
# Sentences sorted by the caption of the mask that should be chosen, the best there is above IoU 0.5. Change of mIoU from V alone to V + αP, paired. If P is worth its captions, it gains where they are good and costs where they are bad.

# %%
alphas = dict.fromkeys((alpha, other_alpha))
gains = caption_study.gain_by_caption(part, table, list(alphas), n_boot)
charts.breakdown_plot(gains, value="P's gain, mIoU", note=f"{data}; {note}")

# %%
caption = f"change of mIoU in points; {note}"
readable.interval_table(gains.drop(columns="question"), caption, signed=True)

# %% [markdown]
# ## What was seen
#
# * A caption is judged by one word of it; the colours and numbers in it help or harm as well, and P sees all of it.
# * Cleaning is a matter of the captioner: a caption that comes clean is left as it is.
# * And computed from the tables above, not written beforehand:

# %%
lines = [f"{data}, {note}.", *caption_study.summary(clean, shares, kinds, gains)]
display(Markdown("\n".join(f"* {line}" for line in lines)))
