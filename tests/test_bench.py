"""What `make bench` measures, and the page it writes. The measuring itself is no test."""

from __future__ import annotations

import shutil
from pathlib import Path

from bench import keys, peers, postfix, world
from bench.__main__ import BEGIN, END, available, with_results
from bench.measure import Result

# the names others rely on (shared/design/CONTRACT.md, section 7)
LIBRARY = [
    *(f"library.{act}_domain.{key}" for act in ("sign", "verify") for key in ("rsa2048", "rsa3072", "p256", "ed25519")),
    *(f"library.{act}_dca.{key}" for act in ("encrypt", "decrypt") for key in ("rsa2048_oaep", "p256", "x25519")),
    *(f"library.sign_domain.size_{size}" for size in ("10k", "1m", "25m")),
    *(f"library.memory.{act}_50m" for act in ("sign", "encrypt", "decrypt", "verify")),
    *(f"scaling.layers_{count}" for count in (1, 2, 4, 8, 16)),
    *(f"scaling.recipients_{count}" for count in (1, 10, 100, 1000)),
    *(f"scaling.size_{size}" for size in ("1k", "10k", "100k", "1m", "10m", "100m")),
    *(f"scaling.held_{count}" for count in (0, 1_000, 100_000)),
]
GATEWAY = [
    "gateway.null", "gateway.outbound_sign", "gateway.outbound_sign_encrypt", "gateway.inbound_decrypt_verify",
    "gateway.latency_p99", "gateway.memory_per_worker",
]  # fmt: skip
POSTFIX = ["postfix.milter", "postfix.filter"]


def test_every_name_that_others_rely_on_is_measured() -> None:
    names = [name for name, _ in available()]
    wanted = list(LIBRARY)
    wanted += GATEWAY if shutil.which("smtp-source") else []
    wanted += [] if postfix.missing() else POSTFIX
    wanted += [f"peer.{name}" for name in ("openssl_cms", "bouncycastle") if peers.missing(name) is None]
    assert set(wanted) <= set(names)
    assert len(set(names)) == len(names)


def test_a_key_process_to_measure_signs(tmp_path: Path) -> None:
    held = world.held("signing", "acme.example", "p256")
    with keys._in_key_process(tmp_path, held) as credential:
        assert keys._signing(credential)()


def test_the_page_has_the_results_between_its_marks_and_keeps_the_rest() -> None:
    results = [
        Result("gateway.null", 2068.4, "msg/s", 9837.0, 0.2103, 9000),
        Result("gateway.memory_per_worker", 54_000_000.0, "octets", None, None, 1),
        Result("peer.openssl_cms", 651.0, "1/s", 51.0, 12.76, 40),
    ]
    page = with_results(f"before\n{BEGIN}old\n{END}after\n", results)
    assert page.startswith(f"before\n{BEGIN}### gateway\n")
    assert page.endswith(f"{END}after\n")
    assert "old" not in page
    assert "| gateway.null | 2,068 | 9,837 | 0.21 | msg/s (178.7 million a day) |\n" in page
    assert "| gateway.memory_per_worker | 54,000,000 | - | - | octets |\n" in page
    assert page.index("### gateway") < page.index("### peer")
    assert with_results(page, results) == page
