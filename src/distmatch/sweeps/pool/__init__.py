"""Who performs a sweep's tasks: processes on this machine, or a Ray cluster."""
