"""What HTTP clients send and see: the resources of the API, and the job as a resource."""
