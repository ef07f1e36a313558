"""ccsvc: the control service that turns an Asterisk PBX into a contact centre."""

__version__ = "0.1.0"
