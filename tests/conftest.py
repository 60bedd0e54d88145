"""Fixtures that several tests share; no test may reach the network."""

import socket

import numpy as np
import pytest
import torch
from hypothesis import Phase, settings
from numpy.typing import NDArray

# make mutants: the same examples for every mutant, and none made smaller
settings.register_profile(
    "mutants", settings.get_profile("ci"), phases=[Phase.explicit, Phase.generate]
)


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse every connection that leaves the machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        local = self.family == getattr(socket, "AF_UNIX", None) or (
            isinstance(address, tuple) and address[0] in {"127.0.0.1", "::1", "localhost"}
        )
        if not local:
            raise AssertionError(f"a test tried to reach {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """What torch draws in a test does not hang on the tests before it."""
    torch.manual_seed(0)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def picture(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Uint8 (60, 80, 3): noise with a bright disc and a dark square."""
    image = rng.integers(60, 120, (60, 80, 3), dtype=np.uint8)
    y, x = np.mgrid[:60, :80]
    image[(y - 20) ** 2 + (x - 20) ** 2 < 150] = (240, 40, 40)
    image[35:55, 50:70] = (20, 20, 200)
    return image


@pytest.fixture
def masks() -> NDArray[np.bool_]:
    """Bool (3, 60, 80): a disc, a square, and the square's upper half."""
    y, x = np.mgrid[:60, :80]
    disc = (y - 20) ** 2 + (x - 20) ** 2 < 150
    square = (y >= 35) & (y < 55) & (x >= 50) & (x < 70)
    return np.stack([disc, square, square & (y < 45)])


# ------------------------------------------------------------------ see light.py


@pytest.fixture(scope="session")
def parser():
    """The parser of sentences."""
    import light

    return light.PARSER


@pytest.fixture
def make_tas():
    """A function: `tiny` with settings changed, with parts that need no weights."""
    import light

    return light.light_tas


@pytest.fixture
def tas(make_tas):
    """`tiny` with parts that need no weights."""
    return make_tas()


@pytest.fixture
def dataset(tmp_path):
    """Six pictures in RefCOCO's layout below tmp_path, five sentences each."""
    import light

    return light.make_dataset(tmp_path)


@pytest.fixture
def world(dataset, tmp_path, monkeypatch):
    """That data set, which `load_dataset` finds, and what `load` has made, light parts in all."""
    import light

    from tasutils import paths
    from tasutils.datasets.coco import load_refcoco

    made = []

    def load_dataset(name, split, split_by=None, root=None, images=None):
        return load_refcoco(tmp_path, name, "tas", split, tmp_path / "images")

    def load(preset, device=None):
        made.append(light.light_tas())
        made[-1].preset, made[-1].wanted_device = preset, device
        return made[-1]

    monkeypatch.setattr("tasutils.datasets.load_dataset", load_dataset)
    monkeypatch.setattr("tasutils.tas.load", load)
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    return dataset, made


@pytest.fixture
def seeing(monkeypatch):
    """`tas` with parts that see boxes and colours in place of networks."""
    import published_trees

    monkeypatch.setattr("tasutils.tas.load", published_trees.load_seeing)
