"""The resolver: answers of our names, and asks others for the rest; a process of its own."""
