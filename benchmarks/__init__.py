"""Measurements of the whole path as ratios within one run; `python -m benchmarks` runs them.

Nothing here is a test: no figure fails a build, and results that miss their goal are shown as such.
"""
