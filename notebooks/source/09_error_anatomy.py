# %% [markdown]
# # 09 · Error anatomy: where the answers are lost
#
# In this notebook every wrong answer of a run gets exactly one cause, the causes are weighed against the distance from the oracle to the result, and each of them shows its cases.
#
# **What you'll do:** look at one wrong answer, sort all of them, walk down from the oracle to the result, click a bar and see the cases.
# **What you'll learn:** how much of what is missing is proposals, how much is choice, and which term of the choice is to blame; why "to blame" is not "would be right without".
# **What you'll need:** nothing but the repository. The newest runs are taken where there are any; without one the first pictures are answered here. **Takes:** half a minute with a run, a minute without.
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
from tasutils.anatomy_widget import AnatomyBrowser

import tasutils
from tasutils import anatomy, anatomy_charts, paths, readable, show
from tasutils.evaluate import newest_runs, run_of
from tasutils.gallery import Gallery

# %% [markdown]
# ## The runs
#
# The run asked for comes first. Runs of the same preset over other families and splits are sorted with it, so that the families stand side by side.

# %%
tas = tasutils.load(preset)
part = run_of(data, tas, limit, results)
others = newest_runs(results or paths.RESULTS, tas.preset.name)
place = part.family, part.split
parts = [part] + [other for other in others if (other.family, other.split) != place]
galleries, note = [Gallery(each) for each in parts], readable.scope_note(parts)

# %%
print("\n".join(f"{each.family} {each.split}: {each.run.record.run_id}" for each in parts))

# %% [markdown]
# ## One wrong answer
#
# A mask is *good* when its IoU with what was meant is above 0.5, and an answer is right when it is such a mask. Below, the dearest mistake of all: how far the best mask that was proposed lay above the one that was chosen. Orange: the answer. Dashed blue: what was meant.

# %%
table = anatomy.anatomy(parts)
wrong = table[table["cause"] != ""]
dearest = wrong.sort_values("lost", ascending=False, kind="stable").head(1)

# %%
for example in anatomy_charts.cases(galleries, dearest):
    print(f"sorted under: {dearest['cause'].item()}")
    display(show.overlay(*example[:3]))

# %% [markdown]
# ## One cause for each
#
# The causes are asked in this order, and the first that holds is the cause:
#
# * **proposals**: no good mask was proposed. No choice could have been right.
# * **ambiguous**: the data set itself gives the sentence several targets, and the answer is one of them.
# * **pronoun**: the sentence names no thing (*the one behind the bus*, *second from the left*).
# * **rectifier**: all good masks lie outside the region that the direction words name, or the answer would have been right without the rectifier.
# * **V**, **P**, **N**: a good mask competed and lost. The best of the good ones is set beside the answer. What it lacks in S = V + α·P + λ·N is the sum of what it lacks in V, in α·P and in λ·N; the cause is the term in which it lacks most.
#
# The last rule is arithmetic and says nothing about what would have been: a mask can lack most in N and still lose without N. The table below counts both.

# %%
known = wrong["cause"].isin(list(anatomy.CAUSES))
assert known.all() and ((table["iou"] <= anatomy.GOOD) == (table["cause"] != "")).all()

# %% [markdown]
# ## From the oracle to the result
#
# The oracle always takes the best mask that was proposed. Each step is what the answers of one cause lost to it, divided by the number of *all* sentences; the thin lines are 95 % bootstrap intervals over images. The steps add up to the result exactly. *Right, but not the best mask* is what right answers lack to the oracle.

# %%
steps = anatomy.waterfall(table, n_boot)
anatomy_charts.waterfall_plot(steps, note=note)

# %%
assert steps["n"].iloc[1:8].sum() == len(wrong)
assert abs(steps["mean"].iloc[:-1].sum() - steps["mean"].iloc[-1]) < 1e-9

# %%
anatomy_charts.steps_table(steps, f"percent of mIoU; {note}")

# %% [markdown]
# ## By family and split
#
# The same causes as shares of each family's sentences. `refscenes` has direction words, `refscenes+` has none, `refscenesg` has pronouns, and only `phrasescenes` has sentences with several targets, so each family can show causes that another cannot.

# %%
anatomy_charts.causes_plot(table, note=note)

# %% [markdown]
# ## Click a bar, see the cases
#
# Each bar is a button, and *next cases* goes on. The dearest come first, one an image before any image comes again. The buttons work in JupyterLab and VS Code; on a web page the first cases of every cause stand below instead.

# %%
AnatomyBrowser(galleries, table)

# %% [markdown]
# ## The first cases of each cause
#
# Below a picture stands what the best good mask has more (+) or less (−) than the answer in each term.

# %%
for cause, meaning in anatomy.CAUSES.items():
    rows = anatomy_charts.case_rows(table, cause)
    display(Markdown(f"### {cause}: {meaning}" + ("" if len(rows) else " - none here")))
    if len(rows):
        display(show.gallery(anatomy_charts.cases(galleries, rows)))

# %% [markdown]
# ## What was seen
#
# Computed from the tables above, not written beforehand:

# %%
lines = anatomy.anatomy_words(table, steps, note)
display(Markdown("\n".join(f"* {line}" for line in lines)))
