"""Chaos: a whole system under load, faults at random times, and an account of every upload.

Run it with `make chaos`, or `python -m chaos --seed 7 --minutes 3`.
"""
