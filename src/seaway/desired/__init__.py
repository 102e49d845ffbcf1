"""What should be, decided without I/O: for one kernel key, from facts, through a view."""
