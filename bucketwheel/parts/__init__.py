"""The parts of a system, each run by a process of its own: intake, worker, Flower."""
