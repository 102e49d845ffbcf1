"""The network layer: addresses, blocks, forwarding between endpoints."""
