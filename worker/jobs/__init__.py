"""One job in the worker: claim, fetch, restore, publish, finish."""
