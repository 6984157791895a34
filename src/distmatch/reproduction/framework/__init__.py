"""What an experiment is, how it is run, judged and shown."""
