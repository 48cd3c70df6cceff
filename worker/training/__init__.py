"""Training and measuring restorers; nothing here is needed to serve them."""
