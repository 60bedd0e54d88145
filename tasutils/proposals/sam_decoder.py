"""SAM's mask decoder over many points of one picture, doing once what all of them share."""

import torch
from segment_anything.modeling import Sam


def decode_points(
    sam: Sam, embedding: torch.Tensor, points_xy: torch.Tensor, pred_iou_thresh: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Small masks of points and the network's guesses of their quality, those of promise only.

    segment-anything's own modules. The picture enters the transformer once, not once a point, and
    branches where a point first changes it; only points with a promising mask are upscaled. On a
    CPU the result equals the library's bit for bit (see tests/test_sam_masks.py).

    Args:
        embedding: float (1, c, h, w), the encoder's.
        points_xy: float64 (m, 2), px of the network's input.
        pred_iou_thresh: a mask needs a higher guess; 0 or less lets every mask pass.

    Returns float32 logits (k, 4 h, 4 w) and float32 guesses (k,), in the order of the points and,
    for each, of its three masks.
    """
    decoder = sam.mask_decoder
    # a half-precision caller must not round coordinates
    with torch.autocast(embedding.device.type, enabled=False):
        labels = torch.ones((len(points_xy), 1), dtype=torch.int, device=points_xy.device)
        points, dense = sam.prompt_encoder((points_xy[:, None], labels), None, None)
        positions = sam.prompt_encoder.get_dense_pe()
    outputs = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat((outputs.expand(len(points), -1, -1), points), dim=1)  # (m, 5 + 2, c)
    queries, keys = decoder.transformer(embedding + dense[:1], positions, tokens)
    guesses = decoder.iou_prediction_head(queries[:, 0])[:, 1:].float()  # (m, 3)
    passes = guesses > (pred_iou_thresh if pred_iou_thresh > 0 else -torch.inf)
    used = passes.any(dim=1).nonzero()[:, 0]
    # for all points: a product of few rows is rounded otherwise
    mlps = decoder.output_hypernetworks_mlps
    weights = torch.stack([mlp(queries[:, 1 + i]) for i, mlp in enumerate(mlps)], dim=1)
    if not len(used):
        height, width = embedding.shape[-2:]
        return guesses.new_zeros((0, 4 * height, 4 * width)), guesses.new_zeros(0)
    # never one alone of several: its channels would lie otherwise and be summed otherwise
    pair = used.repeat(2) if len(used) == 1 < len(points) else used
    image = keys[pair].transpose(1, 2).unflatten(2, embedding.shape[-2:])
    image = decoder.output_upscaling(image)[: len(used)]
    logits = (weights[used] @ image.flatten(2)).unflatten(2, image.shape[-2:])[:, 1:]
    return logits[passes[used]].float(), guesses[used][passes[used]]
