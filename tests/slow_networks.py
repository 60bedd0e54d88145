"""A ViT and a BERT written out in numpy, float64, one picture or text at a time."""

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


def vit_tokens(weights, pixels, patch, heads, layers):
    """Tokens (1 + h * w, d) after the final norm of one picture (3, s, s), normalised."""
    side, kernel = pixels.shape[1] // patch, weights("patch_embed.proj.weight")
    x = [weights("cls_token")[0, 0]]
    for row in range(side):
        for column in range(side):
            y, x0 = row * patch, column * patch
            block = pixels[:, y : y + patch, x0 : x0 + patch]
            x.append((kernel * block).sum((1, 2, 3)) + weights("patch_embed.proj.bias"))
    x = np.stack(x) + weights("pos_embed")[0]
    for number in range(layers):
        block = weights.at(f"blocks.{number}")
        q, k, v = np.split(block.linear(block.norm(x, "norm1", 1e-6), "attn.qkv"), 3, axis=1)
        x = x + block.linear(attention(q, k, v, heads), "attn.proj")
        inner = gelu(block.linear(block.norm(x, "norm2", 1e-6), "mlp.fc1"))
        x = x + block.linear(inner, "mlp.fc2")
    return weights.norm(x, "norm", 1e-6)


def bert_states(weights, ids, heads, layers):
    """States (t, d) after the first layers of one text; padding is left out, not masked."""
    x = weights("embeddings.word_embeddings.weight")[ids]
    x = x + weights("embeddings.position_embeddings.weight")[: len(ids)]
    x = x + weights("embeddings.token_type_embeddings.weight")[0]
    x = weights.norm(x, "embeddings.LayerNorm", 1e-12)
    for number in range(layers):
        layer = weights.at(f"encoder.layer.{number}")
        q, k, v = (layer.linear(x, f"attention.self.{name}") for name in ("query", "key", "value"))
        mixed = layer.linear(attention(q, k, v, heads), "attention.output.dense")
        x = layer.norm(x + mixed, "attention.output.LayerNorm", 1e-12)
        inner = gelu(layer.linear(x, "intermediate.dense"))
        x = layer.norm(x + layer.linear(inner, "output.dense"), "output.LayerNorm", 1e-12)
    return x


def cubic(x, a=-0.75):
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0


def resized(grid, side):
    """(k, k, d) to (side, side, d) bicubically, edges repeated, corners not aligned."""
    k = len(grid)
    weights = np.zeros((side, k))
    for i in range(side):
        place = (i + 0.5) * k / side - 0.5
        for j in range(math.floor(place) - 1, math.floor(place) + 3):
            weights[i, min(max(j, 0), k - 1)] += cubic(place - j)
    return np.einsum("ai,bj,ijd->abd", weights, weights, grid)
