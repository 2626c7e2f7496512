"""Entry point of `python -m nerfcl`."""

import sys

from nerfcl.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
