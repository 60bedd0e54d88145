"""What holds of every peer method: masks do not meddle, pictures are seen once, squares fit."""

import numpy as np
import pytest
import torch
from small_peers import (
    NAMES,
    PEERS,
    SENTENCES,
    TINY,
    full_scene,
    random_masks,
    scene_of,
    small_clip,
    small_tas,
)  # fmt: skip

from tasutils.baselines import make_method, scores_of
from tasutils.baselines.region_token import RegionToken
from tasutils.baselines.square import SquareConfig, masks_on_grid, square_picture
from tasutils.crops import whole_image
from tasutils.errors import TasError
from tasutils.expression import parse_expression
from tasutils.language.parse import Parser
from tasutils.loading import TAS

# scores


@pytest.mark.parametrize("name", PEERS)
def test_masks_do_not_meddle(name, picture, rng):
    masks = random_masks(rng, 7, (60, 80))
    method = make_method(name, small_tas())
    scores = scores_of(method, scene_of(masks), SENTENCES[0], picture)
    order = rng.permutation(7)
    again = scores_of(method, scene_of(masks[order]), SENTENCES[0], picture)
    np.testing.assert_allclose(again, scores[order], rtol=0, atol=1e-6)
    for number in (0, 3):
        alone = scores_of(method, scene_of(masks[[number]]), SENTENCES[0], picture)
        np.testing.assert_allclose(alone, scores[[number]], rtol=0, atol=1e-6)
    assert np.ptp(scores) > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_no_masks_no_scores(name, picture, rng):
    scene = full_scene(rng, np.zeros((0, 60, 80), bool))
    scores = scores_of(make_method(name, small_tas()), scene, SENTENCES[0], picture)
    assert scores.shape == (0,) and scores.dtype == np.float64


@pytest.mark.parametrize("name", PEERS)
def test_empty_and_tiny_masks_have_finite_scores(name, picture):
    masks = np.zeros((3, 60, 80), bool)
    masks[1, 59, 79] = masks[2] = True
    assert np.isfinite(
        scores_of(make_method(name, small_tas()), scene_of(masks), SENTENCES[0], picture)
    ).all()


@pytest.mark.parametrize("name", PEERS)
def test_a_picture_of_another_size_is_refused(name, picture):
    scene = scene_of(np.ones((1, 80, 60), bool))
    with pytest.raises(TasError, match="give the uint8"):
        make_method(name, small_tas()).score(scene, SENTENCES[0], picture)


@pytest.mark.parametrize("name", PEERS)
def test_pictures_are_seen_once_and_never_confused(name, picture, masks):
    """The towers' first layers run a fixed number of times, however many sentences come."""
    tas, scene = small_tas(), scene_of(masks)
    method, runs = make_method(name, tas), []
    count = method.encoder.model.visual.conv1.register_forward_hook(lambda *_: runs.append(1))
    try:
        first = [scores_of(method, scene, s, picture) for s in SENTENCES]
        once = len(runs)
        method.prepare(SENTENCES)
        assert [list(scores_of(method, scene, s, picture)) for s in SENTENCES] == [
            list(f) for f in first
        ]
        assert len(runs) == once <= 2  # Global-Local sees the picture and, in one batch, the crops
        drawn = picture.copy()
        scores_of(method, scene, SENTENCES[0], drawn)
        drawn[:, :40] = 255 - drawn[:, :40]  # drawn upon in place
        changed = scores_of(method, scene, SENTENCES[0], drawn)
        assert len(runs) == 2 * once
    finally:
        count.remove()
    fresh = scores_of(make_method(name, tas), scene, SENTENCES[0], drawn)
    assert np.array_equal(changed, fresh) and not np.allclose(changed, first[0], atol=1e-4)


def test_a_mask_over_everything_gives_the_pictures_embedding(picture):
    encoder = small_clip("vit")
    whole = np.ones((1, 60, 80), bool)
    token = RegionToken(encoder).embed_masks(picture, whole)
    token /= np.linalg.norm(token)
    plain = encoder.encode_images(whole_image(picture, encoder.image_size))
    np.testing.assert_allclose(token, plain, rtol=0, atol=1e-5)


def test_thirty_two_masks_cost_at_most_twice_one(rng):
    """Counted in multiplications, on the network of preset tiny."""
    from torch.utils.flop_counter import FlopCounterMode

    method = RegionToken(TAS(TINY, device="cpu").encoder)
    image = rng.integers(0, 256, (240, 320, 3), dtype=np.uint8)
    cost = {}
    for n in (1, 32):
        with FlopCounterMode(display=False) as counter:
            method.embed_masks(image, random_masks(rng, n, (240, 320)))
        cost[n] = counter.get_total_flops()
    assert cost[1] < cost[32] <= 2 * cost[1]


def test_columns_of_the_table(picture, rng):
    scene = full_scene(rng, random_masks(rng, 6, (60, 80)))
    for changes in ({}, {"scores.logit_scale": True}, {"encoder.template": "see a {}"}):
        tas = TAS(TINY.override(changes), encoder=small_clip("vit"), language=Parser())
        for text in ("the red car on the left", "dog", "bottle at the bottom right"):
            answer = tas.refer(scene, text, dataset="refscenesg")
            table, read = answer.table(), parse_expression(text, tas.language, tas.preset)
            for name, column in (("clip_only", "v"), ("text_only", "p")):
                scores = make_method(name, tas).score(scene, read, picture)
                np.testing.assert_allclose(scores, table[column], rtol=0, atol=1e-5)
            ranks = make_method("tas", tas, "refscenesg").score(scene, read, picture)
            assert int(ranks.argmax()) == answer.chosen
            assert list(np.argsort(-ranks)) == list(table["rank"].sort_values().index)


@pytest.mark.parametrize("bad", [[1.0], [np.nan, 1, 2], [[1, 2, 3]], "abc"])
def test_scores_are_checked(bad, picture, masks):
    class Faulty:
        name = "faulty"

        def score(self, scene, expression, image):
            return np.array(bad)

    with pytest.raises((TasError, ValueError)):
        scores_of(Faulty(), scene_of(masks), SENTENCES[0], picture)


# squares


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("antialias", [True, False])
def test_squares_are_torchvisions(interpolation, antialias, picture, masks):
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import resize

    encoder = small_clip("vit")
    config = SquareConfig(interpolation=interpolation, antialias=antialias, statistics="imagenet")
    seen = encoder.pixel_values(square_picture(picture, encoder, config))[0]
    planes = torch.from_numpy(picture).permute(2, 0, 1) / 255
    wanted = resize(planes, [32, 32], InterpolationMode(interpolation), antialias=antialias)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    wanted = (wanted.clamp(0, 1) - mean.view(3, 1, 1)) / std.view(3, 1, 1)
    torch.testing.assert_close(seen, wanted, rtol=0, atol=1e-5)
    soft = masks_on_grid(masks, (7, 7), "cpu", "bilinear", antialias)
    torch.testing.assert_close(
        soft, resize(torch.from_numpy(masks).float(), [7, 7], antialias=antialias)
    )


def test_antialiasing_matters_for_soft_masks(masks):
    soft, rough = (masks_on_grid(masks, (7, 7), "cpu", "bilinear", a) for a in (True, False))
    assert (soft - rough).abs().max() > 0.2
