"""RFC 3183 itself: what the layers of a message mean, and how to put them on. Start with `layers`, then `check`."""
