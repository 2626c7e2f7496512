"""The reference project's train.py: `python train.py --help`."""

import sys

try:
    from nerfcl.cli.reference import train_main
except ModuleNotFoundError as error:
    if error.name != "nerfcl":
        raise
    sys.exit(f"train.py: nerfcl is not installed for {sys.executable}; run `make install`, or `pip install .`")

if __name__ == "__main__":
    sys.exit(train_main())
