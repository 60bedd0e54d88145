"""What things cost: see `python tests/bench --help`."""
