"""What has to be done, and doing it: frontiers, invalidation, alignment, strategy, cycles, preview, audit, why.

The deciding files are pure functions over values.
The edges are `observation.py`, `planning.py`, `execution.py`, `cycle.py`, `audit.py` and `keeper.py`: only they call
the engine.
"""
