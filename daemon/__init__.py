"""When things are done: watching, scheduling, the service, its control socket, `daemonctl`, metrics.

Invariant: only this package knows the clock, sockets and signals.
Nothing is imported here, so that a command prints before anything heavy is loaded.
"""
