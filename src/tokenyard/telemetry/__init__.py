"""Structured logs and metrics; every name is declared once, here."""
