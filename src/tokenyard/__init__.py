"""Tokenyard: a self-hosted AI platform; three systems on one fleet and one ledger."""

__version__ = "0.1.0"
