"""Jobs in the API: submission, admission, long poll, erasure."""
