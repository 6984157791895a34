"""The terms that objectives are made of."""
