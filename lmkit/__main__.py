"""`python -m lmkit` is the command line."""

from lmkit.cli.main import main

if __name__ == "__main__":
    main()
