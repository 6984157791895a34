"""Declaring, running, judging and showing experiments."""
