"""Fuzzing: hostile octets for every parser, mutated under the guidance of coverage (atheris).

    make fuzz                      every target for a minute (SECONDS=n, TARGETS="der mime")
    python -m fuzz der             one target, until it is stopped
    python -m fuzz der FILE...     the target once with each file, without atheris

    targets        the table: a function for each room, with its seeds and its dictionary
    binary         DER, CMS, ESS values, certificates and revocation lists
    mail           header fields, addresses, MIME, and whole messages up to the decision of the gateway
    machines       both sides of SMTP, the milter and the configuration file
    keys           the key process and whoever asks it
    mutate         changes values of DER and keeps the lengths around them right
    seeds          where the first inputs come from

A target is a function of octets. Out of it may come an error of ours and nothing else; what must hold besides, it
asserts. Whatever is found becomes a file in tests/vectors/fuzz, which the tests replay without atheris.

The folder stands beside `bench`, not in `tests`: it runs for as long as one likes and ends when one says so.
"""
