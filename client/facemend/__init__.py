"""Facemend: the client of the HTTP API."""
