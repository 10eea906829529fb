"""Runs: notebooks with parameters, sweeps of them, and the tables that their results fill."""
