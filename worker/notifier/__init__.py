"""The notifier process: webhooks, the dispatcher, the reaper and periodic sweeps."""
