"""What lasts: private keys, certificates, held messages, the audit trail. The room that opens files for the core."""
