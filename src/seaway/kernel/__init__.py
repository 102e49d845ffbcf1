"""The only code that changes the kernel (BPF apart); one file for each kind of object."""
