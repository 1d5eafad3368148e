"""Mail in and out: SMTP, LMTP and milter listeners, relay to the next hop, worker processes.

    data           the content of a message on the wire (RFC 5321 4.1.1.4, 4.5.2)
    session        envelope syntax, XFORWARD and XCLIENT
    replies        every reply this gateway gives
    smtp_server    the receiving protocol, without I/O
    smtp_client    the sending protocol, without I/O
    milter         the protocol of a mail server that asks and keeps the message, without I/O
    connection     a client that is connected: reads, writes, TLS, timeouts
    relay          connections to the next hop
    server         listeners, and what is done with a decision
    shadow         the message as it came, where all is only judged
    holding        what people decide about held messages
    release        what becomes of them then, and delivery of what is owed to a next hop
    notices        reports to senders
    run            a configuration as a running gateway
    workers        the processes
    postfix/       what Postfix needs, as text, and what differs in the one that is there

Beside the mail, in each worker:

    metrics        counters, /metrics, /healthz, /readyz
    health         whether store, trail, disks, keys and next hops are there
    alarm          too many messages that do not decrypt
    expiry         certificates that end
    harvest        certificates that mail brought
    refresh        revocation lists and OCSP responses, by http_get
    postmaster     mail to whoever looks after it
    lists          copies for the members of a mail list (`domsec expand --send`)

Nothing is owned here: 250 is said after the next hop's 250 or after a durable hold (measurements-mail.md A7).
"""
