"""The transport layer: which port of the host leads where."""
