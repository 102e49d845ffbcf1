"""The agent's HTTP API on its unix socket. Thin: requests to intents and back, no logic."""
