"""Turn the bytes of the stream into files, and set the bad records aside with their reason."""
