"""What hosts tell each other: probes, link state, paths. A process of its own, `seaway routed`."""
