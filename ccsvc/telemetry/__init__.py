"""What the daemon tells about itself: JSON log lines and Prometheus metrics.

Promises: nothing that leaves here holds a secret, a PIN or (at INFO and above) a whole caller number. Numbers are
rendered, never computed: their meaning is `ccsvc.domain.stats`'s. This package opens no sockets.
"""
