"""Mail in and out: SMTP and LMTP listeners, relay to the next hop, worker processes.

    data           the content of a message on the wire (RFC 5321 4.1.1.4, 4.5.2)
    session        envelope syntax, XFORWARD and XCLIENT
    replies        every reply this gateway gives
    smtp_server    the receiving protocol, without I/O
    smtp_client    the sending protocol, without I/O
    relay          connections to the next hop
    server         listeners, and what is done with a decision
    metrics        counters, /metrics, /healthz, /readyz
    workers        the processes
    lists          copies for the members of a mail list (`domsec expand --send`)

Nothing is owned here: 250 is said after the next hop's 250 or after a durable hold (measurements-mail.md A7).
"""
