"""What `make coverage` prints: lines and branches that the tests run, and the least covered files.

python tests/covered.py COVERAGE.json
"""

import json
import sys


def main(path: str) -> None:
    with open(path, encoding="utf-8") as file:
        report = json.load(file)
    total = report["totals"]
    for what, done, number in (
        ("lines", total["covered_lines"], total["num_statements"]),
        ("branches", total["covered_branches"], total["num_branches"]),
    ):
        print(f"{what}: {done} of {number}, {100 * done / number:.1f} %")
    files = sorted(
        report["files"].items(), key=lambda item: item[1]["summary"]["percent_statements_covered"]
    )
    print("least covered:")
    for name, found in files[:10]:
        part = found["summary"]
        missing = ", ".join(str(line) for line in found["missing_lines"][:12])
        print(f"  {part['percent_statements_covered']:5.1f} %  {name}: {missing}")


if __name__ == "__main__":
    main(sys.argv[1])
