"""The connection to Redis: client, Lua scripts, time limits."""
