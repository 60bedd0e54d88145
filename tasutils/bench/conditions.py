"""Under what conditions a bench ran."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from typing import Any

from tasutils import paths
from tasutils.config import Preset
from tasutils.provenance import cores, device_name, git_state, library_versions

BUSY = 0.25  # load average a core that was there before we started


def conditions(preset: Preset, device: str) -> dict[str, Any]:
    """Machine, libraries, preset, commit and load, as JSON takes them; `load_after` comes later.

    load_before: mean number of running processes in the minute before; busy: whether that is more
    than a quarter of the cores; threads: those of torch.
    """
    import torch

    commit, dirty = git_state(paths.ROOT)
    load = load_average()
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "preset": preset.name,
        "preset_digest": preset.digest(),
        "describe_digest": preset.describe_digest(),
        "device": device,
        "device_name": device_name(device),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": library_versions(),
        "commit": commit,
        "dirty": dirty,
        "load_before": load,
        "load_after": load,
        "busy": load > BUSY * cores(),
    }


def load_average() -> float:
    """Mean number of running processes in the last minute; 0 where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
