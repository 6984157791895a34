"""Scores on the features of a classifier, and the classifiers."""
