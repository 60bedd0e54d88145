"""A bench as text: the table that `tas bench` prints, with its foot."""

from __future__ import annotations

from collections.abc import Sequence

from tasutils.bench.rows import Bench, Row, Spread, Target

HEAD = ("what", "ours", "plain loop", "ratio", "target", "")


def table_text(bench: Bench) -> str:
    """The rows by section, what was checked, and under what conditions all was measured."""
    lines: list[str] = []
    for section in dict.fromkeys(row.section for row in bench.rows):
        lines += section_lines([row for row in bench.rows if row.section == section]) + [""]
    return "\n".join([*lines, *foot_lines(bench)])


def section_lines(rows: Sequence[Row]) -> list[str]:
    """The table of one section and the remarks under it."""
    measured = [row for row in rows if not row.skipped]
    cells = [HEAD, *(_cells(row) for row in measured)]
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEAD))]
    lines = [rows[0].section]
    if measured:
        lines += [
            "  " + "  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip()
            for line in cells
        ]
    lines += [f"  not measured: {row.what}: {row.skipped}" for row in rows if row.skipped]
    for row in measured:
        if row.measures:
            numbers = ", ".join(f"{k} {number(v)}" for k, v in row.measures.items())
            lines.append(f"    {row.what}: {numbers}")
    remarks = [f"checked: {row.checked}" for row in measured if row.checked]
    remarks += [row.note for row in measured if row.note]
    return lines + [f"    {remark}" for remark in dict.fromkeys(remarks)]


def _cells(row: Row) -> tuple[str, ...]:
    verdict = {True: "reached", False: "not reached", None: ""}[row.met]
    per = f" / {row.per}" if row.per and row.ours_s else ""
    target = target_text(row.target)
    return (
        row.what,
        seconds(row.ours_s) + per,
        seconds(row.plain_s),
        ratio_text(row.ratio),
        target,
        verdict,
    )


def seconds(spread: Spread | None) -> str:
    """The median of seconds in a unit that reads well; empty for none.

    >>> seconds(Spread(median=0.0123, low=0.01, high=0.02, n=3))
    '12.3 ms'
    """
    if spread is None:
        return ""
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if spread.median * factor >= 1:
            return f"{spread.median * factor:.3g} {unit}"
    return f"{spread.median * 1e6:.3g} us"


def ratio_text(spread: Spread | None) -> str:
    """A ratio with its range; empty for none.

    >>> ratio_text(Spread(median=8.04, low=7.9, high=8.21, n=3))
    '8.0x [7.9, 8.2]'
    """
    if spread is None:
        return ""
    digits = 0 if spread.median >= 100 else 1
    return f"{spread.median:.{digits}f}x [{spread.low:.{digits}f}, {spread.high:.{digits}f}]"


def target_text(target: Target | None) -> str:
    """What is hoped for, with its unit; empty for none."""
    if target is None:
        return ""
    parts = [
        f"{sign} {number(value)}"
        for sign, value in ((">=", target.at_least), ("<=", target.at_most))
        if value is not None
    ]
    unit = {"ratio": "x", "ours_s": " s"}.get(target.number, f" {target.number}")
    return " ".join(parts) + unit


def number(value: float) -> str:
    """Four digits at most, or a whole number with its thousands apart.

    >>> number(0.123456), number(123456.0), number(8)
    ('0.1235', '123,456', '8')
    """
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def foot_lines(bench: Bench) -> list[str]:
    """The conditions in a few lines, and a warning where the machine had other work."""
    c = bench.conditions
    load = c["load_before"]
    lines = [
        f"preset {c['preset']} ({c['preset_digest'][:12]}), {c['device_name']}, "
        f"{c['cores']} cores, {c['threads']} threads, commit {c['commit'] or 'unknown'}"
        f"{' with changes' if c['dirty'] else ''}",
        f"load average {load:.2f} before, {c['load_after']:.2f} after; {c['created']}",
    ]
    if c["busy"]:
        lines.append(
            f"THE MACHINE WAS BUSY ({load:.2f} on {c['cores']} cores before the start): both sides "
            "of a ratio had it, seconds and targets in seconds are too high"
        )
    return lines
