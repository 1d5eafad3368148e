"""CMS: whether a structure is mathematically right (RFC 5652 and its family). No trust, no MIME."""
