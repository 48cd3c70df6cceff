"""``facemend restore``: photos on this machine, no server."""
