# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 12 · Trust: how sure, how stable, and when to say nothing
#
# In this notebook you ask which answers to believe. TAS always points at something, even where the sentence means nothing in the picture, and says nothing of how sure it is.
#
# **What you'll do:** sort the answers by how sure they are, turn the margin into a probability, ask for one target in several ways, change one word, and let TAS answer with none, one or several masks.
# **What you'll learn:** a mean over sentences hides how often a target is found *whatever it is called*; a method that says nothing has a number too, and it is not a small one.
# **What you'll need:** nothing but the repository. Where there is no run with so many pictures, one is made and kept. **Takes:** two minutes without runs.
#
# The presets of the drawn world were trained in it, so nothing here is zero-shot for them.

# %% tags=["parameters"]
preset = "tiny_gres"
data = "refscenes val"  # data set and split
test = ""  # where the probability is drawn; empty: testA of val, testP of valP, else the same
limit = 16  # pictures to answer, where there is no run of as many
n_boot = 1000  # bootstrap resamples of images
results = ""  # the folder of runs and described pictures; empty: results

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

import tasutils
from tasutils import tables
from tasutils.datasets import dataset
from tasutils.evaluate import run_of
from tasutils.metrics import aurc, bootstrap_ratios, gres_ratios, metric_variants, percent
from tasutils.notebooks import refuse_unknown

refuse_unknown()

# %%
several = tasutils.load_preset(preset)
if several.decide is None:  # of a report on tiny or photo: the same with graded terms
    other = tasutils.load_preset("tiny_gres" if several.name == "tiny" else "photo_gres")
    changes = {f"terms.{name}": other.terms[name] for name in other.terms if name in "dzrohw"}
    one = several.override({**changes, "rectifier.form": "none"})
    several = one.override({"decide": other.decide.model_dump()})
else:
    one = tasutils.load_preset(several.name.replace("gres", "graded"))
split = data.split()[1]
test = test or data.replace("valP", "testP").replace("val", "testA") if "scenes" in data else data
tas = tasutils.load(one)
run = run_of(data, tas, limit, results)
samples, scores = run.samples, run.scores
print(f"{one.name}, {data}: {tables.scope_note([run])}")


# %% [markdown]
# ## How sure
#
# Two numbers may tell how sure an answer is: its *total*, and its *margin*, the best total less the second best. Sort the sentences by one of them, answer only the surest, and look at how many of these answers are wrong. That is the risk at a coverage. Wrong means an IoU of 0.5 or less.

# %% tags=["definition"]
def best_two(scores, weights):
    """The best total of each sentence and the one after it, -inf where there is no other."""
    total = sum(weight * scores[f"term_{name}"] for name, weight in weights.items())
    ranked = total.groupby(scores["sample_id"], sort=False).nlargest(2)
    first = ranked.groupby(level=0, sort=False).first()
    second = ranked.groupby(level=0, sort=False).nth(1).droplevel(1)
    return first, second.reindex(first.index).fillna(-np.inf)


# %% tags=["definition"]
def risk_at(wrong, sure):
    """Share of sentences answered, the surest first, and the share of these that are wrong."""
    order = np.argsort(-sure, kind="stable")
    answered = np.arange(1, len(order) + 1)
    return answered / len(order), np.cumsum(wrong[order]) / answered


# %%
total, second = best_two(scores, run.record.weights)
ids = samples["sample_id"]
margin = (total - second).reindex(ids).to_numpy()
assert np.allclose(margin, run.table.margins(), equal_nan=True)  # no rectifier here
total, margin = total.reindex(ids).fillna(-9).to_numpy(), np.nan_to_num(margin, nan=-9.0)
wrong = (samples["iou"] <= 0.5).to_numpy(float)
names = {"total": total, "margin": margin, "at random": np.random.default_rng(0).random(len(ids))}

# %%
figure, ax = plt.subplots(figsize=(6.4, 3.4), layout="constrained")
for (name, sure), color in zip(names.items(), ("#0072B2", "#D55E00", "#777777"), strict=True):
    ax.plot(*risk_at(wrong, sure), color=color, label=name)
ax.set(xlabel="share of the sentences answered", ylabel="share of answers wrong", ylim=(0, 1))
ax.legend(title="the surest first by")
plt.show()

# %%
rows = []
for name, sure in names.items():
    area, (coverage, risk) = aurc(wrong, sure, run.images, n_boot), risk_at(wrong, sure)
    assert name == "at random" or abs(area["aurc"].value - risk.mean()) < 0.01  # ties: their mean
    trusted = coverage[risk <= 0.1].max(initial=0)
    half = risk[len(risk) // 2 - 1]
    rows.append(
        [name, percent(*area["aurc"][:3]), percent(*area["gain"][:3]), half, risk[-1], trusted]
    )
heads = ["sorted by", "AURC", "below a random order", "wrong in half", "wrong in all", "90 % right"]
table = pd.DataFrame(rows, columns=heads)
for head in heads[3:]:
    table[head] = [f"{100 * value:.0f} %" for value in table[head]]
tables.styled(table, f"{data}, {tables.scope_note([run])}; 95 % intervals over pictures")


# %% [markdown]
# *AURC* is the area under the curve, in percent. *Wrong in half* is the share of wrong answers when only the surer half is answered. The last column says how many sentences can be answered, the surest first, so that nine of ten answers are right.
#
# ## The margin as a probability
#
# A number between 0 and 1 is easier to use than a cosine. Logistic regression turns the surer of the two into one. It is fitted on these sentences and drawn on others: if it says 70 %, are 70 % of those answers right?

# %% tags=["definition"]
def fitted(sure, right, steps=30):
    """Logistic regression of right on sure, by Newton's method: a function of sure."""
    middle, spread = sure.mean(), sure.std() + 1e-9
    inputs = np.stack([np.ones_like(sure), (sure - middle) / spread], axis=1)  # (n, 2)
    weights = np.zeros(2)
    for _ in range(steps):
        chance = 1 / (1 + np.exp(-inputs @ weights))
        bend = (inputs.T * (chance * (1 - chance))) @ inputs + 1e-3 * np.eye(2)
        weights += np.linalg.solve(bend, inputs.T @ (right - chance) - 1e-3 * weights)
    return lambda new: 1 / (1 + np.exp(-weights[0] - weights[1] * (new - middle) / spread))


# %%
gain = {
    name: aurc(wrong, names[name], run.images, n_boot)["gain"].value for name in ("total", "margin")
}
by = max(gain, key=gain.get)
probability = fitted(np.clip(names[by], -1, 3), 1 - wrong)

drawn = run_of(test, tas, limit, results)
first, after = best_two(drawn.scores, drawn.record.weights)
sure = {"total": first, "margin": first - after}[by]
sure = sure.reindex(drawn.samples["sample_id"]).fillna(-9).to_numpy()
said, right = probability(np.clip(sure, -1, 3)), (drawn.samples["iou"] > 0.5).to_numpy(float)
bins = np.digitize(said, [0.2, 0.4, 0.6, 0.8])

# %%
figure, ax = plt.subplots(figsize=(4.2, 3.6), layout="constrained")
ax.plot([0, 1], [0, 1], color="#777777", lw=1)
for k in np.unique(bins):
    x, y, n = said[bins == k].mean(), right[bins == k].mean(), (bins == k).sum()
    ax.plot(x, y, "o", color="#0072B2")
    ax.annotate(f"n = {n}", (x, y), (6, -10), textcoords="offset points", fontsize=8)
ax.set(xlabel=f"probability by the {by}", ylabel="share right", xlim=(0, 1), ylim=(0, 1))
ax.set_title(f"fitted on {data}, drawn on {test}", fontsize=9)
plt.show()
off = sum(
    (bins == k).mean() * abs(said[bins == k].mean() - right[bins == k].mean())
    for k in np.unique(bins)
)
print(f"expected calibration error, five bins: {100 * off:.1f} points (n = {len(said)})")

# %% [markdown]
# ## The same target, said differently
#
# Each reference has several sentences. A user who found the thing with one of them expects to find it with the others. So count targets, not sentences: a target is found when its *worst* sentence reaches the threshold.

# %%
ious = samples["iou"].fillna(0)
per = ious.groupby(samples["ref_id"]).agg(["mean", "min", "max", "size"])
per["worst"], per["spread"] = per["min"], per["max"] - per["min"]
variants = metric_variants(samples).set_index(["convention", "metric"])
for bar in (0.5, 0.7, 0.9):
    share = (per["worst"] >= bar).mean()
    assert np.isclose(share, variants.loc[("worst sentence", f"p@{bar}"), "value"])
    row = variants.loc[("worst sentence", f"p@{bar}")]
    print(f"All@{bar}: {percent(row['value'], row['low'], row['high'])} of {len(per)} targets")
print(f"mIoU {100 * ious.mean():.1f}; of the worst sentence {100 * per['worst'].mean():.1f}")

# %%
miss = ious < 0.5
no_mask = miss & (samples["oracle_iou"] < 0.5)
turns = (per["min"] < 0.5) & (per["max"] >= 0.5)
pd.Series({
    "sentences wrong": miss.mean(),
    "because no proposal covers the target": no_mask.mean(),
    "because another mask was chosen": (miss & ~no_mask).mean(),
    "targets found by one sentence and lost by another": turns.mean(),
}).mul(100).round(1).rename("percent").to_frame()  # fmt: skip

# %% [markdown]
# ## One word changed
#
# The family *grefscenes* asks about the same pictures. A sentence comes with three others: `same` means the same thing in other words; `switch` differs in one word and means another thing; `void` differs in one word and means nothing. Where the first was answered rightly, are these?

# %%
tas_several = tasutils.load(several)
split = split if split in dataset("grefscenes").splits else "valP"
world = f"grefscenes {split}"
answers = {"always one": run_of(world, tas, limit, results)}
answers["none, one or several"] = run_of(world, tas_several, limit, results)
told = answers["none, one or several"].samples
told[told["kind"].isin(["one", "same", "switch", "void"])][["kind", "text", "base"]].head(4)

# %%
got = {
    name: other.samples.set_index("sample_id")["iou"].fillna(0) > 0.5
    for name, other in answers.items()
}
table = answers["always one"].table
by_v = table.choose({"v": 1.0})
got["always one, V alone"] = pd.Series((by_v >= 0) & (table.ious[by_v] > 0.5), told["sample_id"])
found = told.set_index("sample_id")
rates = []
for name, good in got.items():
    good = good.reindex(found.index)
    began = good.reindex(found["base"]).to_numpy()
    held = {kind: began & (found["kind"] == kind).to_numpy() for kind in ("same", "switch", "void")}
    ratios = {k: ((mine & good).to_numpy(float), mine.astype(float)) for k, mine in held.items()}
    spans = bootstrap_ratios(ratios, found["image_id"].to_numpy(str), n_resamples=n_boot)
    row = {f"{k}": f"{percent(*spans[k][:3])} (n = {held[k].sum()})" for k in held}
    rates.append({"answers": name, **row})
tables.styled(pd.DataFrame(rates), "right as well, in percent of those whose first sentence is")

# %% [markdown]
# ## None, one or several
#
# The rule has two numbers, chosen once on the whole of val. If the best total is below `least`, nothing is meant. If the sentence means every such thing (*all red cars*), each mask whose total lies within `margin` of the best is meant. A sentence about two things (*the cat and the dog*) is asked for each of them.

# %%
rule = several.decide
print(rule)
here = told[told["kind"].isin(["one", "absent"])]
rows = answers["none, one or several"].scores
tops, _ = best_two(rows[rows["sample_id"].isin(here["sample_id"])], run.record.weights)
plain = [not tas.language.parse(text).asks.things for text in here["text"]]
said_none = here["chosen"].to_numpy() < 0
assert (said_none == (tops.reindex(here["sample_id"]) < rule.least).to_numpy())[plain].all()

# %% [markdown]
# *gIoU* is the mean IoU over all sentences, where a sentence without a target gives 1 if the answer is empty and 0 if not. *N-acc* and *T-acc* are the shares of sentences without and with a target that are told as such. A method that never answers stands beside.

# %%
truth = told["gt_area_px"].to_numpy()
none = told["no_target"].to_numpy(bool)
nothing = {"always nothing": (np.zeros(len(told)), truth, np.ones(len(told), bool))}
for name, other in answers.items():
    s = other.samples.set_index("sample_id").loc[told["sample_id"]]
    inter, union = s["intersection_px"].to_numpy(), s["union_px"].to_numpy()
    nothing[name] = inter, union, (inter == 0) & (union == truth)
ratios = {name: gres_ratios(i, u, none, said) for name, (i, u, said) in nothing.items()}
pictures = told["image_id"].to_numpy(str)
rows = []
for name, mine in ratios.items():
    spans = bootstrap_ratios(mine, pictures, n_resamples=n_boot)
    rows.append([name, *(percent(*spans[k][:3]) for k in ("giou", "n_acc", "t_acc", "pr@0.7"))])
note = f"{world}, {tables.scope_note([answers['always one']])}, {none.sum()} without a target"
tables.styled(pd.DataFrame(rows, columns=["answers", "gIoU", "N-acc", "T-acc", "Pr@0.7"]), note)

# %%
mine, mean = ratios["none, one or several"], {}
for name in ("always nothing", "always one"):
    mean[name] = bootstrap_ratios(mine, pictures, ratios[name], n_resamples=n_boot)["giou"]
by_kind = (
    told.assign(giou=mine["giou"][0]).groupby("kind", sort=False)["giou"].agg(["mean", "size"])
)
by_kind["mean"] = by_kind["mean"].mul(100).round(1)
by_kind.rename(columns={"mean": "gIoU", "size": "n"})

# %% [markdown]
# ## Your turn
#
# * Move `least` (`several.override({"decide.least": 0.3})`): which of N-acc and T-acc pays for the other?
# * Sort by V of the answer alone in `risk_at`. Is the sum surer than its first term?
# * Change one word of a sentence of your own in the Explorer of notebook 00, and see whether the answer moves.

# %% [markdown]
# ## What was seen
#
# Computed from the tables above, not written beforehand:

# %%
lines = [
    f"* Sorted by the {by}, half of the sentences are answered with "
    f"{100 * risk_at(wrong, names[by])[1][len(wrong) // 2 - 1]:.0f} % wrong, all of them with "
    f"{100 * wrong.mean():.0f} %.",
    f"* {100 * (ious > 0.5).mean():.0f} % of the sentences are right, but only "
    f"{100 * (per['worst'] > 0.5).mean():.0f} % of the targets are found by each of their sentences.",
]
for name, span in mean.items():
    side = "above" if span.low > 0 else "below" if span.high < 0 else "not told apart from"
    lines.append(
        f"* Deciding how many are meant is {side} {name}: {percent(*span[:3], signed=True)} gIoU."
    )
display(Markdown("\n".join(lines)))
