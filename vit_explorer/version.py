"""The package's version, also where it runs from a clone."""

VERSION = "0.1.0"
