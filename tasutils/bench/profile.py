"""Where the time goes: what a call spends in which function, and what its scenes say of stages."""

from __future__ import annotations

import cProfile
import pstats
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from tasutils.scene import Scene

_BUILTIN = re.compile(r"[<{]?built-in method (?:of type object )?([\w.]+)|method '(\w+)' of '(\w+)")


def profiled(run: Callable[[], object]) -> pd.DataFrame:
    """One row a function of a call, by the time in itself: function, calls, own_s, share.

    share: of all own times. The profiler itself slows calls of Python, so shares are rough.
    """
    import pandas as pd

    profile = cProfile.Profile()
    profile.runcall(run)
    found: dict[str, list[float]] = {}
    for (file, _, name), (_, calls, own_s, _, _) in pstats.Stats(profile).stats.items():  # type: ignore[attr-defined]
        row = found.setdefault(_readable(file, name), [0.0, 0.0])
        row[0] += calls
        row[1] += own_s
    table = pd.DataFrame.from_dict(found, orient="index", columns=["calls", "own_s"])
    table = table.rename_axis("function").reset_index().astype({"calls": int})
    table["share"] = table["own_s"] / table["own_s"].sum()
    return table.sort_values("own_s", ascending=False, ignore_index=True)


def _readable(file: str, name: str) -> str:
    """A function's name after its file's, without folders; of a compiled one the name alone.

    >>> _readable("~", "<built-in method torch._C._nn.linear>"), _readable("/a/b/masks.py", "iou")
    ('torch.linear', 'masks.iou')
    """
    if found := _BUILTIN.search(name):
        return (found[1] or f"{found[3]}.{found[2]}").replace("._C._nn.", ".")
    return f"{Path(file).stem}.{name}" if file not in ("~", "") else name


def stage_times(scenes: Iterable[Scene]) -> pd.DataFrame:
    """Seconds of each stage of describe(), one row a scene, index image_id, stages as they came."""
    import pandas as pd

    rows = {scene.image_id: scene.times_s for scene in scenes}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("image_id")
