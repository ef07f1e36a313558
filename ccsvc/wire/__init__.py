"""Bytes to messages and back, for Asterisk's two text protocols: `ami` (manager interface) and `agi` (gateway).

Sans-IO: nothing here knows a socket, a clock or a log. Bytes in any portions go in, typed messages come out, and
whatever is written has been checked to arrive as it was meant.
"""
