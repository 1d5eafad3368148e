"""RFC 5322, 2045, 1847 and 8551 section 3 to the octet: what a message is made of, and nothing about who made it.

Read `fields` first, then `smime`. What somebody else made is kept as offsets into the octets it came in and never
written anew; what is written here is only what is new.
"""
