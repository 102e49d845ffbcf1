"""What makes hosts one cluster: who joins, which host this is, where the records lie, who votes on
them, and how hosts ask each other. No module of it knows another one.
"""
