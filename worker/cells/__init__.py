"""Cells: moving a tenant from one to another, and the map for the router in front of them.

A cell is one Redis, one bucket, and API, notifier and workers for a group of tenants.
"""
