"""Runs the domain: one bounded inbox, one consumer, timers, executor, use cases, and the ports they need."""
