"""Webhooks: events, signatures, the retry schedule and the outbox of deliveries."""
