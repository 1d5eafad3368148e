"""Postfix around the gateway: the text that configures it, and what differs in a Postfix that is there.

text        `main.cf` and `master.cf` for a configuration of domsec, in one of three layouts, from the .cf files here
installed   what postconf(1) says of an instance, held against that text
"""
