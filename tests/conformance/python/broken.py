"""A module that lacks another."""

import importlib

importlib.import_module("absent_module")
