"""Pools that perform a sweep's tasks: processes on this machine, or a Ray cluster."""
