"""Connections to addresses that customers choose, protected against SSRF."""
