"""The command `lmkit`, and `python -m lmkit`."""

import sys
from typing import NoReturn


def main() -> NoReturn:
    """Run the command line; an interrupt that comes while it is still being imported is no traceback either."""
    try:
        from lmkit.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
