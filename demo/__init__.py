"""The show window: real photographs go through the whole system, and the result is looked at."""
