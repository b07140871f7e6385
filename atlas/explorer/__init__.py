"""The explorer: an atlas as pages, from a server on this machine or as a directory of files."""
