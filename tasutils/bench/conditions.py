"""Under what conditions a bench ran."""

from __future__ import annotations

import os
import platform
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasutils import paths
from tasutils.config import Preset
from tasutils.provenance import git_state, library_versions

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


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_average() -> float:
    """Mean number of running processes in the last minute; 0 where the system does not tell."""
    return os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0


def device_name(device: str) -> str:
    """The name of a GPU, or of the processor."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    if info.is_file():
        lines = info.read_text(errors="replace").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or platform.machine()
