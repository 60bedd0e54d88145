"""The peer methods written out in numpy, float64: one mask, one token, one pixel at a time."""

import math

import numpy as np


class Weights:
    """The tensors of a state dict below a prefix, float64."""

    def __init__(self, state, prefix=""):
        self.state, self.prefix = state, prefix

    def at(self, name):
        return Weights(self.state, f"{self.prefix}{name}.")

    def __call__(self, name):
        return self.state[self.prefix + name].double().numpy()

    def linear(self, x, name):
        return x @ self(f"{name}.weight").T + self(f"{name}.bias")

    def norm(self, x, name, eps):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
        return scaled * self(f"{name}.weight") + self(f"{name}.bias")


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def attention(q, k, v, heads):
    """(t, d) each; every head looks from every place at every place."""
    width = q.shape[1] // heads
    out = np.zeros_like(q)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        for i in range(len(q)):
            logits = np.array([q[i, part] @ k[j, part] / math.sqrt(width) for j in range(len(k))])
            share = np.exp(logits - logits.max())
            out[i, part] = (share / share.sum()) @ v[:, part]
    return out


def cubic(x, a=-0.75):
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def bilinear(grid, size_hw):
    """(h, w, ...) to (H, W, ...), corners not aligned, edges repeated, no antialiasing."""
    (h, w), (height, width) = grid.shape[:2], size_hw
    large = np.zeros((height, width, *grid.shape[2:]))
    for y in range(height):
        for x in range(width):
            at_y = min(max((y + 0.5) * h / height - 0.5, 0), h - 1)
            at_x = min(max((x + 0.5) * w / width - 0.5, 0), w - 1)
            y0, x0 = math.floor(at_y), math.floor(at_x)
            y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
            upper = (1 - (at_x - x0)) * grid[y0, x0] + (at_x - x0) * grid[y0, x1]
            lower = (1 - (at_x - x0)) * grid[y1, x0] + (at_x - x0) * grid[y1, x1]
            large[y, x] = (1 - (at_y - y0)) * upper + (at_y - y0) * lower
    return large


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def stretched(x):
    return (x - x.min()) / (x.max() - x.min())


def mean_inside(heatmap, mask):
    values = [heatmap[y, x] for y, x in zip(*np.nonzero(mask), strict=True)]
    return sum(values) / len(values)


class Vit:
    """CLIP's ViT: `tokens` before the first block, `block` by block, `out` into the joint space."""

    def __init__(self, visual):
        self.w = Weights(visual.state_dict())
        self.patch = visual.patch_size[0]
        self.heads = visual.transformer.resblocks[0].attn.num_heads
        self.blocks = [
            self.w.at(f"transformer.resblocks.{i}") for i in range(visual.transformer.layers)
        ]

    def norm(self, x, name):
        return self.w.norm(x, name, 1e-5)

    def tokens(self, pixels, resampled=bilinear):
        """(1 + h * w, width) of a normalised picture (3, s, s)."""
        side, kernel = pixels.shape[1] // self.patch, self.w("conv1.weight")
        places = np.zeros((side, side, len(kernel)))
        for row in range(side):
            for column in range(side):
                y, x = row * self.patch, column * self.patch
                window = pixels[:, y : y + self.patch, x : x + self.patch]
                places[row, column] = (kernel * window).sum((1, 2, 3))
        table = self.w("positional_embedding")
        known = math.isqrt(len(table) - 1)
        positions = resampled(table[1:].reshape(known, known, -1), (side, side))
        first = self.w("class_embedding") + table[0]
        x = np.concatenate([first[None], (places + positions).reshape(side * side, -1)])
        return self.norm(x, "ln_pre") if "ln_pre.weight" in self.w.state else x

    def parts(self, block, x):
        """Queries, keys and values of normed tokens."""
        inner = block.norm(x, "ln_1", 1e-5)
        mixed = inner @ block("attn.in_proj_weight").T + block("attn.in_proj_bias")
        return np.split(mixed, 3, axis=1)

    def added(self, block, x, found):
        """The tokens and what attention found for them, no FFN."""
        return x + block("ls_1.gamma") * block.linear(found, "attn.out_proj")

    def fed(self, block, x):
        inner = gelu(block.linear(block.norm(x, "ln_2", 1e-5), "mlp.c_fc"))
        return x + block("ls_2.gamma") * block.linear(inner, "mlp.c_proj")

    def run(self, block, x):
        found = attention(*self.parts(block, x), self.heads)
        return self.fed(block, self.added(block, x, found))

    def out(self, x):
        return self.norm(x, "ln_post") @ self.w("proj")


def region_token(vit, pixels, mask, bias):
    """One mask: its class token sees its patches and itself, all others with an added bias."""
    x = vit.tokens(pixels)
    side = math.isqrt(len(x) - 1)
    height, width = mask.shape
    inside = [
        mask[row * height // side, column * width // side]
        for row in range(side)
        for column in range(side)
    ]
    token = x[0]
    for block in vit.blocks:
        both = np.concatenate([x[1:], token[None]])  # patches, then the mask's own token
        q, k, v = vit.parts(block, both)
        width_of = q.shape[1] // vit.heads
        found = np.zeros(q.shape[1])
        for head in range(vit.heads):
            part = slice(head * width_of, (head + 1) * width_of)
            logits = k[:, part] @ q[-1, part] / math.sqrt(width_of)
            logits[:-1] += np.where(inside, 0, bias)
            share = np.exp(logits - logits.max())
            found[part] = (share / share.sum()) @ v[:, part]
        token = vit.fed(block, vit.added(block, token, found))
        x = vit.run(block, x)
    return vit.out(token)


def vit_surgery(vit, pixels, blocks):
    x = vit.tokens(pixels)
    second = None
    for number, block in enumerate(vit.blocks):
        if number >= len(vit.blocks) - blocks:
            second = x if second is None else second
            v = vit.parts(block, x)[2]
            second = vit.added(block, second, attention(v, v, v, vit.heads))
        x = vit.run(block, x)
    return vit.out(np.concatenate([x[:1], second[1:]]))


def pool_tokens(pool, places):
    """What attnpool attends over: the mean of (h, w, c), then the places, positions added."""
    side, weights = len(places), Weights(pool.state_dict())
    flat = places.reshape(-1, places.shape[2])
    table = weights("positional_embedding")
    known = math.isqrt(len(table) - 1)
    positions = bilinear(table[1:].reshape(known, known, -1), (side, side)).reshape(flat.shape)
    return np.concatenate([flat.mean(0)[None] + table[0], flat + positions]), weights


def resnet_surgery(pool, places):
    x, weights = pool_tokens(pool, places)
    v = weights.linear(x, "v_proj")
    return weights.linear(attention(v, v, v, pool.num_heads), "c_proj")


def pooled(pool, places):
    x, weights = pool_tokens(pool, places)
    q, k, v = (weights.linear(x, f"{name}_proj") for name in "qkv")
    return weights.linear(attention(q, k, v, pool.num_heads), "c_proj")[0]


def surgery_map(tokens, texts, redundant=None):
    """Map (h * w,) of the first of unit texts (m, d); tokens (1 + h * w, d), class token first."""
    if redundant is not None:
        return np.array([(token * (texts[0] - redundant)).sum() for token in tokens[1:]])
    shares = np.exp(2 * np.array([tokens[0] @ text for text in texts]))
    weights = shares / shares.sum() / (shares / shares.sum()).mean()
    similarities = []
    for token in tokens[1:]:
        parts = [token * text * weight for text, weight in zip(texts, weights, strict=True)]
        similarities.append((parts[0] - sum(parts) / len(parts)).sum())
    return np.array(similarities)


def global_vit(vit, pixels, mask, masked_blocks):
    x = vit.tokens(pixels)
    side = math.isqrt(len(x) - 1)
    soft = bilinear(mask.astype(float), (side, side)).ravel()
    for number, block in enumerate(vit.blocks):
        if number >= len(vit.blocks) - masked_blocks:
            x = np.concatenate(
                [x[:1]] + [token[None] * s for token, s in zip(x[1:], soft, strict=True)]
            )
        x = vit.run(block, x)
    return vit.out(x[0])


def global_resnet(pool, places, mask):
    soft = bilinear(mask.astype(float), places.shape[:2])
    return pooled(pool, unit(places) * soft[..., None])


def filled_crop(normalised, mask, fill, size):
    """The box of a mask out of a normalised picture (H, W, 3), filled, stretched."""
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    filled = np.where(mask[..., None], normalised, fill)
    box = filled[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return bilinear(box, (size, size))
