# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Exercise 2 · What the encoder is shown
#
# In this exercise you cut a mask out of a picture, pixel by pixel, onto another ground than notebook 02 does, and then find out how much hangs on a choice that papers mention in half a sentence: what stands *behind* the thing.
#
# **You need:** notebook 02. **Takes:** 15 minutes. Fill in every `...`; a check cell complains until its answer is right.

# %%
import matplotlib.pyplot as plt
import numpy as np

import tasutils
from tasutils.config import CropConfig
from tasutils.crops import masked_crops
from tasutils.datasets import load_dataset
from tasutils.terms import v_score

# %%
tas, data = tasutils.load("tiny"), load_dataset("refscenes", "val")
image_id = data.image_ids[5]
image = tasutils.read_image(data.image_path(image_id))
scene = tas.describe(image, image_id)
mask = tas.refer(scene, "the dog on the right").mask()
MEAN = np.array([0.48145466, 0.4578275, 0.40821073])  # CLIP's mean colour, RGB in 0..1
plt.imshow(np.where(mask[..., None], image, image // 3))
plt.axis("off")
plt.show()
# %% [markdown]
# ## Mask, then crop
#
# The article writes `crop(I, m)` and paints black outside the mask. Here everything outside becomes CLIP's mean colour, as Global-Local has it: the rest is cut to the mask's box, and the box is centred in a square of that colour.
#
# *Hint:* `np.nonzero(mask)` gives the rows and the columns of the mask's pixels. Boxes end one *after* the last pixel.

# %%
# solution: begin
#: painted = ...  # (H, W, 3) in 0..1, the picture where the mask is True, MEAN elsewhere
#: y0, y1 = ..., ...  # first row of the mask, and the one after its last
#: x0, x1 = ..., ...
painted = np.where(mask[..., None], image / 255, MEAN)
rows, columns = np.nonzero(mask)
y0, y1 = rows.min(), rows.max() + 1
x0, x1 = columns.min(), columns.max() + 1
# solution: end

# %%
# check
box = np.array([[x0, y0, x1, y1]], np.float32)
assert painted.shape == image.shape and np.allclose(painted[~mask], MEAN), "outside: the mean"
assert np.allclose(painted[mask] * 255, image[mask]), "inside the mask nothing changes"
assert mask[y0:y1, x0:x1].sum() == mask.sum(), "some of the mask lies outside your box"
assert mask[y0, :].any() and mask[y1 - 1, :].any() and mask[:, x1 - 1].any(), "the box is too large"

# %% [markdown]
# *Hint:* the square is as long as the longer side of the box; the space left over is halved, and if it is odd the larger part goes below or to the right.

# %%
height, width = y1 - y0, x1 - x0
# solution: begin
#: side = ...
#: top, left = ..., ...
#: square = np.ones((..., ..., 3)) * MEAN  # then put the cut-out into its middle
side = max(height, width)
top, left = (side - height) // 2, (side - width) // 2
square = np.ones((side, side, 3)) * MEAN
square[top : top + height, left : left + width] = painted[y0:y1, x0:x1]
# solution: end

# %%
# check
settings = CropConfig(fill="mean")
package = masked_crops(image, mask[None], box, int(side), settings)[0].permute(1, 2, 0).numpy()
assert square.shape == package.shape, "as high as wide"
assert np.abs(square - package).max() < 1e-4, "the cut-out lies at another place"
plt.imshow(square)
plt.axis("off")
plt.show()
# %% [markdown]
# ## Three backgrounds
#
# The same cut-outs with a black, a blurred and an evenly coloured background. Nothing about the masks, the sentences or the network differs.

# %%
proposals, size = scene.proposals, tas.encoder.image_size
fills = ("black", "blur", "mean")
crops = {
    fill: masked_crops(image, proposals.masks(), proposals.boxes_xyxy, size, CropConfig(fill=fill))
    for fill in fills
}
figure, axes = plt.subplots(1, 3, figsize=(7, 2.5), layout="constrained")
chosen = int(np.argmax([np.count_nonzero(m & mask) for m in proposals.masks()]))
for axis, fill in zip(axes, fills, strict=True):
    axis.imshow(crops[fill][chosen].permute(1, 2, 0))
    axis.set(title=fill, xticks=[], yticks=[])

# %% [markdown]
# **Predict first:** of the sentences about this picture, for what share does the best V go to *another mask* when black becomes blur?

# %%
texts = [sample.text for sample in data.by_image()[image_id]]
# solution: begin
#: prediction = ...  # between 0 and 1
prediction = 0.05
# solution: end

# %% [markdown]
# *Hint:* `tas.encoder.encode_images(crops[fill])` gives a row for each mask, `encode_text(texts)` one for each sentence; `v_score(rows, one_text)` gives V of all masks, and the best mask is its `argmax()`.

# %%
embedded = tas.encoder.encode_text(texts)
winners = {}
for fill in fills:
    # solution: begin
    #: winners[fill] = ...  # the best mask of each sentence, int (n_texts,)
    rows = tas.encoder.encode_images(crops[fill])
    winners[fill] = np.array([v_score(rows, text).argmax() for text in embedded])
    # solution: end
# solution: begin
#: changed = ...  # share of sentences whose winner differs between black and blur
changed = (winners["black"] != winners["blur"]).mean()
# solution: end

# %%
# check
by_refer = [tas.refer(scene, text, weights={"p": 0, "n": 0}).terms["v"].argmax() for text in texts]
assert isinstance(prediction, float | int) and 0 <= prediction <= 1, (
    "predict before you compute: a number from 0 to 1, such as 0.5"
)
assert (winners["black"] == by_refer).all(), "black is what the preset has: V must agree with it"
assert changed == np.mean([a != b for a, b in zip(*map(winners.get, fills[:2]), strict=True)])
print(f"predicted {prediction:.0%}; for {changed:.0%} of {len(texts)} sentences the winner changes")

# %% [markdown]
# ## Which one is right more often?

# %%
truths = [data.gt_mask(sample) for sample in data.by_image()[image_id]]
for fill in fills:
    answers = proposals.masks()[winners[fill]]
    ious = [tasutils.masks.iou(a, t) for a, t in zip(answers, truths, strict=True)]
    print(f"{fill:6} mIoU of V alone {np.mean(ious):.2f}, n = {len(ious)} sentences, one picture")

# %% [markdown]
# ## To think about
#
# * One picture proves nothing. How many would you need to tell black from blur? (Exercise 6 has the tool.)
# * TAS shows black to the encoder, and a blurred background to the captioner in its released code. Why might a captioner want to see the background?
# * The released code loses the last row and column of each box. Would you have noticed?
