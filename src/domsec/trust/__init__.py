"""Whose key it is (RFC 5280, RFC 8550): paths, revocation, usage, names and addresses of certificates.

Pure in (certificate, snapshot, now).
"""
