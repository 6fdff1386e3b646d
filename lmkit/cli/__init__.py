"""The command line: one file per command, nothing but parsing and printing. Results on stdout, words on stderr."""
