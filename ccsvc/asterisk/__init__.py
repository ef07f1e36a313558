"""The PBX's side of the daemon: what is said to Asterisk and heard from it.

`ami_link` is a connection to the manager interface (AMI), `fastagi` the server that customers' sessions come to. Both
carry messages of `ccsvc.wire` and know nothing of calls, queues or agents; their neighbours translate. Asterisk's
names (channel, uniqueid) stay in this package.
"""
