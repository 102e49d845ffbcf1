"""Front doors: the protocols of container runtimes, led to the agent's intents. No logic."""
