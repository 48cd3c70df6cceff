"""The worker: takes jobs off the queue and restores the faces; also the command line."""
