"""The table of targets, and how one is called."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from domsec.errors import DomsecError
from fuzz import binary, directories, keys, machines, mail, seeds

DICTIONARIES = Path(__file__).parent / "dictionaries"


@dataclass(frozen=True, slots=True)
class Target:
    """`size` is how many octets an input has at most; `structured` has DER mutated as DER."""

    name: str
    run: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]
    dictionary: str
    size: int = 16 * 1024
    structured: bool = False

    def __call__(self, data: bytes) -> None:
        """Run once. Whatever it raises is a fault: an error of ours is an answer and stays inside."""
        try:
            self.run(data)
        except DomsecError:
            pass


TARGETS = {
    target.name: target
    for target in (
        Target("der", binary.read_der, seeds.structures, "der", 4096, structured=True),
        Target("cms", binary.read_cms, seeds.structures, "der", structured=True),
        Target("signed", binary.read_signed, seeds.structures, "der", structured=True),
        Target("ess", binary.read_ess, seeds.values, "der", 4096, structured=True),
        Target("certificate", binary.read_certificate, seeds.certificates, "der", structured=True),
        Target("certification_request", binary.read_request, seeds.certification_requests, "der", structured=True),
        Target("crl", binary.read_crl, seeds.lists, "der", structured=True),
        Target("ocsp", binary.read_ocsp, seeds.ocsp_responses, "der", structured=True),
        Target("addresses", mail.read_addresses, seeds.headers, "mime", 2048),
        Target("values", mail.read_values, seeds.headers, "mime", 2048),
        Target("mime", mail.read_mime, seeds.messages, "mime"),
        Target("message", mail.read_message, seeds.messages, "mime"),
        Target("pipeline", mail.decide, seeds.messages, "mime"),
        Target("smtp_server", machines.serve, seeds.dialogues, "smtp", 4096),
        Target("smtp_client", machines.ask, seeds.answers, "smtp", 4096),
        Target("milter", machines.listen, seeds.packets, "milter", 4096),
        Target("keyd", keys.serve, seeds.requests, "der", 4096),
        Target("key_process", keys.ask, seeds.responses, "der", 1024),
        Target("ldap", directories.read_ldap, seeds.ldap_answers, "der", structured=True),
        Target("dns", directories.read_dns, seeds.dns_answers, "der", 8192),
        Target("configuration", machines.configure, seeds.configurations, "toml", 8192),
    )
}
