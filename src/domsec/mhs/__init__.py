"""X.400, as far as CMS meets it: names of users (X.411), a heading (X.420), what P1 says of a content (RFC 3855)."""
