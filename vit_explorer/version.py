"""The package's version, also where it runs from a clone."""

__version__ = "0.1.0"
