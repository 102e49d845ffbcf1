"""What rtnetlink's messages mean, one module for each kind of object: built and parsed.

Numbers are those of linux/rtnetlink.h, if_link.h, if_addr.h and neighbour.h. All of it is pure:
values in, bytes out, and back; malformed bytes raise ValueError and nothing else.
"""
