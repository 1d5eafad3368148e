"""`domsec demo`: two domains exchange protected mail on this machine, and one sees what happens at each hop.

    scene     keys, certificates and configurations of acme.example and beta.example, in a folder of their own
    stage     two gateways as they would run anywhere, and between and behind them somebody who looks at the mail
    main      sends the messages, says what is expected of each and whether it came true

Everything is real but the mailbox programs: the gateways are processes of `domsec gateway run`, mail goes by SMTP over
loopback sockets and ends in a Maildir.
"""

from __future__ import annotations

from domsec.demo.play import main

__all__ = ["main"]
