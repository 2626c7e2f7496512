"""The reference project's train_online.py: `python train_online.py --help`."""

import sys

try:
    from nerfcl.cli.reference import online_main
except ModuleNotFoundError as error:
    if error.name != "nerfcl":
        raise
    sys.exit(f"train_online.py: nerfcl is not installed for {sys.executable}; run `make install`, or `pip install .`")

if __name__ == "__main__":
    sys.exit(online_main())
