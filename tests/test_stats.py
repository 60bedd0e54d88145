"""The bootstrap over images against a loop that draws images one by one."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasutils.metrics import METRIC_NAMES, metric
from tasutils.stats import bootstrap, bootstrap_ci, paired_difference


def table(seed=0, n=400, n_images=60):
    rng = np.random.default_rng(seed)
    image = np.sort(rng.integers(0, n_images, n))
    union = rng.integers(1, 1000, n)
    skill = rng.random(n_images)[image]  # sentences of one image succeed together
    inter = np.minimum(union, (union * np.clip(skill + rng.normal(0, 0.1, n), 0, 1)).astype(int))
    return inter, union, image


def slow_interval(inter, union, image, name, seed, n=1000):
    """Lists of drawn images, sentences gathered one image after the other."""
    rng = np.random.default_rng(seed)
    names = sorted(set(image.tolist()))
    values = []
    for _ in range(n):
        counts = rng.multinomial(len(names), [1 / len(names)] * len(names))
        rows = [
            row
            for chosen, count in zip(names, counts, strict=True)
            for _ in range(count)
            for row in np.flatnonzero(image == chosen)
        ]
        values.append(metric(inter[rows], union[rows], name))
    return np.quantile(values, 0.025), np.quantile(values, 0.975)


@pytest.mark.parametrize("name", ["oiou", "miou", "p@0.5"])
def test_against_slow_reference(name):
    inter, union, image = table(n=80, n_images=15)
    low, high = slow_interval(inter, union, image, name, seed=3)
    assert bootstrap_ci(inter, union, image, name, seed=3) == pytest.approx((low, high), abs=1e-12)


def test_value_n_and_order():
    inter, union, image = table()
    found = bootstrap(inter, union, image)
    assert tuple(found) == METRIC_NAMES
    for name, interval in found.items():
        assert interval.value == pytest.approx(metric(inter, union, name), abs=1e-12)
        assert interval.low <= interval.value <= interval.high
        assert (interval.n, interval.n_images) == (400, len(set(image.tolist())))


def test_seeded_and_independent_of_the_order_of_rows():
    inter, union, image = table()
    mixed = np.random.default_rng(1).permutation(len(inter))
    first = bootstrap(inter, union, image, seed=5)
    assert first == bootstrap(inter, union, image, seed=5)
    assert first != bootstrap(inter, union, image, seed=6)
    shuffled = bootstrap(inter[mixed], union[mixed], image[mixed], seed=5)
    for name in METRIC_NAMES:
        assert shuffled[name] == pytest.approx(first[name], abs=1e-12)


def test_images_not_sentences_are_resampled():
    """Copies of the same sentences in the same images leave the interval as wide as it was."""
    inter, union, image = table()
    once = bootstrap(inter, union, image)["miou"]
    tenfold = bootstrap(np.tile(inter, 10), np.tile(union, 10), np.tile(image, 10))["miou"]
    assert tenfold[:3] == pytest.approx(once[:3], abs=1e-12)
    alone = bootstrap(inter, union, np.arange(len(inter)))["miou"]
    assert alone.high - alone.low < once.high - once.low


def test_coverage_of_a_known_mean():
    rng = np.random.default_rng(0)
    hits = 0
    for trial in range(200):
        ious = rng.random(40)
        found = bootstrap(
            (ious * 1e6).astype(int), np.full(40, 10**6), np.arange(40), ("miou",), seed=trial,
            n_resamples=400,
        )["miou"]  # fmt: skip
        hits += found.low <= 0.5 <= found.high
    assert 0.88 <= hits / 200 <= 0.99


def test_paired_difference_is_exact_and_narrower_than_unpaired():
    inter, union, image = table()
    better = np.minimum(union, inter + union // 20)
    found = paired_difference((better, union), (inter, union), image)
    for name, interval in found.items():
        difference = metric(better, union, name) - metric(inter, union, name)
        assert interval.value == pytest.approx(difference, abs=1e-12)
    alone = bootstrap(inter, union, image)["miou"]
    assert found["miou"].low > 0
    assert found["miou"].high - found["miou"].low < (alone.high - alone.low) / 3


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 1000), st.integers(1, 30))
def test_a_method_differs_from_itself_by_exactly_nothing(seed, n):
    inter, union, image = table(seed, n, 5)
    found = paired_difference((inter, union), (inter, union), image, n_resamples=50)
    assert all(interval[:3] == (0, 0, 0) for interval in found.values())
    swapped = paired_difference((union, union), (inter, union), image, ("miou",), n_resamples=50)
    back = paired_difference((inter, union), (union, union), image, ("miou",), n_resamples=50)
    one, other = swapped["miou"], back["miou"]
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-12)


def test_degenerate_tables_have_no_nan():
    empty = bootstrap([], [], [])
    assert all(interval == (0, 0, 0, 0, 0) for interval in empty.values())
    assert all(i[:3] == (0, 0, 0) for i in bootstrap([0, 0], [0, 0], ["a", "b"]).values())
    assert bootstrap([3], [4], ["only"])["miou"][:3] == (0.75, 0.75, 0.75)
    mixed = bootstrap([0, 5], [0, 10], ["a", "b"])  # a resample may hold the empty union alone
    assert all(np.isfinite(interval).all() for interval in mixed.values())


def test_unequal_methods_are_refused():
    with pytest.raises(ValueError, match="same samples"):
        paired_difference(([1], [1]), ([1, 1], [1, 1]), ["a"])


def test_a_thousand_resamples_of_a_published_split_take_little_time():
    inter, union, image = table(n=10_834, n_images=1500)
    start = time.perf_counter()
    bootstrap(inter, union, image)
    assert time.perf_counter() - start < 5
