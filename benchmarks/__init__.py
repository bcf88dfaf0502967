"""Figures, each measured beside its comparison in one run; `make bench`."""
