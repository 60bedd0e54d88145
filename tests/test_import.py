"""`import tasutils` is light."""

import subprocess
import sys

import pytest

HEAVY = "torch spacy nltk pandas transformers open_clip segment_anything numpy pydantic PIL"

PROBE = f"""
import sys, time
start = time.process_time()
import tasutils
took_s = time.process_time() - start
assert not [name for name in "{HEAVY}".split() if name in sys.modules], sys.modules.keys()
assert took_s < 0.5, took_s
assert set(tasutils.__all__) <= set(dir(tasutils))
from tasutils import TasError, load_preset, load, read_image
load("tiny")
assert not [name for name in "torch spacy nltk pandas".split() if name in sys.modules]
"""


def test_import_is_light():
    subprocess.run([sys.executable, "-c", PROBE], check=True)


def test_public_names():
    import tasutils

    for name in tasutils.__all__:
        assert getattr(tasutils, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = tasutils.nonsense


def test_version_is_the_package_s():
    from importlib.metadata import version

    import tasutils

    assert tasutils.__version__ == version("tasutils")
