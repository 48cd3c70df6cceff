"""The job: its states, its record in Redis, and every transition between states."""
