"""The key process, `domsec keyd`: it holds private keys so that no process that reads mail has to.

    answer        one request: who may have what done with which key
    server        a Unix socket; a process for each connection
    privileges    another user, no network, nothing to be read from outside
    run           from a configuration to a running key process

It reads no mail and no message of anybody outside this machine; what it reads are requests (`stores.key_protocol`),
which a gateway that was taken over may have written.
"""
