"""The Celery queue. A message carries a job id and nothing else."""
