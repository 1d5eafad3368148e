"""What this domain wants: the configuration file, its options, and the checks made before a port opens."""
