"""Tenants: their API keys, rate limits and usage."""
