"""Who belongs to a cluster: its CA, the certificates of hosts, and tokens by which hosts join.

Keys are ECDSA on P-256. The CA's key lies on control hosts alone. `authority.py` and
`certificates.py` need the library cryptography, and are imported where a certificate is made or
read: a host that is alone never pays for it.
"""
