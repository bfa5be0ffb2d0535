"""Telling others what happens: webhooks, OpenLineage, OpenTelemetry; all off by default.

Invariant: nothing here can hold up or fail a refresh: what is told goes through bounded queues to threads of their own,
and what does not fit is dropped and counted.
"""
