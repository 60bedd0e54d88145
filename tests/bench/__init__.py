"""What things cost: each row a ratio against a plainly written loop, measured in the same run.

`make bench`, or `python tests/bench [SECTION ...]`. Both sides' outputs are compared first; where
they differ, nothing is timed.
"""
