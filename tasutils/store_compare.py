"""Whether two stores hold the same scenes, row for row."""

import hashlib

from tasutils.store import SceneStore
from tasutils.store_rows import schema

ASIDE = ("times_s", "source")  # how long it took, and whose file had these pixels first


def store_differences(a: SceneStore, b: SceneStore) -> list[str]:
    """A line for each scene that only one of two stores has or that differs, sorted by key.

    Every column is compared bit for bit but those of `ASIDE`. Only digests are kept in memory.
    """
    rows_a, rows_b = _digests(a), _digests(b)
    lines = []
    for key in sorted(rows_a.keys() | rows_b.keys()):
        if key not in rows_a or key not in rows_b:
            lines.append(f"{key}: only in {(a if key in rows_a else b).folder}")
        elif rows_a[key] != rows_b[key]:
            names = [n for n, value in rows_a[key].items() if value != rows_b[key][n]]
            lines.append(f"{key}: another {', '.join(names)}")
    return lines


def _digests(store: SceneStore) -> dict[str, dict[str, bytes]]:
    columns = [name for name in schema().names if name not in ASIDE]
    return {
        row["key"]: {n: hashlib.sha256(repr(v).encode()).digest() for n, v in row.items()}
        for table in store.tables(columns)
        for row in table.to_pylist()
    }
