"""Checks of the endpoints of this host, for the services that ask for them.

See docs/decisions/checks.md.
"""
