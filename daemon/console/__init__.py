"""The console: pages and JSON for a browser, on the TCP side of the service.

Its facts come from the operations that `daemonctl` uses, and from the service's memory; it has none of its own.
"""
