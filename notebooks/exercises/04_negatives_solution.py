# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise 4 · Negatives, and the thing that became its own
#
# In this exercise you measure how close two nouns are in WordNet, decide which phrases of a caption may count against a mask, and find out for how many things a plausible rule turns the target into its own negative.
#
# **You need:** notebook 04. **Takes:** 20 minutes. Fill in every `...`; a check cell complains until its answer is right.

# %%
import numpy as np
import pandas as pd

import tasutils
from tasutils.datasets import load_dataset
from tasutils.language import SYNONYM_RULES
from tasutils.language.wordnet import ancestors, path_similarity, similar_pairs
from tasutils.paths import REFSCENES
from tasutils.terms import n_score

# %% [markdown]
# ## Steps in WordNet
#
# `ancestors(noun)` lists every sense that can be reached upwards, with the fewest steps to it. Two nouns meet in a common ancestor; the distance *d* is the fewest steps down from it to both, and the path similarity is 1 / (1 + d).

# %%
dog, puppy = ancestors("dog"), ancestors("puppy")
for name in sorted(set(dog) & set(puppy), key=lambda name: (dog[name] + puppy[name], name))[:4]:
    print(f"{name:22} {dog[name]} steps from dog, {puppy[name]} from puppy")

# %% [markdown]
# **Predict first:** two words count as synonyms from a similarity of 0.9 on. Is a puppy a synonym of a dog? A sofa of a couch?

# %%
# solution: begin
#: puppy_is_dog, sofa_is_couch = ..., ...  # True or False each
puppy_is_dog, sofa_is_couch = True, True
# solution: end

# %%
similarity = {}
for pair in (("dog", "puppy"), ("couch", "sofa"), ("cat", "dog")):
    one, other = (ancestors(noun) for noun in pair)
    # solution: begin
    #: distance = ...  # the fewest steps over any common ancestor
    #: similarity[pair] = ...
    distance = min(steps + other[name] for name, steps in one.items() if name in other)
    similarity[pair] = 1 / (1 + distance)
    # solution: end

# %%
# check
assert {puppy_is_dog, sofa_is_couch} <= {True, False}, "predict before you compute"
for pair, value in similarity.items():
    assert np.isclose(value, path_similarity(*pair)), f"{pair}: {path_similarity(*pair):.3f}"
    print(*pair, f"{value:.2f}", "synonyms" if value >= 0.9 else "no synonyms")

# %% [markdown]
# The possible values are 1, 1/2, 1/3, ...: so "at least 0.9" asks for a sense in common, and nothing in between was ever possible.
#
# ## Two rules
#
# The article removes synonyms of the target. The released code calls two nouns synonyms if they share at least **three** senses. `similar_pairs` counts them. Both rules stand in `SYNONYM_RULES`; each takes a phrase, the target as read, the parser and the threshold, and says whether the phrase is `kept`.
#
# **Predict first:** how many negatives does each rule leave for "the giraffe" when the caption says "a giraffe and a zebra under two trees"?

# %%
phrases = ["a giraffe", "a zebra", "two trees"]
language = tasutils.load("tiny").language
target = language.parse("the giraffe")
# solution: begin
#: by_article, by_code = ..., ...  # numbers
by_article, by_code = 2, 2
# solution: end

# %%
# solution: begin
#: article = ...  # the phrases that rule `nearest` keeps
#: code = ...  # the phrases that rule `three_pairs` keeps
nearest, three_pairs = SYNONYM_RULES["nearest"], SYNONYM_RULES["three_pairs"]
article = [phrase for phrase in phrases if nearest(phrase, target, language, 0.9).kept]
code = [phrase for phrase in phrases if three_pairs(phrase, target, language, 0.9).kept]
# solution: end

# %%
# check
assert by_article in range(4) and by_code in range(4), "predict before you compute"
assert article == ["a zebra", "two trees"], "each verdict says whether the phrase is kept"
assert set(article) < set(code), "the released rule keeps one more"
print(
    "article:",
    article,
    " released code:",
    code,
    " giraffe's senses:",
    similar_pairs(*["giraffe"] * 2),
)

# %% [markdown]
# ## How common is it?
#
# The world has hundreds of categories, each a WordNet noun.
#
# **Predict first:** for what share of them would the rule of three senses make the target its own negative?

# %%
names = pd.read_csv(REFSCENES / "categories.csv")["name"].tolist()
# solution: begin
#: prediction = ...  # between 0 and 1
#: own_negative = [name for name in names if ...]
prediction = 0.1
own_negative = [name for name in names if similar_pairs(name, name) < 3]
# solution: end

# %%
# check
share = len(own_negative) / len(names)
assert isinstance(prediction, float | int) and 0 <= prediction <= 1, (
    "predict before you compute: a number from 0 to 1, such as 0.5"
)
assert "giraffe" in own_negative and "dog" not in own_negative, (
    "fewer than three senses with itself"
)
assert len(own_negative) == sum(similar_pairs(n, n) <= 2 for n in names)
print(
    f"predicted {prediction:.0%}, counted {share:.0%} of {len(names)}: {', '.join(own_negative[:8])} ..."
)

# %% [markdown]
# ## What it does to N
#
# One picture, and a sentence about a thing that its caption names. N is minus the mean cosine of a mask's cut-out with the negatives.

# %%
tas, data = tasutils.load("tiny"), load_dataset("refscenes", "val")
image_id = data.image_ids[5]
scene = tas.describe(tasutils.read_image(data.image_path(image_id)), image_id)
answer = tas.refer(scene, "the crocodile")
print("caption:", scene.image_caption, "| negatives:", *answer.negatives, sep="  ")

# %% [markdown]
# *Hint:* `scene.phrase_embeddings` has a row for each of the caption's phrases; `answer.candidates` says which are kept.

# %%
kept = [c.index for c in answer.candidates if c.kept]
# solution: begin
#: n_kept = n_score(scene.crop_embeddings, ...)  # with the kept phrases only
#: n_all = n_score(scene.crop_embeddings, ...)  # with all of them, the target too
n_kept = n_score(scene.crop_embeddings, scene.phrase_embeddings[kept])
n_all = n_score(scene.crop_embeddings, scene.phrase_embeddings)
# solution: end

# %%
# check
assert np.allclose(n_kept, answer.terms["n"]), "the answer's own N"
assert len(kept) == len(scene.phrases) or not np.allclose(n_all, n_kept), "all the phrases"
best = int(answer.terms["v"].argmax())
change = (n_all - n_all.mean())[best] - (n_kept - n_kept.mean())[best]
print(f"against the mean of all masks, N of mask {best} (best V) changes by {change:+.3f}")

# %% [markdown]
# ## To think about
#
# * "Puppy" and "animal" stay negatives of "dog" under both rules. Would you remove them? What would "fruit" then do to "apple"?
# * The more the caption tells, the more negatives there are. Is that good or bad for N, which is a mean?
# * A captioner that misreads the target ("a wolf") plants a negative that no rule can find. Where would you look for it?
