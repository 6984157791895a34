"""How the bench runs each diagnostic on a subject, one file for each group."""
