"""Serving replicas as jobs: which model servers run, where, and what happens when one dies."""
