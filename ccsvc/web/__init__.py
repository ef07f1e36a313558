"""The daemon's HTTP face: metrics, health and a read-only API on one port.

Promises: nothing here changes anything; every answer carries the headers that keep a browser from misusing it; every
error of the API is JSON with a stable code. There are no tokens yet: caller numbers are shown by their last two
digits, and the port belongs on loopback or behind a proxy that asks who is there.
This package knows the picture of the centre (`ccsvc.domain.view`), not the centre.
"""
