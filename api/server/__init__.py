"""The HTTP server of the API: asyncio and h11 in front, the Flask application in threads behind.

A client's connection costs a coroutine. A thread is taken only for a request that has come in
whole, and for as long as the application works on it.
"""

from __future__ import annotations

from api.server.server import Server

__all__ = ["Server"]
