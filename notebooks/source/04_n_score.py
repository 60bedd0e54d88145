# %% [markdown]
# # 04 · N: what the thing is not
#
# In this notebook you follow the negatives of one sentence from the picture's caption to the answer, and then ask over many sentences what they are worth.
#
# **What you'll do:** mine negatives step by step, walk WordNet from noun to noun, move the threshold of synonyms, compare the two rules, find targets that became their own negatives, and give the captions more or less detail.
# **What you'll learn:** N = - mean cos(crop, negative) holds against a mask that it looks like the *other* things of the picture; it can only know the others that the caption tells.
# **What you'll need:** nothing but the repository. Where there is no run of the preset with so many pictures, one is made and kept. **Takes:** half a minute, a minute the first time.
#
# The captioner of the preset `tiny` learned in the drawn world that it is tested in; nothing about it is zero-shot.

# %% tags=["parameters"]
preset = "tiny"
data = "refscenes val"  # data set and split
limit = 12  # pictures
n_boot = 1000  # bootstrap resamples of images
results = ""  # the folder of runs and scenes; empty: results
number = -1  # which sentence to follow, from 0; -1: one whose answer N moved

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown, display
from tasutils.language.wordnet import ancestors, path_similarity, sense_path

import tasutils
from tasutils import charts, negative_charts, negative_study, newest, readable, show
from tasutils.gallery import Gallery

# %% [markdown]
# ## The run
#
# Every sentence of the first pictures, answered once. V, P and N of each mask are stored; captions and embeddings lie in the scenes, so other negatives are arithmetic, too.

# %%
part = newest.part_of(data, tasutils.load(preset), limit, results)
examples, lam = Gallery(part), part.run.record.lam
tas, note = examples.tas, readable.scope_note([part])
print(f"{data}: {part.run.record.n_images} pictures, lambda {lam:g}, {note}")

# %% [markdown]
# ## Step by step: one sentence
#
# Answered by V and N together, without P and rectifier. Orange: the answer. Dashed blue: what is meant.

# %%
moved = negative_study.moved(part)
other = [row for rows in moved.values() for row in rows]
row = int(other[0]) if number < 0 and other else max(number, 0) % len(part.samples)
example = examples.example(row, 0, lam, "none")
show.overlay(example.image, example.answer, example.truth)

# %% [markdown]
# **1. The whole picture gets a caption.** **2. Its noun phrases are candidates.** **3. The head noun of the sentence is what they are judged against.**

# %%
answer = example.answer
print("caption:    ", answer.scene.image_caption)
print("candidates: ", *answer.scene.phrases, sep="  ")
print("head phrase:", answer.expression.phrase, "  head noun:", answer.expression.parse.head)

# %% [markdown]
# **4. Those that mean the same are taken out,** so that the target is not held against itself. The rest are negatives.

# %%
readable.negatives_table(answer)

# %% [markdown]
# **5. Every mask is compared with the negatives.** The more it looks like them, the further N pulls it down.

# %%
charts.score_bars(answer, most=8)

# %%
kept = [one.index for one in answer.candidates if one.kept]
cosines = answer.scene.crop_embeddings @ answer.scene.phrase_embeddings[kept].T  # (n, k)
if kept and not (tas.preset.scores.logit_scale or tas.preset.scores.strict_official):
    assert np.allclose(answer.n, -cosines.mean(axis=1), atol=1e-3)

# %% [markdown]
# ## The way from noun to noun
#
# WordNet is a tree of senses (nearly). Path similarity is 1 / (1 + steps on the shortest way over their hypernyms). Below, the target and the candidate that is nearest to it; then two nouns of one sense, and two that are near but no synonyms.

# %%
head = answer.expression.parse.head
nouns = [c.noun for c in answer.candidates if ancestors(c.noun) and ancestors(head)]
nearest = max(nouns, key=lambda noun: path_similarity(head, noun), default="")
ways = [(head, nearest)] if nearest else []
for pair in [*ways, ("couch", "sofa"), ("dog", "wolf")]:
    display(negative_charts.path_tree(sense_path(*pair)))

# %%
for a, b in [*ways, ("couch", "sofa"), ("dog", "wolf")]:
    assert np.isclose(sense_path(a, b).similarity, path_similarity(a, b))

# %% [markdown]
# ## The threshold
#
# From which similarity on are two nouns synonyms? Move the threshold: phrases at or beyond the line are taken out, and the answer may change. The control moves in JupyterLab and VS Code; on a web page it stands as it was.

# %%
negative_charts.ThresholdSlider(
    tas, example.image, answer.scene, answer.expression.text, part.family
)

# %% [markdown]
# Over all sentences, by rule `nearest`: what V + λN gains over V with other thresholds, λ as it was. Since similarity is 1, 1/2, 1/3 and so on, thresholds between two of these are the same. At 0 nothing is a negative.

# %%
mined = negative_study.mined(part)
steps = (0.0, 0.08, 0.1, 0.15, 0.3, 0.9)
by_threshold = negative_study.by_threshold(mined, steps)
thresholds = negative_study.choice_gains(part, mined, by_threshold, n_boot)
charts.breakdown_plot(thresholds, value="gain of N, mIoU", note=f"{data}; {note}")

# %% [markdown]
# ## Two rules of synonyms
#
# The article speaks of path similarity and says no more. Rule `nearest`: any pair of senses that is near enough decides. Rule `three_pairs` (the released code): three pairs of senses must be, of any part of speech, between the first nouns as they are written. Above 1/2 that asks for three senses in common, and a noun of fewer senses is no synonym even of itself:

# %%
selves = negative_study.self_pairs(part)
few = selves[selves["pairs"] < 3]
print(f"{few['sentences'].sum()} of {selves['sentences'].sum()} sentences ask for such a noun")
few.nlargest(12, "sentences").set_index("noun").T

# %% [markdown]
# Which phrases the two rules judge differently in this run, and what each rule's negatives gain; in the last line nothing that names the target is a negative, by its category's name, which no method knows:

# %%
differ = mined[mined["nearest"] != mined["three_pairs"]]
print(f"{len(differ)} of {len(mined)} judgements differ")
by_rule = {rule: mined[rule].to_numpy(bool) for rule in ("nearest", "three_pairs")}
spared = {"nearest, the target spared": by_rule["nearest"] & ~mined["target"].to_numpy(bool)}
rules = negative_study.choice_gains(part, mined, by_rule | spared, n_boot)
rules["negatives"] = rules["negatives"].map("{:.2f}".format)
readable.interval_table(rules.drop(columns="question"), f"gain in points; {note}", signed=True)

# %% [markdown]
# ## The target that became its own negative
#
# A negative that names the very thing that is meant. It can happen to any rule: the sentence's noun is misread, or is a wider one than the caption's.

# %%
own = {rule: negative_study.own_negatives(part, mined, rule) for rule in by_rule}
for rule, cases in own.items():
    print(f"rule {rule}: {len(cases)} of {len(part.samples)} sentences")
cases = pd.concat(own, names=["rule", "case"]).reset_index("rule")
display(
    cases.head(8).style.hide(axis="index").format(escape="html")
    if len(cases)
    else Markdown("None here.")
)

# %%
one = cases["row"].head(1)
shown = [examples.example(int(row), 0, weight, "none") for row in one for weight in (0, lam)]
names = ["V alone", "V and N, with itself among the negatives"]
shown = [one._replace(note=f"{name}: {one.note}") for one, name in zip(shown, names, strict=False)]
display(show.gallery(shown, columns=2) if shown else Markdown("No such case in these pictures."))

# %% [markdown]
# ## Does a richer caption help?
#
# The article says that N lives on the detail of the caption. First, sentences by the number of noun phrases that their picture's caption has; these are different pictures.

# %%
detail = negative_study.by_detail(part, mined, n_boot)
charts.breakdown_plot(detail, value="gain of N, mIoU", note=f"number of noun phrases; {note}")

# %% [markdown]
# Then the same pictures with the caption cut short: only its first noun phrases may become negatives. This changes nothing but the detail.

# %%
by_first = negative_study.by_first(mined, (1, 2, 3, 4))
by_first["whole caption"] = mined["kept"].to_numpy(bool)
first = negative_study.choice_gains(part, mined, by_first, n_boot)
charts.breakdown_plot(first, value="gain of N, mIoU", note=f"noun phrases that count; {note}")

# %%
richer = negative_study.choice_gains(part, mined, by_first, n_boot, over="caption cut to 1")
readable.interval_table(
    richer.drop(columns=["question", "negatives"]),
    f"against the caption cut to 1, points of mIoU, paired; {note}",
    signed=True,
)

# %%
assert first["negatives"].is_monotonic_increasing
stored = part.pixels("V+N", False)
whole = negative_study.with_negatives(part, mined, {"all": mined["kept"].to_numpy(bool)})
assert np.array_equal(whole.pixels(whole.choose(0, lam, "none", "all"))[0], stored[0])

# %% [markdown]
# ## What N moves
#
# Sentences whose answer N changed from wrong to right (IoU above 0.5) and from right to wrong.

# %%
for kind in ("to right", "to wrong"):
    fits = np.isin(np.arange(len(part.samples)), moved[kind])
    found = [examples.example(int(row), 0, lam, "none") for row in examples.spread(fits, 3)]
    found = [one._replace(note="negatives: " + ", ".join(one.answer.negatives)) for one in found]
    display(Markdown(f"### {kind}: {len(moved[kind])} sentences"))
    display(show.gallery(found) if found else Markdown("None in these pictures."))

# %% [markdown]
# ## What was seen
#
# * Negatives come from one caption of the whole picture: what it leaves out is held against nobody.
# * The threshold decides among a few values of similarity only; the rule decides whether a noun is a synonym of itself.
# * And computed from the tables above, not written beforehand:

# %%
told = negative_study.summary(part, mined, selves, first, richer)
lines = [f"{data}, {note}.", *told]
display(Markdown("\n".join(f"* {line}" for line in lines)))
