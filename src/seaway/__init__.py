"""Seaway: one container network for containers of any runtime."""

__version__ = "0.1.0"
