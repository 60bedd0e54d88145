"""HybridGL written out in numpy, float64: one mask, one token, one pair of boxes at a time."""

import math

import cv2
import numpy as np
from slow_peers import attention, bilinear, cubic, stretched, unit

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)


def antialiased(grid, size_hw, kernel):
    """(h, w, ...) to (H, W, ...): each output the mean of its neighbours inside, by a kernel."""
    for axis, side in enumerate(size_hw):
        n = grid.shape[axis]
        wide = max(n / side, 1)
        at = [(i + 0.5) * n / side for i in range(side)]
        w = np.array([[kernel((j + 0.5 - place) / wide) for j in range(n)] for place in at])
        grid = np.moveaxis(np.tensordot(w / w.sum(1, keepdims=True), grid, (1, axis)), 0, axis)
    return grid


def sharp(grid, size_hw):
    return antialiased(grid, size_hw, lambda x: cubic(x, -0.5))


def smooth(grid, size_hw):
    return antialiased(grid, size_hw, lambda x: max(0, 1 - abs(x)))


def views(picture, mask, size, mean, std):
    """What CLIP sees of a mask on a colour and on the blurred picture, (3, s, s) each."""
    inside = mask[..., None]
    local = np.where(inside, (picture / 255 - mean) / std, CLIP_MEAN)
    blurred = np.where(inside, picture, cv2.GaussianBlur(picture, (15, 15), 0))
    return (
        bilinear(seen, (size, size)).transpose(2, 0, 1)
        for seen in (local, (blurred / 255 - mean) / std)
    )


def looking_inside(vit, block, x, soft):
    """A block whose class token sees itself and the patches where the soft mask is not 0."""
    q, k, v = vit.parts(block, x)
    found = attention(q, k, v, vit.heads)
    seen = [0, *(1 + np.flatnonzero(soft))]
    found[0] = attention(q[:1], k[seen], v[seen], vit.heads)[0]
    return vit.fed(block, vit.added(block, x, found))


def mixed(vit, local, around, mask, fusion, masked_blocks):
    """The feature (d,) of one mask."""
    local, around = vit.tokens(local), vit.tokens(around)
    side = math.isqrt(len(local) - 1)
    soft = bilinear(mask.astype(float), (side, side)).ravel()
    for block in vit.blocks[:-masked_blocks]:
        local, around = vit.run(block, local), vit.run(block, around)
    to_local, to_around = local, around
    for block in vit.blocks[-masked_blocks:]:
        patches = [token * share for token, share in zip(around[1:], soft, strict=True)]
        to_local = vit.run(block, to_local + 2 * np.array([around[0], *patches]))
        to_around = looking_inside(vit, block, local + 2 * to_around, soft)
        local, around = vit.run(block, local), looking_inside(vit, block, around, soft)
    features = {"G2L": vit.out(to_local[0]), "L2G": vit.out(to_around[0])}
    return sum(features[way] for way in fusion.split("&"))


def gem(vit, pixels, blocks):
    """Unit features (h * w, d) of GEM's path."""
    x = vit.tokens(pixels, sharp)
    for number, block in enumerate(vit.blocks):
        if number == len(vit.blocks) - blocks:
            second = x
        if number >= len(vit.blocks) - blocks:
            q, k, v = vit.parts(block, x)
            normed = [math.sqrt((token**2).sum()) for token in block.norm(x, "ln_1", 1e-5)]
            width = q.shape[1] // vit.heads
            scale = sum(normed) / len(normed) / math.sqrt(width)
            found = np.zeros_like(q)
            for head in range(vit.heads):
                at = slice(head * width, (head + 1) * width)
                for part in (q, k, v):
                    gathered = softmax(scale * unit(part[:, at]) @ unit(part[:, at]).T)
                    again = unit(gathered @ unit(part[:, at]))
                    found[:, at] += softmax(scale * again @ again.T) @ v[:, at] / 3
            second = vit.added(block, second, found)
        x = vit.run(block, x)
    return unit(vit.out(second[1:]))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def heat_of(places, text, size, size_hw, place):
    """GEM's map over the picture, stretched, weighed by the columns."""
    side = math.isqrt(len(places))
    cosines = np.array([p @ unit(text) for p in places]).reshape(side, side)
    heat = stretched(smooth(bilinear(cosines, (size, size)), size_hw))
    width = size_hw[1]
    for x in range(width):
        if place == "left":
            heat[:, x] *= 1 - x / (width - 1)
        elif place == "right":
            heat[:, x] *= x / (width - 1)
        elif place == "middle":
            half = width // 2
            rising = x / (half - 1) if x < half else 1 - (x - half) / (width - half - 1)
            heat[:, x] *= rising
    return heat


def holds(relation, a, b):
    """Whether, or how far, box a stands so to box b."""
    (ax, ay), (bx, by) = (((c[0] + c[2]) / 2, (c[1] + c[3]) / 2) for c in (a, b))
    a_px, b_px = ((c[2] - c[0]) * (c[3] - c[1]) for c in (a, b))
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    return {
        "left": ax < bx, "right": ax > bx, "up": ay < by, "down": ay > by,
        "big": a_px > b_px, "small": a_px < b_px,
        "within": max(wide, 0) * max(high, 0) / a_px,
    }[relation]  # fmt: skip


def decision(p, q, masks, relation, heat, alpha=0.6, tops=(3, 6)):
    """The scores of the masks that p holds for likeliest, by their number; q: None without."""
    likeliest = sorted(range(len(p)), key=lambda n: -p[n])[: tops[0]]
    weights = p if q is None else q
    landmarks = likeliest if q is None else sorted(range(len(q)), key=lambda n: -q[n])[: tops[1]]
    t = []
    for i in likeliest:
        total = 0
        for j in landmarks:
            a, b = ((c[0].min(), c[1].min(), c[0].max() + 1, c[1].max() + 1)
                    for c in (np.nonzero(masks[k])[::-1] for k in (i, j)))  # fmt: skip
            so = 1 if relation == "none" else weights[j] * holds(relation, a, b)
            total += p[i] * so
        t.append(total)
    t = softmax(np.array(t))
    b = {"big": 1.95, "small": 1.5}.get(relation, 1.8)
    heat = heat / heat.mean()
    s = [(2 - b) * heat[masks[i]].mean() - b * heat[~masks[i]].mean() for i in likeliest]
    return {i: (1 - alpha) * t[k] + alpha * s[k] for k, i in enumerate(likeliest)}
