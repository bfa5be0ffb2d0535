"""What exists: the project, its datasets, views and functions, sessions, plans, and the tables that record them.

This layer promises values: everything that it hands upward is parsed, validated and frozen.
It imports `datafusion_ext` and never `incremental` or `daemon`; only `registry.session` constructs an engine, and only
`registry.project`, `registry.artifacts` and `registry.python_views` touch the outside world.
"""
