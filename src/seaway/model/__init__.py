"""Frozen typed values, and the parsing and validation of all input. No I/O."""
