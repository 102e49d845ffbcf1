"""The data plane as the kernel holds it: programs, maps and what is attached where.

Nothing here decides; what the maps should hold comes from `seaway.desired`.
"""
