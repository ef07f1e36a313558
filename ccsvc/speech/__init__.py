"""Speech (floor F2): the service's sentences, made once into the PBX's own formats and kept by content.

`builtin` holds the daemon's own sentences, `texts` what may be said, `espeak` says it, `levels` evens it out,
`formats` turns it into files for Asterisk, `library` keeps them, `music` makes the music on hold. Everything
here blocks: call it from a worker thread. Nothing here knows calls, queues or the PBX's manager interface.
"""
