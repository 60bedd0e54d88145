"""TAS: zero-shot referring image segmentation; describe an image once, refer to it many times.

>>> import tasutils
>>> tas = tasutils.load("tiny")                              # doctest: +SKIP
>>> answer = tas.segment("picture.jpg", "the red car on the left")   # doctest: +SKIP
>>> answer.table()                                           # doctest: +SKIP
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tasutils.config import load_preset
    from tasutils.errors import TasError
    from tasutils.images import read_image
    from tasutils.tas import TAS, load, segment

# OpenMP's threads spin while they wait, which takes the time of whoever else works on the machine,
# and of themselves. Told before torch is loaded: GNU's on Linux, LLVM's and Intel's elsewhere.
os.environ.setdefault("GOMP_SPINCOUNT", "0")
os.environ.setdefault("KMP_BLOCKTIME", "0")

__version__ = "0.1.0"
__all__ = ["TAS", "TasError", "__version__", "load", "load_preset", "read_image", "segment"]

_HOMES = {
    "TAS": "tasutils.tas",
    "TasError": "tasutils.errors",
    "load": "tasutils.tas",
    "load_preset": "tasutils.config",
    "read_image": "tasutils.images",
    "segment": "tasutils.tas",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import tasutils` stays light."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tasutils' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
