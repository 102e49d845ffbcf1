"""What `init` and `restore` put on a host and `uninstall` takes away: files, service, objects.

All of it runs as root, with or without a living agent.
"""
