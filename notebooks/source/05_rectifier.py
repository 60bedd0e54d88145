# %% [markdown]
# # 05 · The spatial rectifier: left, right, up, bottom
#
# In this notebook you see the one piece of TAS that knows where things are: direction words are looked for in the sentence, the picture is cut where they say, and only masks whose centre lies in that part may win.
#
# **What you'll do:** look at regions cut in the middle and at the medians, count which words are read and which are not, measure what each form of the rectifier changes, and go through its failures one by one.
# **What you'll learn:** why a word that is found need not count, and what the article, the released code and this project do with the same sentence.
# **What you'll need:** nothing but the repository. The newest run is taken where there is one; without it the first pictures are answered here. **Takes:** half a minute with a run, a minute without.
#
# The preset `tiny` was trained in the drawn world that it is asked about here, so nothing of it is zero-shot.

# %% tags=["parameters"]
preset = "tiny"
data = "refscenes val"  # data set and split
limit = 12  # pictures to answer, where there is no run of as many
n_boot = 1000  # bootstrap resamples of images
results = ""  # the folder of runs and described pictures; empty: results

# %%
from IPython.display import Markdown, display

import tasutils
from tasutils import readable, rectifier_charts, rectifier_study, show
from tasutils.gallery import Gallery
from tasutils.newest import part_of

# %%
part = part_of(data, tasutils.load(preset), limit, results)
gallery, note = Gallery(part), readable.scope_note([part])
scores = rectifier_study.with_forms(gallery)
print(f"{data}, preset {preset}: {note}")

# %% [markdown]
# ## One sentence, five rectifiers
#
# Bright: the part of the picture that may win. Dots are the centres of masks in it, a centre being the mean of a mask's pixels; crosses are centres outside. Orange: the answer. Dashed blue: what is meant.
#
# * **none**: the best sum of V, P and N wins.
# * **paper**: the article's four words, cut at the picture's middle. (Where to cut the article does not say.)
# * **extended**: more words, and uses that say nothing about the picture's halves do not count.
# * **extended, medians**: the same, cut at the medians of the centres, as the released code does.
# * **official**: the released code's words, parts and cut; it looks inside words, and a gate lets it act only on some parses.
#
# The sentence is the first of the run whose answer the rectifier moved.

# %%
row = next(iter(gallery.rows("moved", 1)), 0)
example = gallery.example(int(row))
asked = rectifier_study.Case("example", "", part.samples["text"].iloc[row], int(row))
answers = rectifier_study.ask(gallery, asked)
rectifier_charts.forms_row(example.image, answers, example.truth)

# %% [markdown]
# ### Where the cut runs
#
# The same region twice, larger: at the middle of the picture, then at the medians of the centres. With medians about half of the *masks* lie on each side, wherever in the picture they are; a picture whose things crowd on the right is cut on the right.

# %%
show.region_picture(example.image, answers["extended"])

# %%
show.region_picture(example.image, answers["extended, medians"])

# %% [markdown]
# ## Words that count, and words that do not
#
# Every sentence of the split, not only those of the run, as the form `extended` reads it. A word that is found is not counted where it tells of another thing (*left of the dog*), of an order (*second from left*), or is no place at all (*facing left*, *right behind*, *red top*).

# %%
samples = gallery.dataset.samples
words = rectifier_study.read_words(samples)
whole = f"{data}, n = {len(samples)} sentences, the whole split"
rectifier_charts.words_plot(words, note=whole)

# %% [markdown]
# *flagged* counts the sentences that the data set itself says have a direction, where it says so: with *no direction word* these are the ones that are missed. A flag means that the sentence tells a direction, also one from another thing.

# %%
found = rectifier_study.verdicts(samples)
found.style.hide(axis="index").format(precision=0, na_rep="", escape="html").set_caption(whole)

# %%
assert found["n"].sum() == len(samples)

# %% [markdown]
# ## What each form changes
#
# mIoU against the same answers without any rectifier, on the same sentences, so the intervals are paired. The groups are by the reading above. *Mended* and *broken* count answers whose IoU came to be above 0.5, or ceased to be. Where no word counts, a form that changes anything acts on a word that should not have counted.

# %%
table = rectifier_study.changes(gallery, scores, n_boot)
rectifier_charts.changes_plot(table, note=note)

# %%
idle = table[(table["form"] == "extended") & (table["group"] == "no direction word")]
assert (idle["moved"] == 0).all() and (table["moved"] >= table["mended"] + table["broken"]).all()

# %%
shown = table[["group", "form", "moved", "mended", "broken", "mean", "low", "high", "n"]]
readable.interval_table(shown, f"change of mIoU in points; {note}", signed=True)

# %% [markdown]
# ## The failures, one by one
#
# Four ways to be wrong about a direction. Each sentence is the run's own where it has one that shows the failure; else it is made up, asked about the first picture, and has no truth. Under each form stands what it read.

# %%
for case in rectifier_study.failures(gallery, scores):
    origin = "" if case.row >= 0 else " (made up)"
    display(Markdown(f"### “{case.title}”: {case.why}{origin}"))
    seen = gallery.example(max(case.row, 0))
    truth = seen.truth if case.row >= 0 else None
    display(rectifier_charts.forms_row(seen.image, rectifier_study.ask(gallery, case), truth))

# %% [markdown]
# ## What was seen
#
# Computed from the tables above, not written beforehand:

# %%
lines = rectifier_study.rectifier_words(found, table, note)
display(Markdown("\n".join(f"* {line}" for line in lines)))
