# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 09 · Error anatomy: where the answers are lost
#
# In this notebook every wrong answer of a run gets exactly one cause, the causes are weighed against the distance from the oracle to the result, and each of them shows its cases.
#
# **What you'll do:** write each cause as a column of true and false, look at one wrong answer, walk down from the oracle to the result, click a bar and see the cases.
# **What you'll learn:** how much of what is missing is proposals, how much is choice, and which term of the choice is to blame; why "to blame" is not "would be right without".
# **What you'll need:** nothing but the repository. The newest runs are taken where there are any; without one the first pictures are answered here, and a line tells how far it is. **Takes:** half a minute with a run, a minute without.
#
# The preset `tiny` was trained in the drawn world that it is asked about here, so nothing of it is zero-shot.

# %% tags=["parameters"]
preset = "tiny"
data = "refscenes val"  # data set and split
limit = 12  # pictures to answer, where there is no run of as many
n_boot = 1000  # bootstrap resamples of images
results = ""  # the folder of runs and described pictures; empty: results

# %%
import ipywidgets as ipw
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

import tasutils
from tasutils import paths, show, tables
from tasutils.compare import asked, by_asks
from tasutils.evaluate import newest_runs, run_of
from tasutils.gallery import Gallery
from tasutils.metrics import bootstrap, iou
from tasutils.notebooks import refuse_unknown

refuse_unknown()

# %% [markdown]
# ## The runs
#
# The run asked for comes first. Runs of the same preset over other families and splits are sorted with it, so that the families stand side by side.

# %%
tas = tasutils.load(preset)
run = run_of(data, tas, limit, results)
others = newest_runs(results or paths.RESULTS, tas.preset.name)
place = run.family, run.split
runs = [run] + [other for other in others if (other.family, other.split) != place]
galleries, note = [Gallery(each) for each in runs], tables.scope_note(runs)

# %%
print("\n".join(f"{each.family} {each.split}: {each.record.run_id}" for each in runs))

# %% [markdown]
# ## One cause for each
#
# A mask is *good* when its IoU with what was meant is above 0.5, and an answer is right when it is such a mask. Each wrong answer has exactly one cause. The causes are asked in this order, and the first that holds is the cause:
#
# * **proposals**: no good mask was proposed. No choice could have been right.
# * **ambiguous**: the data set itself gives the sentence several targets, and the answer is one of them.
# * **pronoun**: the sentence names no thing (*the one behind the bus*, *second from the left*).
# * **rectifier**: all good masks lie outside the region that the direction words name, or the answer would have been right without the rectifier.
# * **V**, **P**, **N**: a good mask competed and lost. The best of the good ones, the *rival*, is set beside the answer. What it lacks in S = V + α·P + λ·N is the sum of what it lacks in V, in α·P and in λ·N; the cause is the term in which it lacks most.
#
# The last rule is arithmetic and says nothing about what would have been: a mask can lack most in N and still lose without N. The table further below counts both.
#
# Here they are as columns of true and false. `run.table` holds the stored scores as arrays: `segment` is the sentence of each row, `choose` gives the row of each sentence's answer, -1 for none.

# %% tags=["definition"]
GOOD = 0.5
MEANING = {
    "proposals": "no good mask was proposed",
    "ambiguous": "one of several targets of the sentence",
    "pronoun": "the sentence names no thing",
    "rectifier": "the rectifier shut the good masks out",
    **{name.upper(): f"the best good mask lost most in {name.upper()}, weighted"
       for name in run.record.weights},
}  # fmt: skip
NAMELESS = (
    "one ones it he she they him her them this that these those who someone somebody something"
)
NAMELESS = [*NAMELESS.split(), "everyone", "other", "others", ""]


def ious(run, rows):
    """IoU of each sentence with the mask of a row, 0 for none."""
    return iou(*run.table.pixels(rows), run.epsilon)


# %% tags=["definition"]
def best_rival(run):
    """The row of the good mask with the highest sum among those that compete; -1 for none."""
    table, inside = run.table, run.table.regions["own"][0]
    held = np.bincount(table.segment[inside], minlength=len(run.samples)) > 0
    competes = (table.ious > GOOD) & (inside | ~held[table.segment])
    terms = table.terms["own"]
    total = np.nan_to_num(sum(w * terms[name] for name, w in run.record.weights.items() if w))
    rows = (
        pd.Series(total)[competes].groupby(table.segment[competes]).idxmax()
    )  # the first of equals
    return rows.reindex(range(len(run.samples)), fill_value=-1).to_numpy()


# %% tags=["definition"]
def is_ambiguous(run, rows):
    """Is the answer one of several targets, by the data set's flags or its other sentences?"""
    samples, (inter, union) = run.samples, run.table.pixels(rows)
    mostly_inside = (rows >= 0) & (2 * inter > union - run.table.gt_area_px + inter)
    several = np.zeros(len(samples), bool)
    for flag, most in {"n_targets": 1, "multi": 0}.items():
        if flag in samples:
            several |= pd.to_numeric(samples[flag], errors="coerce").to_numpy() > most
    right = pd.Series(ious(run, rows) > GOOD)
    asked = [samples[name].to_numpy() for name in ("image_id", "text")]
    return (several & mostly_inside) | right.groupby(asked).transform("any").to_numpy(bool)


# %% tags=["definition"]
def names_nothing(run, asked):
    """Which sentences name no thing: by the data set's flag, else by the parser, of those asked."""
    if "pronoun" in run.samples:
        return run.samples["pronoun"].to_numpy(bool)
    language = run.record.config["language"]
    texts = run.samples["raw" if language.get("field") == "raw" else "text"]
    heads = texts.where(asked, "-").map(
        lambda text: tas.language.parse(text).head.lower() if text.strip() else ""
    )
    return heads.isin(NAMELESS).to_numpy()


# %% tags=["definition"]
def sort_out(run):
    """One row a sentence: its cause, "" where the answer is right, and what the rival is behind in."""
    table, weights = run.table, run.record.weights
    chosen, rival = table.choose(), best_rival(run)
    got, oracle = ious(run, chosen), iou(*run.pixels("oracle_"), run.epsilon)
    own = [w * table.terms["own"][name] if w else 0 * table.ious for name, w in weights.items()]
    own = np.vstack([np.stack(own, axis=1), np.full(len(weights), np.nan)])  # row -1 is nobody's
    behind = own[chosen] - own[rival]  # (sentences, terms)
    furthest = np.nan_to_num(behind, nan=np.inf).argmax(axis=1)
    without = {"rectifier": ious(run, table.choose(form="none"))}
    for name in list(weights)[1:]:
        without[name.upper()] = ious(run, table.choose(weights | {name: 0.0}))
    holds = pd.DataFrame(
        {
            "proposals": oracle <= GOOD,
            "ambiguous": is_ambiguous(run, chosen),
            "pronoun": (chosen < 0) | names_nothing(run, got <= GOOD),
            "rectifier": (rival < 0) | (without["rectifier"] > GOOD),
            **{name.upper(): furthest == k for k, name in enumerate(weights)},
        }
    )
    cause = holds.idxmax(axis=1).where(got <= GOOD, "")  # the first that holds
    cured = np.select([cause == name for name in without], [x > GOOD for x in without.values()])
    about = run.samples[["image_id", "text"]].reset_index(drop=True)
    return about.assign(
        row=np.arange(len(about)),
        family=run.family,
        split=run.split,
        cause=cause,
        iou=got,
        oracle_iou=oracle,
        lost=oracle - got,
        cured=cured.astype(bool),
        **dict(zip(weights, behind.T, strict=True)),
    )


# %%
table = pd.concat([sort_out(one).assign(run=k) for k, one in enumerate(runs)], ignore_index=True)
wrong = table[table["cause"] != ""]
assert np.allclose(table["iou"], np.concatenate([one.samples["iou"] for one in runs]))
assert (
    wrong["cause"].isin(list(MEANING)).all()
    and ((table["iou"] <= GOOD) == (table["cause"] != "")).all()
)
wrong.groupby("cause").size().reindex(MEANING, fill_value=0).rename("wrong answers").to_frame().T


# %% [markdown]
# ## One wrong answer
#
# The dearest mistake of all: how far the best mask that was proposed lay above the one that was chosen. Orange: the answer. Dashed blue: what was meant. Below: its cause, and what the rival has more (+) or less (−) than the answer in each weighted term.

# %% tags=["definition"]
def case(row):
    """The picture of a row of the table, with what it was lost by."""
    example = galleries[row.run].example(row.row)
    terms = {name: getattr(row, name) for name in run.record.weights}
    told = ", ".join(
        f"{name.upper()} {-value:+.3f}" for name, value in terms.items() if value == value
    )
    place = f"{row.family} {row.split}: IoU {row.iou:.2f}, best mask {row.oracle_iou:.2f}"
    return example._replace(
        note=f"{place}; {row.cause}" + (f"; rival against answer: {told}" if told else "")
    )


# %%
for row in wrong.sort_values("lost", ascending=False, kind="stable").head(1).itertuples():
    example = case(row)
    display(Markdown(f"**“{row.text}”**: {example.note}. {row.cause} means: {MEANING[row.cause]}."))
    display(show.overlay(*example[:3]))

# %% [markdown]
# ## From the oracle to the result
#
# The oracle always takes the best mask that was proposed. Each step is what the answers of one cause lost to it, divided by the number of *all* sentences; the thin lines are 95 % bootstrap intervals over images. The steps add up to the result exactly. *Right, but not the best mask* is what right answers lack to the oracle.

# %% tags=["definition"]
RIGHT = "right, but not the best mask"


def waterfall(table, n_boot=1000):
    """A row a step: the oracle's mIoU, what each cause takes away, and the result's."""
    steps = {"oracle": table["oracle_iou"]}
    steps |= {name: -table["lost"].where(table["cause"] == name, 0.0) for name in MEANING}
    steps |= {RIGHT: -table["lost"].where(table["cause"] == "", 0.0), "result": table["iou"]}
    rows = []
    for step, change in steps.items():
        who = table["cause"] == step if step in MEANING else change != 0
        found = bootstrap(
            change, np.ones(len(table)), table["image_id"], ("miou",), n_resamples=n_boot
        )
        value, low, high, *_ = found["miou"]
        n = len(table) if step in ("oracle", "result") else int(who.sum())
        rows.append(
            {
                "step": step,
                "n": n,
                "right without it": int(table["cured"][who].sum()),
                "mean": value,
                "low": low,
                "high": high,
            }
        )
    return pd.DataFrame(rows)


# %%
steps = waterfall(table, n_boot)
assert steps["n"].iloc[1:-2].sum() == len(wrong)
assert np.isclose(steps["mean"].iloc[:-1].sum(), steps["mean"].iloc[-1])

# %%
COLORS = dict(zip([*MEANING, RIGHT], plt.get_cmap("tab20").colors[::2], strict=False))
level = np.append(0, 100 * steps["mean"].iloc[:-1].cumsum())
figure, ax = plt.subplots(figsize=(8.4, 0.36 * len(steps) + 1), layout="constrained")
for y, row in enumerate(steps.itertuples()):
    whole = row.step in ("oracle", "result")
    start = 0 if whole else level[y]
    ax.barh(
        y,
        100 * row.mean,
        left=start,
        color="white" if whole else COLORS[row.step],
        ec="black",
        lw=0.6,
    )
    ax.plot([start + 100 * row.low, start + 100 * row.high], [y, y], color="black", lw=1)
    ax.text(
        1.02,
        y,
        f"{100 * row.mean:{'' if whole else '+'}.1f}   n = {row.n}",
        fontsize=9,
        va="center",
        transform=ax.get_yaxis_transform(),
    )
ax.set(
    yticks=range(len(steps)),
    yticklabels=steps["step"],
    ylim=(len(steps) - 0.4, -0.6),
    xlabel=f"mIoU, points; {note}",
)
ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
meaning = steps["step"].map(MEANING).fillna("")
tables.interval_table(
    steps.assign(meaning=meaning),
    f"mIoU in percent; right without it: of the rectifier and of all terms but V; {note}",
    signed=True,
)

# %% [markdown]
# ## By family and split
#
# The same causes as shares of each family's sentences. `refscenes` has direction words, `refscenes+` has none, `refscenesg` has pronouns, and only `phrasescenes` has sentences with several targets, so each family can show causes that another cannot.

# %%
keys = [table["family"] + " " + table["split"], table["cause"]]
shares = (
    table.groupby(keys, sort=False)
    .size()
    .unstack(fill_value=0)
    .reindex(columns=MEANING, fill_value=0)
)
sizes = table.groupby(keys[0], sort=False).size()
ax = (100 * shares.div(sizes, axis=0)).plot.barh(
    stacked=True, figsize=(8.4, 0.4 * len(shares) + 1.4), color=[COLORS[name] for name in MEANING]
)
ax.set(xlabel="wrong answers, % of the sentences", ylabel="")
ax.set_yticklabels([f"{name}, {shares.loc[name].sum()} of {sizes[name]}" for name in shares.index])
ax.legend(ncols=4, fontsize=8.5, frameon=False, loc="lower left", bbox_to_anchor=(0, 1))
plt.show()

# %% [markdown]
# ## By what the sentence asks for
#
# A sentence may ask for several things (*the biggest dog on the left*), and then counts in each row; *plain* ones ask for none. TAS has a part for the direction alone ([notebook 11](11_graded.ipynb) has one for each). The numbers are those of `tas compare RUN --asks`; the causes are shares of each row's sentences.

# %%
asks, kinds = asked(run), by_asks([run]).set_index("asks", drop=False)
cause = table.loc[table["run"] == 0, "cause"]
of_asks = pd.DataFrame({kind: cause[asks[kind].to_numpy()].value_counts() for kind in kinds.index})
shares = 100 * of_asks.reindex(MEANING).fillna(0).T.div(kinds["n"], axis=0)
ends = kinds[["miou", "miou_low", "miou_high"]].set_axis(["mean", "low", "high"], axis=1)
percents = shares.assign(oracle=100 * kinds["oracle_miou"]).map("{:.1f}".format)
rows = kinds[["asks", "n"]].join([percents, ends])
tables.interval_table(rows, f"mIoU, oracle and causes in percent; {tables.scope_note([run])}")


# %% [markdown]
# ## Click a bar, see the cases
#
# Each bar is a button; a second click goes on to the next cases. The dearest come first, one an image before any image comes again. The buttons work in JupyterLab and VS Code; on a web page the first cases of every cause stand below instead.

# %% tags=["definition"]
def cases(cause, start=0, count=3):
    """The pictures of a cause from number `start` on, one an image before any comes again."""
    some = table[table["cause"] == cause].sort_values("lost", ascending=False, kind="stable")
    turns = some.groupby("image_id").cumcount().sort_values(kind="stable")
    return [case(row) for row in some.loc[turns.index].iloc[start : start + count].itertuples()]


# %%
counts = table["cause"].value_counts()
picture, seen = ipw.Image(format="png", value=b""), dict.fromkeys(MEANING, 0)


def show_next(button):
    cause = button.tooltip
    picture.value = show.gallery(cases(cause, seen[cause])).png()
    seen[cause] = (seen[cause] + 3) % (3 * -(-counts[cause] // 3))


bars = []
for cause in [name for name in MEANING if counts.get(name, 0)]:
    width = f"{max(300 * counts[cause] // counts[wrong['cause'].unique()].max(), 30)}px"
    bars.append(
        ipw.Button(description=str(counts[cause]), tooltip=cause, layout=ipw.Layout(width=width))
    )
    bars[-1].on_click(show_next)
ipw.VBox(
    [
        *(ipw.HBox([ipw.Label(bar.tooltip, layout=ipw.Layout(width="90px")), bar]) for bar in bars),
        picture,
    ]
)

# %% [markdown]
# ## The first cases of each cause

# %%
for cause, meaning in MEANING.items():
    some = cases(cause)
    display(Markdown(f"### {cause}: {meaning}" + ("" if some else " - none here")))
    if some:
        display(show.gallery(some))

# %% [markdown]
# ## What was seen
#
# Computed from the tables above, not written beforehand:

# %%
by_step = steps.set_index("step")
causes = by_step.loc[list(MEANING)]
oracle, result = (
    tables.percent(*by_step.loc[step, ["mean", "low", "high"]]) for step in ("oracle", "result")
)
lines = [
    f"What all of this rests on: {note}.",
    f"{len(wrong)} of {len(table)} answers are wrong (IoU at most {GOOD}): "
    f"{', '.join(f'{name} {n}' for name, n in causes['n'].items())}; together {causes['n'].sum()}.",
    f"The oracle's mIoU is {oracle}, the result's {result}.",
]
if len(wrong):
    dear = causes["mean"].idxmin()
    cost = tables.percent(*causes.loc[dear, ["mean", "low", "high"]])
    lines.append(
        f"Dearest: {dear} ({MEANING[dear]}), {cost} points, {causes.loc[dear, 'n']} answers."
    )
for name in ["rectifier", *[term.upper() for term in list(run.record.weights)[1:]]]:
    if causes.loc[name, "n"]:
        n, cured = causes.loc[name, ["n", "right without it"]]
        lines.append(f"Of {n} answers put down to {name}, {cured} would be right without it.")
display(Markdown("\n".join(f"* {line}" for line in lines)))
